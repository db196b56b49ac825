"""A PostgreSQL of a benchmark's own."""
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile

PLUGIN = ["-o", "proto_version=1", "-o", "publication_names=bench", "-o", "binary=true"]
SETTINGS = {
    "wal_level": "logical", "max_wal_senders": 10, "max_replication_slots": 40, "shared_buffers": "512MB",
    "max_wal_size": "20GB", "min_wal_size": "4GB", "checkpoint_timeout": "30min", "listen_addresses": "127.0.0.1",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def bin_dir():
    base = "/usr/lib/postgresql"
    found = [v for v in os.listdir(base) if os.path.exists(f"{base}/{v}/bin/pg_ctl")]
    return f"{base}/{max(found, key=int)}/bin"


class Server:
    """A PostgreSQL in a folder of its own; removed with it. `settings` are added to the ones above; `programs` is its folder of them."""

    def __init__(self, settings=None, programs=None):
        self.bin = programs or bin_dir()
        self.dir = tempfile.mkdtemp(prefix="pgc-bench-")
        self.port = free_port()
        self.user = []
        if os.getuid() == 0:
            postgres = pwd.getpwnam("postgres")
            os.chown(self.dir, postgres.pw_uid, postgres.pw_gid)
            self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        os.chmod(self.dir, 0o755)
        self.run("initdb", "-D", f"{self.dir}/data", "-U", "postgres", "-A", "trust", "--locale=C.UTF-8", "-E", "UTF8")
        with open(f"{self.dir}/data/postgresql.conf", "a") as conf:
            for name, value in {**SETTINGS, **(settings or {}), "port": self.port, "unix_socket_directories": self.dir}.items():
                conf.write(f"{name} = '{value}'\n")
        self.run("pg_ctl", "-D", f"{self.dir}/data", "-l", f"{self.dir}/log", "-w", "start")

    def run(self, program, *args):
        subprocess.run([*self.user, f"{self.bin}/{program}", *args], check=True, stdout=subprocess.DEVNULL)

    def host(self, connection):
        return "127.0.0.1" if connection == "tcp" else self.dir

    def client(self, program, connection, *args):
        return [f"{self.bin}/{program}", "-h", self.host(connection), "-p", str(self.port), "-U", "postgres", *args]

    def url(self, connection, database):
        if connection == "tcp":
            return f"postgres://postgres@127.0.0.1:{self.port}/{database}"
        return f"postgres:///{database}?host={self.dir}&port={self.port}&user=postgres"

    def stop(self):
        subprocess.run([*self.user, f"{self.bin}/pg_ctl", "-D", f"{self.dir}/data", "-m", "immediate", "stop"],
                       stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Sql:
    """One kept session, so that asking does not take the processors from what is measured."""

    def __init__(self, server, database):
        self.psql = subprocess.Popen(
            server.client("psql", "unix", "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, sql):
        self.psql.stdin.write(sql + ";\n\\echo ---\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line == "---\n":
                return "\n".join(lines)
            lines.append(line.rstrip("\n"))
        raise RuntimeError(f"psql ended at: {sql}")

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()
