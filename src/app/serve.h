#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "sink/postgres_sink.h"
#include "source/postgres_source.h"
#include "store/embedded_store.h"

namespace pgc {

struct ServeOptions {
  PostgresSourceOptions source;             // its topic is the log's; spool_dir: in data_dir
  std::string data_dir = "pgcapture-data";  // made if missing
  EmbeddedStoreOptions store;
  std::string listen = "127.0.0.1:10001";  // gRPC; port 0 takes a free one
  bool insecure = false;                   // allows an address other than loopback
  std::vector<SinkOptions> replicas;       // databases that are kept from the log
  // Servers that dumps are read from, beside the replicas; without any, it is the source.
  std::vector<std::string> dump_from;
  int dump_connections = 4;  // to each of them
};

// Source, embedded store, gateway, replicas and dumps in one process, until `stop`. A source that
// goes away is tried again with backoff; what an operator must mend ends it with an error. A
// replica that cannot be kept is reported, and tried again: it holds up nobody else.
absl::Status RunServe(ServeOptions options, std::stop_token stop);

}  // namespace pgc
