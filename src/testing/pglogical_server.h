#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "testing/postgres_server.h"

namespace pgc {

// A server that has pglogical preloaded and allows its output plugin. No database of it is to be
// dropped: on PostgreSQL 15 that can hang.
inline absl::StatusOr<std::unique_ptr<PostgresServer>> StartPglogicalServer() {
  PostgresServer::Settings settings{{"shared_preload_libraries", "pglogical"},
                                    // One for each database that has the extension.
                                    {"max_worker_processes", "40"}};
  PostgresServer::Settings newer = settings;
  newer["output_plugin_libraries"] = "pgoutput, test_decoding, pglogical_output";
  // A release that does not know a setting does not start with it.
  auto server = PostgresServer::Start(newer);
  return server.ok() ? std::move(server) : PostgresServer::Start(settings);
}

}  // namespace pgc
