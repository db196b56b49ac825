#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "source/postgres_source.h"

namespace pgc {

struct CaptureOptions {
  PostgresSourceOptions source;
  std::string store;                      // URL of a Pulsar cluster
  std::string pulsar_library;             // path; empty: where it is usually
  std::vector<std::string> replicate_to;  // clusters; empty: what the namespace says
};

// Captures a database into a store of many machines until `stop`; what an operator must mend ends
// it with an error.
absl::Status RunCapture(const CaptureOptions& options, const std::stop_token& stop);

}  // namespace pgc
