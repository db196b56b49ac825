#pragma once

#include <google/protobuf/struct.pb.h>

#include <chrono>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/store_provider.h"
#include "event/lsn.h"
#include "source/postgres_source.h"

namespace pgc {

// What `pg2pulsar` is told.
struct CaptureParameters {
  StoreUse store;
  PostgresSourceOptions source;  // without its spool
  Lsn start;                     // where a log begins that is new; zero: where the slot does
};

// What `pulsar2pg` is told.
struct ApplyParameters {
  StoreUse store;
  std::string url;
  std::string topic;
  std::string source_id;
  std::string pg_log_path;
};

using PipelineParameters = std::variant<CaptureParameters, ApplyParameters>;

// Whether only a report is asked for.
bool IsStatus(const google::protobuf::Struct& parameters);

// The parameters of `Configure` (docs/agent.md). InvalidArgument names the one that is missing or
// wrong. Those that are not known are ignored.
absl::StatusOr<PipelineParameters> ReadParameters(const google::protobuf::Struct& parameters);

// The same without passwords.
google::protobuf::Struct MaskParameters(google::protobuf::Struct parameters);

// What Go's time.ParseDuration takes, but for negative ones: `1m30s`, `1.5h`, `0`. InvalidArgument.
absl::StatusOr<std::chrono::nanoseconds> ParseGoDuration(std::string_view text);

}  // namespace pgc
