#pragma once

#include <google/protobuf/struct.pb.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "agent/kept_replica.h"
#include "agent/parameters.h"
#include "agent/store_provider.h"
#include "base/mutex.h"

namespace pgc {

// A pipeline between a PostgreSQL database and a store, in a thread of its own: until destroyed, or
// until it fails with what trying again cannot help.
//
// Thread-safe but for destruction, which stops it and waits for its end.
class Pipeline {
 public:
  // What surrounds a sink.
  struct Around {
    std::function<void(const KeptReplica& replica)> replica_is_kept;
    std::function<void()> replica_is_left;
  };

  // `around` outlives this.
  Pipeline(PipelineParameters parameters, ProvidedStore store, const Around& around);
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Waits until it has started for the first time or has failed, or `stop` or `deadline`.
  void WaitForStart(const std::stop_token& stop, std::chrono::steady_clock::time_point deadline);
  // Why it does not run any more.
  std::optional<absl::Status> failure() const;
  // Adds how far it has come.
  void AddTo(google::protobuf::Struct& report) const;

 private:
  void Run(const std::stop_token& stop);
  // Programs that share a store know partitions by their own names.
  bool publishes_via_root() const { return !store_.is_shared; }
  absl::Status CaptureOnce(const CaptureParameters& parameters, const std::stop_token& stop);
  absl::Status ApplyOnce(const ApplyParameters& parameters, const std::stop_token& stop);
  void SetStarted();

  const PipelineParameters parameters_;
  const ProvidedStore store_;
  const Around& around_;
  std::atomic<uint64_t> acknowledged_{0};  // checkpoints of the source
  std::atomic<int64_t> commit_us_{0};      // of what the sink applied last
  mutable Mutex mutex_;
  CondVar changed_;
  bool started_ PGC_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> failure_ PGC_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace pgc
