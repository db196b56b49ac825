// The files that a URL names to show who we are, looked at before the library has them: it tells
// what is wrong with one late, or as something that may pass, or with its content.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pulsar/service_url.h"

namespace pgc::pulsar {

// Errors are FailedPrecondition, name the file, and never repeat what is in it.

// Without space around it.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);
// Those of tls-trust-certs, tls-cert and tls-key.
absl::Status CheckTlsFiles(const ServiceUrl& url);
// The parameters of OAuth 2.0, as the library takes them.
absl::StatusOr<std::string> ReadOAuth2File(const std::string& path);

// A line of the library's log without the secrets and tokens that it has now and then.
std::string_view WithoutSecrets(std::string_view line);

}  // namespace pgc::pulsar
