#pragma once

#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "event/store.h"
#include "sink/postgres_sink.h"

namespace pgc {

// Keeps a replica from a log that is being captured, until `stop`: one that cannot be kept is
// reported and tried again.
void KeepReplica(EventStore& store, const SinkOptions& options, const std::stop_token& stop);

struct ApplyOptions {
  std::string store;  // a data directory that nobody has open, or the URL of a Pulsar cluster
  std::string pulsar_library;  // path; empty: where it is usually
  std::string reader_prefix;   // of a subscription's name in Pulsar
  int renice = 0;              // as AgentCommandOptions
  SinkOptions sink;
};

// Applies a stored log to a database until `stop`; what an operator must mend ends it with an
// error.
absl::Status RunApply(const ApplyOptions& options, const std::stop_token& stop);

}  // namespace pgc
