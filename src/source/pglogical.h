// What decoding through pglogical_output needs of a server, and how it is asked for. The plugin
// sends the tables of replication sets: without one it streams transactions that have no rows.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pg/connection.h"
#include "source/doctor.h"

namespace pgc {

constexpr std::string_view kPglogicalOutput = "pglogical_output";

struct PglogicalOptions {
  std::vector<std::string> sets;  // replication sets of the local node
  bool ddl = true;                // DDL too: the table of the extension that writes it
};

// A finding for each thing that the plugin needs, and for what it would leave out. Changes nothing.
absl::StatusOr<std::vector<Finding>> ExaminePglogical(Connection& sql,
                                                      const PglogicalOptions& options,
                                                      const std::stop_token& stop);

// FailedPrecondition, with the way out, for the first of them that must be mended: the plugin would
// refuse, or leave out every row. Warns of the others. Changes nothing.
absl::Status CheckPglogical(Connection& sql, const PglogicalOptions& options,
                            const std::stop_token& stop);

// The options of START_REPLICATION, for a server of that version.
std::string PglogicalStartOptions(int server_version, const std::vector<std::string>& sets);

// Whether a setting that lists libraries, as the server shows it, has `library`; exposed for tests.
bool ListsLibrary(std::string_view setting, std::string_view library);

// Warns, once each, of tables that are in none of the sets. Not thread-safe.
class ReplicationSetWatch {
 public:
  explicit ReplicationSetWatch(PglogicalOptions options) : options_(std::move(options)) {}

  absl::Status Look(Connection& sql, const std::stop_token& stop);

 private:
  const PglogicalOptions options_;
  absl::flat_hash_set<uint32_t> reported_;  // of tables that are still so
};

}  // namespace pgc
