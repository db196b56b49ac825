#!/usr/bin/env python3
"""usage: secured_testing.py token KEY_FILE SUBJECT SECONDS
       secured_testing.py issuer KEY_FILE CLIENT_ID CLIENT_SECRET SECONDS CERTIFICATE PRIVATE_KEY

token: prints a token that is good for so long, signed with the key.

issuer: an OAuth 2.0 server of client credentials on loopback, without and with TLS, until it is ended. Prints `issuer PORT TLS_PORT` once it
listens, then a line for each request for a token: `given CLIENT_ID` or `refused CLIENT_ID`. What is below /broken/ is one whose answer with the
token is cut short.
"""
import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import threading
import time
import urllib.parse


def base64_url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def make_token(key_file, subject, seconds):
    claims = {"sub": subject, "exp": int(time.time()) + seconds}
    text = base64_url(b'{"alg":"HS256"}') + b"." + base64_url(json.dumps(claims).encode())
    with open(key_file, "rb") as file:
        signature = hmac.new(file.read(), text, hashlib.sha256).digest()
    return (text + b"." + base64_url(signature)).decode()


def make_handler(key_file, client_id, client_secret, seconds):
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self):  # pylint: disable=invalid-name
            if not self.path.endswith("/.well-known/openid-configuration"):
                return self.answer(404, "{}")
            scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
            issuer = f"{scheme}://{self.headers['Host']}{self.path.removesuffix('/.well-known/openid-configuration')}"
            return self.answer(200, json.dumps({"issuer": issuer, "token_endpoint": f"{issuer}/token"}))

        def do_POST(self):  # pylint: disable=invalid-name
            form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            wanted = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret, "audience": "pulsar"}
            if form != wanted:
                print("refused", form.get("client_id"), flush=True)
                return self.answer(401, '{"error": "invalid_client"}')
            print("given", client_id, flush=True)
            # The client's clock starts when it has the answer, and the broker's is in whole seconds.
            token = make_token(key_file, client_id, seconds + 2)
            body = json.dumps({"token_type": "Bearer", "expires_in": seconds, "access_token": token})
            return self.answer(200, body[:-1] if self.path.startswith("/broken/") else body)

        def log_message(self, *_):
            pass

    return Handler


def serve(handler, certificate, private_key):
    server, tls_server = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private_key)
    tls_server.socket = context.wrap_socket(tls_server.socket, server_side=True)
    threading.Thread(target=tls_server.serve_forever, daemon=True).start()
    print("issuer", server.server_port, tls_server.server_port, flush=True)
    server.serve_forever()


def main():
    if sys.argv[1] == "token":
        print(make_token(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        key_file, client_id, client_secret, seconds, certificate, private_key = sys.argv[2:]
        serve(make_handler(key_file, client_id, client_secret, int(seconds)), certificate, private_key)


if __name__ == "__main__":
    main()
