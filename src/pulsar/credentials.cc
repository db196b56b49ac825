#include "pulsar/credentials.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/status_macros.h"

namespace pgc::pulsar {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.is_open() || file.bad()) {
    return absl::FailedPreconditionError(fmt::format("cannot read {}", path));
  }
  return text;
}

absl::Status CheckPem(const std::string& path) {
  PGC_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  if (text.find("-----BEGIN ") == std::string::npos) {
    return absl::FailedPreconditionError(fmt::format("{} has nothing in PEM format", path));
  }
  // The library would ask the terminal.
  if (text.find("ENCRYPTED") != std::string::npos) {
    return absl::FailedPreconditionError(
        fmt::format("the key in {} has a passphrase; it must have none", path));
  }
  return absl::OkStatus();
}

// What a JSON object of strings has under the name; empty when there is no such thing.
std::string TextOf(const nlohmann::json& object, const char* name) {
  if (!object.is_object()) return "";
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::Status Lacks(const std::string& path, std::string_view what) {
  return absl::FailedPreconditionError(fmt::format("{} has no {}", path, what));
}

bool HasClient(const nlohmann::json& object) {
  return !TextOf(object, "client_id").empty() && !TextOf(object, "client_secret").empty();
}

// `key` is the private_key of the file.
absl::Status CheckOAuth2Key(const std::string& path, std::string_view key) {
  if (key.starts_with("data:")) return absl::OkStatus();
  if (key.starts_with("file:")) key.remove_prefix(std::string_view("file:").size());
  if (key.starts_with("///")) key.remove_prefix(2);
  const auto text = ReadFile(std::string(key));
  // It is not shown: it may be the key itself.
  if (!text.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("the private_key of {} is no file that can be read", path));
  }
  if (HasClient(nlohmann::json::parse(*text, nullptr, false))) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("the private_key of {} is no JSON file with client_id and client_secret", path));
}

}  // namespace

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  PGC_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

absl::Status CheckTlsFiles(const ServiceUrl& url) {
  for (const std::string* path : {&url.tls_trust_certs, &url.tls_cert, &url.tls_key}) {
    if (!path->empty()) PGC_RETURN_IF_ERROR(CheckPem(*path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadOAuth2File(const std::string& path) {
  PGC_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  const auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) return Lacks(path, "JSON object");
  if (TextOf(object, "issuer_url").empty()) return Lacks(path, "issuer_url");
  if (TextOf(object, "tokenEndpointAuthMethod") == "tls_client_auth") return text;
  if (object.contains("private_key")) {
    PGC_RETURN_IF_ERROR(CheckOAuth2Key(path, TextOf(object, "private_key")));
  } else if (!HasClient(object)) {
    return Lacks(path, "private_key");
  }
  return text;
}

std::string_view WithoutSecrets(std::string_view line) {
  // What follows these is what an OAuth 2.0 server answered, or a key.
  for (const std::string_view last :
       {"Input Json = ", "the response is: ", "Failed to parse credentials from ",
        "Failed to get client_id or client_secret in "}) {
    const size_t at = line.find(last);
    if (at != std::string_view::npos) line = line.substr(0, at + last.size());
  }
  return line;
}

}  // namespace pgc::pulsar
