#pragma once

#include <chrono>
#include <cstdio>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pgc {

// The parameters of Agent.Configure (docs/agent.md); what is empty is not sent.
struct ConfigureOptions {
  std::string agent;
  std::string command;
  std::string pg_conn_url;
  std::string pg_repl_url;
  std::string pulsar_url;
  std::string pulsar_topic;
  std::string pg_log_path;
  std::string start_lsn;
  std::string pulsar_tracker;
  std::string pulsar_tracker_interval;
  bool pulsar_tracker_replicate_state = false;
  std::string decode_plugin = "pgoutput";
  int batch_tx_size = 100;
  std::vector<std::string> tables;
  std::FILE* output = stdout;
  std::chrono::milliseconds interval{5'000};
};

// Configures an agent again and again until `stop`, so that one that has failed or was restarted is
// set going again. Each answer is a line of JSON: the report, or `{"error":…,"code":…}`.
absl::Status RunConfigure(const ConfigureOptions& options, const std::stop_token& stop);

}  // namespace pgc
