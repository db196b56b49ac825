#include "gateway/listen_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

namespace pgc {
namespace {

constexpr std::string_view kUnix = "unix:";

absl::Status Malformed(std::string_view text) {
  return absl::InvalidArgumentError(fmt::format(
      "'{}' is no address to listen on: it is host:port, [ipv6]:port or unix:path", text));
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

bool IsLoopback(const std::string& host) {
  in_addr ipv4{};
  if (inet_pton(AF_INET, host.c_str(), &ipv4) == 1) return ntohl(ipv4.s_addr) >> 24 == 127;
  in6_addr ipv6{};
  return inet_pton(AF_INET6, host.c_str(), &ipv6) == 1 && IN6_IS_ADDR_LOOPBACK(&ipv6);
}

bool IsHost(std::string_view host) {
  for (const char c : host) {
    if (c <= ' ' || c == '/' || c == '[' || c == ']' || c == 0x7F) return false;
  }
  return true;
}

// 0, or why a socket cannot be bound there.
int TryToBind(int family, const sockaddr* address, socklen_t length) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool bound = bind(fd, address, length) == 0 && listen(fd, 1) == 0;
  const int error = bound ? 0 : errno;
  close(fd);
  return error;
}

sockaddr_un UnixAddress(const ListenAddress& address) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address.unix_path.data(), address.unix_path.size());
  return to;
}

absl::Status Refused(const ListenAddress& address, std::string_view why) {
  return absl::FailedPreconditionError(
      fmt::format("cannot listen on {}: {}", address.ToString(address.port), why));
}

absl::Status Refused(const ListenAddress& address, int error) {
  if (error == EADDRINUSE) return Refused(address, "the address is in use by another process");
  return Refused(address, std::strerror(error));
}

}  // namespace

std::string ListenAddress::ToString(int taken_port) const {
  if (!unix_path.empty()) return fmt::format("{}{}", kUnix, unix_path);
  if (host.empty()) return fmt::format("[::]:{}", taken_port);
  const bool ipv6 = host.find(':') != std::string::npos;
  return ipv6 ? fmt::format("[{}]:{}", host, taken_port) : fmt::format("{}:{}", host, taken_port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  ListenAddress address;
  if (text.starts_with(kUnix)) {
    address.unix_path = text.substr(kUnix.size());
    address.loopback = true;
    if (address.unix_path.empty() || address.unix_path.size() >= sizeof(sockaddr_un::sun_path)) {
      return Malformed(text);
    }
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Malformed(text);
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  // Of an IPv6 address without brackets nobody can say where the port begins.
  if (!IsHost(host) || (host.find(':') != std::string_view::npos) != brackets) {
    return Malformed(text);
  }
  const std::optional<uint16_t> port = ParsePort(text.substr(colon + 1));
  if (!port.has_value()) return Malformed(text);
  address.port = *port;
  // The name may stand for two addresses, of which one could be taken by someone else.
  address.host = host == "localhost" ? "127.0.0.1" : std::string(host);
  address.loopback = IsLoopback(address.host);
  return address;
}

absl::Status CheckNobodyListens(const ListenAddress& address) {
  if (address.unix_path.empty()) return absl::OkStatus();
  const sockaddr_un to = UnixAddress(address);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Refused(address, errno);
  const bool answers = connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  close(fd);
  return answers ? Refused(address, EADDRINUSE) : absl::OkStatus();
}

absl::Status WhyNotListening(const ListenAddress& address) {
  if (!address.unix_path.empty()) {
    const sockaddr_un to = UnixAddress(address);
    const int error = TryToBind(AF_UNIX, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    if (error == 0) unlink(to.sun_path);
    return error == 0 ? Refused(address, "it did not work") : Refused(address, error);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int unknown = getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                  std::to_string(address.port).c_str(), &hints, &found);
  if (unknown != 0) return Refused(address, gai_strerror(unknown));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    const int error = TryToBind(at->ai_family, at->ai_addr, at->ai_addrlen);
    if (error != 0) return Refused(address, error);
  }
  return Refused(address, "it did not work");
}

}  // namespace pgc
