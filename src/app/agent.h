#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pgc {

struct AgentCommandOptions {
  std::string listen = "127.0.0.1:10000";
  bool insecure = false;  // allows an address other than loopback
  // Below 0: the priority that this process gives itself, where it may.
  int renice = -10;
  int dump_connections = 4;            // of each server
  std::vector<std::string> dump_from;  // URLs of servers to dump from, beside those of pipelines
  std::string topic = "pgcapture";     // the log that those servers belong to
  bool publishes_via_root = false;     // changes of a partition have the name of its root
  std::string pulsar_library;          // path of Apache's client library; empty: where it is
};

// An agent in a process of its own, until `stop`. Errors: as Listener.
absl::Status RunAgent(const AgentCommandOptions& options, const std::stop_token& stop);

}  // namespace pgc
