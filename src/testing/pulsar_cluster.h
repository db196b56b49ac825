#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "testing/subprocess.h"

namespace pgc {

// Two Apache Pulsar brokers of the test's own on one storage (scripts/pulsar --cluster), each of
// which may have a topic. They end with this object. Not thread-safe.
class PulsarCluster {
 public:
  static constexpr int kBrokers = 2;

  static absl::StatusOr<std::unique_ptr<PulsarCluster>> Start();
  ~PulsarCluster();

  const std::string& url() const { return url_; }  // of both
  // Which broker has a topic, `public/default/t`, that is there.
  absl::StatusOr<int> OwnerOf(std::string_view topic) const;
  // Moves it to that broker, with the topics that go with it.
  absl::Status Move(std::string_view topic, int to);
  void Kill(int broker);  // SIGKILL

 private:
  PulsarCluster() = default;

  std::string url_;
  std::array<int, kBrokers> admin_ports_ = {};
  std::array<pid_t, kBrokers> java_ = {};
  std::unique_ptr<Subprocess> process_;
};

}  // namespace pgc
