#pragma once

#include <google/protobuf/struct.pb.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/kept_replica.h"
#include "agent/store_provider.h"

namespace pgc {

struct PipelineHostOptions {
  StoreProvider stores;
  // How long a call waits for its pipeline to start, or to fail.
  std::chrono::milliseconds start_time{2'000};
  // Called, by a thread of the host, when there is a replica to dump from, and when there is none
  // any more.
  std::function<void(const KeptReplica& replica)> replica_is_kept;
  std::function<void()> replica_is_left;
};

// Runs the one pipeline of an agent, as `Configure` asks (docs/contract.md, section 9): none, then
// one, which is tried again while what it needs is Unavailable. After a failure there is none
// again, but for its error, which `status` tells.
//
// Thread-safe but for destruction. Calls are answered one after the other by a thread of its own;
// the pipeline has another.
class PipelineHost {
 public:
  static constexpr size_t kMaxWaitingCalls = 100;

  using Parameters = google::protobuf::Struct;
  // Gets the report of a call.
  using Answer = std::function<void(absl::StatusOr<Parameters>)>;

  explicit PipelineHost(PipelineHostOptions options);
  // As Shutdown.
  ~PipelineHost();
  PipelineHost(const PipelineHost&) = delete;
  PipelineHost& operator=(const PipelineHost&) = delete;

  // Calls `answer` once, from any thread or from within. InvalidArgument names the parameter that
  // is missing or wrong. ResourceExhausted: kMaxWaitingCalls wait. Unavailable: Shutdown. Else the
  // errors of the pipeline.
  void Configure(Parameters parameters, Answer answer);

  // Stops the pipeline, and answers every call with Unavailable.
  void Shutdown();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace pgc
