// What commands ask about a source and a sink of a pipeline.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/command_line.h"
#include "sink/postgres_sink.h"
#include "source/postgres_source.h"

namespace pgc {

// What `serve`, `capture` and `doctor` must know of the source.
struct SourceFlags {
  PostgresSourceOptions options;
  int64_t heartbeat_ms = options.heartbeat_interval.count();
  int64_t sequence_ms = options.sequence_interval.count();

  void AddTo(CLI::App* command);
  void AddIntervalsTo(CLI::App* command);
  PostgresSourceOptions Options() const;
};

// How a log is applied to a database.
struct SinkFlags {
  SinkOptions options;
  std::vector<std::string> skip_lsn;

  void AddTo(CLI::App* command);
  SinkOptions Options(const std::string& url, const std::string& topic) const;
};

}  // namespace pgc
