#include "testing/pulsar_broker.h"

#include <fmt/format.h>
#include <signal.h>

#include <charconv>

#include "base/pause.h"
#include "base/status_macros.h"
#include "testing/pulsar_admin.h"

namespace pgc {
namespace {

constexpr std::chrono::seconds kReady{180};
constexpr std::chrono::seconds kStop{60};
// A topic that is on its way into the memory, or out of it, is not unloaded: the broker refuses.
constexpr std::chrono::seconds kUnload{30};

}  // namespace

absl::StatusOr<std::unique_ptr<PulsarBroker>> PulsarBroker::Start(const Settings& settings) {
  std::unique_ptr<PulsarBroker> broker(new PulsarBroker());
  broker->settings_ = settings;
  broker->url_ = fmt::format("pulsar://127.0.0.1:{}", broker->port());
  PGC_RETURN_IF_ERROR(broker->Launch());
  return broker;
}

absl::Status PulsarBroker::Launch() {
  std::vector<std::string> args = {std::string(PGC_SOURCE_DIR) + "/scripts/pulsar",
                                   "--dir",
                                   folder_.path().string(),
                                   "--port",
                                   std::to_string(port()),
                                   "--admin-port",
                                   std::to_string(admin_port_.number())};
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
  return PulsarAdmin(admin_port_.number(), method, fmt::format("/admin/v2/{}", path), body);
}

absl::Status PulsarBroker::Unload(std::string_view topic) {
  const auto deadline = std::chrono::steady_clock::now() + kUnload;
  while (true) {
    absl::Status status = Admin("PUT", fmt::format("persistent/{}/unload", topic)).status();
    if (status.ok() || std::chrono::steady_clock::now() > deadline) return status;
    Pause(std::chrono::milliseconds(100), {});
  }
}

}  // namespace pgc
