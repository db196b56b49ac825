#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pg/connection.h"
#include "source/tables.h"

namespace pgc {

struct PublicationOptions {
  std::string name;
  TableChoice choice;
  bool ddl = true;                     // DDL too: what writes it into a table
  bool replica_identity_full = false;  // mends tables without a usable replica identity
};

// Makes the publication what `options` say, changing nothing, and needing no privilege, where it
// already is. With `ddl` what captures it is installed first (EnsureDdlCapture). FailedPrecondition
// when tables in the publication would refuse UPDATE and DELETE from then on; then nothing has been
// changed.
absl::Status EnsurePublication(Connection& sql, const PublicationOptions& options,
                               const std::stop_token& stop);

// Warns, once each, of tables made since: of one that the publication should list and does not,
// and of one in it whose UPDATE and DELETE are refused. Not thread-safe.
class TableWatch {
 public:
  explicit TableWatch(PublicationOptions options) : options_(std::move(options)) {}

  absl::Status Look(Connection& sql, const std::stop_token& stop);

 private:
  const PublicationOptions options_;
  absl::flat_hash_set<uint32_t> reported_;  // of tables that are still so
};

}  // namespace pgc
