#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pgc {

struct ServeOptions {
  std::string source;                       // URL of the PostgreSQL database to capture
  std::string data_dir = "pgcapture-data";  // made if missing
  std::string topic = "pgcapture";          // names slot, publication and source id
  std::string listen = "127.0.0.1:10001";   // gRPC; port 0 takes a free one
  bool insecure = false;                    // allows an address other than loopback
  std::vector<std::string> tables;          // schema.table; empty: all
  std::vector<std::string> skip_tables;     // publishes all others
  bool no_ddl = false;                      // DDL need not be captured
  bool replica_identity_full = false;       // gives tables without a key one
  std::chrono::milliseconds heartbeat_interval{10'000};
};

// Source, embedded store and gateway in one process, until `stop`. A source that goes away is
// tried again with backoff; what an operator must mend ends it with an error.
absl::Status RunServe(const ServeOptions& options, std::stop_token stop);

}  // namespace pgc
