#include "testing/pulsar_admin.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>

#include "base/status_macros.h"
#include "testing/loopback.h"

namespace pgc {
namespace {

constexpr timeval kAnswer{.tv_sec = 60, .tv_usec = 0};
constexpr int kMaxRedirects = 3;

// All that the other side writes until it closes.
absl::StatusOr<std::string> Exchange(int port, std::string_view request) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kAnswer, sizeof kAnswer);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char buffer[16384];
    for (ssize_t got = 0; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(got));
    }
  }
  close(fd);
  if (answer.empty()) return absl::UnavailableError("the broker does not answer");
  return answer;
}

absl::StatusOr<std::string> Ask(int port, std::string_view method, std::string_view path,
                                std::string_view body) {
  return Exchange(port,
                  fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                              "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                              method, path, body.size(), body));
}

absl::StatusOr<std::string> BodyOf(const std::string& answer, std::string_view method,
                                   std::string_view path) {
  if (std::string_view(answer).starts_with("HTTP/1.1 2")) {
    const size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? "" : answer.substr(end + 4);
  }
  return absl::InternalError(fmt::format("{} {}: {}", method, path, answer.substr(0, 500)));
}

}  // namespace

absl::StatusOr<std::string> PulsarAdmin(int port, std::string_view method, std::string_view path,
                                        std::string_view body) {
  std::string at(path);
  for (int redirects = 0;; ++redirects) {
    PGC_ASSIGN_OR_RETURN(const std::string answer, Ask(port, method, at, body));
    constexpr std::string_view kLocation = "\r\nLocation: http://127.0.0.1:";
    const size_t location = answer.find(kLocation);
    if (!answer.starts_with("HTTP/1.1 307") || location == std::string::npos ||
        redirects == kMaxRedirects) {
      return BodyOf(answer, method, at);
    }
    const char* const begin = answer.data() + location + kLocation.size();
    const char* const end = answer.data() + answer.find("\r\n", location + 2);
    at.assign(std::from_chars(begin, end, port).ptr, end);
  }
}

absl::StatusOr<std::string> PulsarAdminHere(int port, std::string_view method,
                                            std::string_view path, std::string_view body) {
  PGC_ASSIGN_OR_RETURN(const std::string answer, Ask(port, method, path, body));
  return BodyOf(answer, method, path);
}

}  // namespace pgc
