// Where a Pulsar cluster is, and how to show who we are, as one URL.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pgc::pulsar {

// pulsar://HOST:PORT[,HOST:PORT…][?NAME=VALUE&…], or pulsar+ssl://, http:// or https://.
struct ServiceUrl {
  std::string address = {};  // without what stands behind the `?`
  // Of TLS, also of an OAuth 2.0 server: the certificates to trust, instead of the system's.
  std::string tls_trust_certs = {};
  bool tls_allow_insecure = false;
  bool tls_validate_hostname = true;
  // At most one way to authenticate. Files are named by their paths.
  std::string tls_cert = {};  // with tls_key: mutual TLS
  std::string tls_key = {};
  std::string token = {};
  std::string token_file = {};   // read again for each connection: it may change
  std::string oauth2_file = {};  // JSON: issuer_url, private_key, audience, scope, as Apache's
                                 // client has them (docs/pulsar.md)

  bool tls() const { return address.starts_with("pulsar+ssl:") || address.starts_with("https:"); }
};

// `url` may have the parameters tls-trust-certs, tls-allow-insecure, tls-validate-hostname,
// tls-cert, tls-key, token, token-file and oauth2-file. InvalidArgument, which never repeats a
// value, when it is none of these.
absl::StatusOr<ServiceUrl> ParseServiceUrl(std::string_view url);

// The URL as a log may show it: without its parameters.
std::string WithoutParameters(std::string_view url);

}  // namespace pgc::pulsar
