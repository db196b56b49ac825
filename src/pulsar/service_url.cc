#include "pulsar/service_url.h"

#include <spdlog/fmt/fmt.h>

#include <optional>

#include "base/status_macros.h"

namespace pgc::pulsar {
namespace {

absl::Status Invalid(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format(
      "{}; a Pulsar URL is pulsar://HOST:PORT or pulsar+ssl://HOST:PORT, with more hosts behind "
      "commas, and then perhaps ?NAME=VALUE&NAME=VALUE",
      what));
}

std::string_view CutAt(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view first = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return first;
}

int HexDigit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      decoded += text[at];
      continue;
    }
    if (at + 2 >= text.size()) return std::nullopt;
    const int high = HexDigit(text[at + 1]);
    const int low = HexDigit(text[at + 2]);
    if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    at += 2;
  }
  return decoded;
}

absl::Status SetFlag(std::string_view name, std::string_view value, bool& flag) {
  if (value != "true" && value != "false") return Invalid(fmt::format("{} is true or false", name));
  flag = value == "true";
  return absl::OkStatus();
}

absl::Status Set(std::string_view name, const std::string& value, ServiceUrl& url) {
  if (name == "tls-allow-insecure") return SetFlag(name, value, url.tls_allow_insecure);
  if (name == "tls-validate-hostname") return SetFlag(name, value, url.tls_validate_hostname);
  for (const auto& [known, member] :
       {std::pair{"tls-trust-certs", &url.tls_trust_certs}, std::pair{"tls-cert", &url.tls_cert},
        std::pair{"tls-key", &url.tls_key}, std::pair{"token", &url.token},
        std::pair{"token-file", &url.token_file}, std::pair{"oauth2-file", &url.oauth2_file}}) {
    if (name != known) continue;
    if (value.empty()) return Invalid(fmt::format("{} has no value", name));
    *member = value;
    return absl::OkStatus();
  }
  return Invalid(fmt::format("there is no parameter '{}'", name));
}

absl::Status CheckAddress(std::string_view address) {
  const size_t scheme_end = address.find("://");
  const std::string_view scheme =
      scheme_end == std::string_view::npos ? "" : address.substr(0, scheme_end);
  if (scheme != "pulsar" && scheme != "pulsar+ssl" && scheme != "http" && scheme != "https") {
    return Invalid("the URL has another scheme");
  }
  std::string_view hosts = address.substr(scheme_end + 3);
  if (hosts.ends_with('/')) hosts.remove_suffix(1);
  if (hosts.empty()) return Invalid("the URL names no host");
  if (hosts.find('@') != std::string_view::npos) return Invalid("the URL has a user");
  while (!hosts.empty()) {
    const std::string_view host = CutAt(hosts, ',');
    const size_t colon = host.rfind(':');
    const std::string_view name = host.substr(0, colon);
    if (name.empty() || name.find_first_of("/ \t#") != std::string_view::npos) {
      return Invalid("a host of the URL has no name");
    }
    if (colon == std::string_view::npos || name.ends_with(':')) continue;
    const std::string_view port = host.substr(colon + 1);
    if (port.empty() || port.size() > 5 ||
        port.find_first_not_of("0123456789") != std::string_view::npos) {
      // The last part of an IPv6 address, which has its port behind brackets.
      if (!host.ends_with(']')) return Invalid("a port of the URL is no number");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ServiceUrl> ParseServiceUrl(std::string_view text) {
  ServiceUrl url;
  const std::string_view address = CutAt(text, '?');
  PGC_RETURN_IF_ERROR(CheckAddress(address));
  url.address = address.ends_with('/') ? address.substr(0, address.size() - 1) : address;
  while (!text.empty()) {
    std::string_view value = CutAt(text, '&');
    const std::string_view name = CutAt(value, '=');
    const auto decoded = PercentDecode(value);
    if (!decoded.has_value()) return Invalid(fmt::format("{} is badly encoded", name));
    PGC_RETURN_IF_ERROR(Set(name, *decoded, url));
  }
  if (url.tls_cert.empty() != url.tls_key.empty()) {
    return Invalid("tls-cert and tls-key go together");
  }
  const int ways = !url.tls_cert.empty() + !url.token.empty() + !url.token_file.empty() +
                   !url.oauth2_file.empty();
  if (ways > 1) return Invalid("the URL has more than one way to authenticate");
  // An OAuth 2.0 server may have TLS where the brokers have none.
  const bool has_tls = url.tls_allow_insecure || !url.tls_cert.empty() ||
                       (!url.tls_trust_certs.empty() && url.oauth2_file.empty()) ||
                       !url.tls_validate_hostname;
  if (has_tls && !url.tls()) return Invalid("TLS is for pulsar+ssl:// and https://");
  return url;
}

std::string WithoutParameters(std::string_view url) {
  return std::string(url.substr(0, url.find('?')));
}

}  // namespace pgc::pulsar
