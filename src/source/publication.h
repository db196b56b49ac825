#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "event/lsn.h"
#include "pg/connection.h"
#include "source/tables.h"

namespace pgc {

struct PublicationOptions {
  std::string name;
  TableChoice choice;
  // Changes of a partitioned table have its name, and not the partition's.
  bool via_partition_root = true;
  bool ddl = true;                     // DDL too: what writes it into a table
  bool replica_identity_full = false;  // mends tables without a usable replica identity
};

// Makes the publication what `options` say, changing nothing, and needing no privilege, where it
// already is. With `ddl` what captures it is installed first (EnsureDdlCapture). FailedPrecondition
// when tables in the publication would refuse UPDATE and DELETE from then on; then nothing has been
// changed.
absl::Status EnsurePublication(Connection& sql, const PublicationOptions& options,
                               const std::stop_token& stop);

// What becomes of a log that has something when its slot lives and its publication is missing: a
// published table that was changed meanwhile cannot be decoded any more. Servers before 18 say so
// when they come to such a change, so this is only a warning there; DataLoss for those that pass
// over it.
absl::Status CheckPublicationLives(Connection& sql, const std::string& name,
                                   const std::stop_token& stop);

// The end of a log whose slot has changes that were made while there was no publication.
absl::Status PublicationWasMissing(const std::string& name, Lsn captured);

// Warns, once each, of tables made since: of one that the publication should list and does not,
// and of one in it whose UPDATE and DELETE are refused. Not thread-safe.
class TableWatch {
 public:
  explicit TableWatch(PublicationOptions options) : options_(std::move(options)) {}

  // Looks at all tables, but only when the catalog has changed since. FailedPrecondition when the
  // publication is gone.
  absl::Status Look(Connection& sql, const std::stop_token& stop);

 private:
  const PublicationOptions options_;
  std::string seen_;                        // how much the catalog had changed at the last look
  absl::flat_hash_set<uint32_t> reported_;  // of tables that are still so
};

}  // namespace pgc
