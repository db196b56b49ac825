// What a target knows of the log that it is kept from.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/checkpoint.h"
#include "event/pg_timestamp.h"
#include "pg/connection.h"

namespace pgc {

// Takes the lock that one sink at a time has of a database (docs/contract.md, section 6). One that
// is held by a client that died is waited for; FailedPrecondition, naming the holder, when it is
// still held after that.
absl::Status LockTarget(Connection& target, const std::stop_token& stop);

struct CheckpointRow {
  std::optional<Checkpoint> checkpoint;  // to go on from; none where the row is not whole
  std::optional<Checkpoint> stored;      // as it stands, also where the row is not whole
  std::string place;                     // the store's own bytes for it; empty when it has none
};

// Makes pgcapture.sources, by the extension or by itself, and the row of `source_id` in it, where
// they are not there; and reads the row.
absl::StatusOr<CheckpointRow> ReadCheckpointRow(Connection& target, const std::string& source_id,
                                                const std::stop_token& stop);

// Sets it for the session, unless it is empty. Whether a commit is durable when it returns.
absl::StatusOr<bool> SetSynchronousCommit(Connection& target, const std::string& value,
                                          const std::stop_token& stop);

// `replica host:port/database`, for people and as the name of its cursor.
std::string NameOf(Connection& target);

// From the commit on the source until now, in milliseconds; -1 when nothing was applied.
int64_t LagMs(PgTimestamp commit_time);

}  // namespace pgc
