#include "testing/pulsar_broker.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>

#include "base/status_macros.h"
#include "testing/free_port.h"

namespace pgc {
namespace {

constexpr std::chrono::seconds kReady{180};
constexpr std::chrono::seconds kStop{60};
constexpr timeval kAnswer{.tv_sec = 60, .tv_usec = 0};

// All that the other side writes until it closes.
absl::StatusOr<std::string> Exchange(int port, std::string_view request) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kAnswer, sizeof kAnswer);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
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

}  // namespace

absl::StatusOr<std::unique_ptr<PulsarBroker>> PulsarBroker::Start(const Settings& settings) {
  std::unique_ptr<PulsarBroker> broker(new PulsarBroker());
  broker->settings_ = settings;
  broker->port_ = FreePort();
  broker->admin_port_ = FreePort();
  broker->url_ = fmt::format("pulsar://127.0.0.1:{}", broker->port_);
  PGC_RETURN_IF_ERROR(broker->Launch());
  return broker;
}

absl::Status PulsarBroker::Launch() {
  std::vector<std::string> args = {std::string(PGC_SOURCE_DIR) + "/scripts/pulsar",
                                   "--dir",
                                   folder_.path().string(),
                                   "--port",
                                   std::to_string(port_),
                                   "--admin-port",
                                   std::to_string(admin_port_)};
  for (const auto& [name, value] : settings_) {
    args.insert(args.end(), {"--set", fmt::format("{}={}", name, value)});
  }
  PGC_ASSIGN_OR_RETURN(
      process_,
      Subprocess::Start({.args = args, .environment = {}, .as_postgres = false, .directory = {}}));
  const auto ready = process_->WaitForLine("ready service-url=", kReady);
  if (!ready.has_value()) {
    return absl::InternalError(fmt::format("no broker: {}", process_->errors()));
  }
  const std::string_view pid = std::string_view(*ready).substr(ready->find("pid=") + 4);
  (void)std::from_chars(pid.data(), pid.data() + pid.size(), java_);
  return absl::OkStatus();
}

PulsarBroker::~PulsarBroker() { (void)Stop(); }

absl::Status PulsarBroker::Stop() {
  if (process_ == nullptr) return absl::OkStatus();
  process_->Signal(SIGTERM);
  if (process_->Wait(kStop).has_value()) return absl::OkStatus();
  return absl::InternalError("the broker does not end");
}

void PulsarBroker::Signal(int signal) { kill(java_, signal); }

void PulsarBroker::Kill() {
  Signal(SIGKILL);
  (void)process_->Wait(kStop);
}

std::string PulsarBroker::Library() {
  return std::string(PGC_SOURCE_DIR) + "/build/libpulsar/libpulsar.so";
}

absl::StatusOr<std::string> PulsarBroker::Admin(std::string_view method, std::string_view path,
                                                std::string_view body) {
  PGC_ASSIGN_OR_RETURN(
      const std::string answer,
      Exchange(admin_port_, fmt::format("{} /admin/v2/{} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                        "Connection: close\r\nContent-Type: application/json\r\n"
                                        "Content-Length: {}\r\n\r\n{}",
                                        method, path, body.size(), body)));
  if (std::string_view(answer).starts_with("HTTP/1.1 2")) {
    const size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? "" : answer.substr(end + 4);
  }
  return absl::InternalError(fmt::format("{} {}: {}", method, path, answer.substr(0, 500)));
}

absl::Status PulsarBroker::Unload(std::string_view topic) {
  return Admin("PUT", fmt::format("persistent/{}/unload", topic)).status();
}

}  // namespace pgc
