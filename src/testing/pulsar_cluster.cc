#include "testing/pulsar_cluster.h"

#include <fmt/format.h>
#include <signal.h>

#include <charconv>
#include <chrono>

#include "base/status_macros.h"
#include "testing/pulsar_admin.h"

namespace pgc {
namespace {

constexpr std::chrono::seconds kReady{300};
constexpr std::chrono::seconds kStop{120};

// The number behind each `mark` of the text.
template <size_t kCount>
void ParseAll(std::string_view text, std::string_view mark, std::array<int, kCount>& numbers) {
  for (int& number : numbers) {
    text.remove_prefix(std::min(text.size(), text.find(mark)));
    text.remove_prefix(std::min(text.size(), mark.size()));
    (void)std::from_chars(text.data(), text.data() + text.size(), number);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PulsarCluster>> PulsarCluster::Start() {
  std::unique_ptr<PulsarCluster> cluster(new PulsarCluster());
  PGC_ASSIGN_OR_RETURN(
      cluster->process_,
      Subprocess::Start({.args = {std::string(PGC_SOURCE_DIR) + "/scripts/pulsar", "--cluster"},
                         .environment = {},
                         .as_postgres = false,
                         .directory = {}}));
  const auto ready = cluster->process_->WaitForLine("ready service-url=", kReady);
  if (!ready.has_value()) {
    return absl::InternalError(fmt::format("no cluster: {}", cluster->process_->errors()));
  }
  const size_t url = ready->find("pulsar://");
  cluster->url_ = ready->substr(url, ready->find(' ', url) - url);
  ParseAll(*ready, "http://127.0.0.1:", cluster->admin_ports_);
  std::string pids = ready->substr(ready->find(" pid=") + 5);
  ParseAll("," + pids, ",", cluster->java_);
  return cluster;
}

PulsarCluster::~PulsarCluster() {
  if (process_ == nullptr) return;
  process_->Signal(SIGTERM);
  (void)process_->Wait(kStop);
}

absl::StatusOr<int> PulsarCluster::OwnerOf(std::string_view topic) const {
  absl::Status status;
  for (int broker = 0; broker < kBrokers; ++broker) {
    status = PulsarAdminHere(admin_ports_[broker], "GET",
                             fmt::format("/admin/v2/persistent/{}/stats", topic))
                 .status();
    if (status.ok()) return broker;
  }
  return status;
}

absl::Status PulsarCluster::Move(std::string_view topic, int to) {
  PGC_ASSIGN_OR_RETURN(const std::string bundle,
                       PulsarAdmin(admin_ports_[to], "GET",
                                   fmt::format("/lookup/v2/topic/persistent/{}/bundle", topic)));
  return PulsarAdmin(admin_ports_[to], "PUT",
                     fmt::format("/admin/v2/namespaces/{}/{}/unload?destinationBroker=127.0.0.1:{}",
                                 topic.substr(0, topic.rfind('/')), bundle, admin_ports_[to]))
      .status();
}

void PulsarCluster::Kill(int broker) { kill(java_[broker], SIGKILL); }

}  // namespace pgc
