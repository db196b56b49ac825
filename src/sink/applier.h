#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/pg_timestamp.h"
#include "pg/connection.h"
#include "sink/ddl_replay.h"
#include "sink/log_units.h"
#include "sink/row_batch.h"
#include "sink/row_writer.h"
#include "sink/statement_pipe.h"
#include "sink/target_table.h"

namespace pgc {

// What to do when the target's rows are not those of the source, because somebody else wrote there.
enum class OnConflict : uint8_t { kStop, kSkip, kOverwrite };

struct ApplierOptions {
  std::string source_id;  // of the row in pgcapture.sources
  OnConflict on_conflict = OnConflict::kStop;
  DdlOptions ddl = {};
  // Whether session_replication_role is replica: rows of different tables cannot see each other.
  bool replica_role = true;
};

// Applies units of the log to a target, each in a transaction with the checkpoint that it reaches.
//
// First as sets; where the target refuses one, the unit is undone and repeated row by row, in
// order. Not thread-safe. After an error the connection is of no use: whatever was not committed
// is undone when it closes.
//
// Errors: Unavailable is worth another try from the checkpoint; FailedPrecondition names the table
// or command and the way out; DataLoss is a log that cannot be read.
class Applier {
 public:
  // The session is prepared (PrepareSession), and the row in pgcapture.sources is there.
  Applier(Connection& target, ApplierOptions options, std::stop_token stop);

  struct Progress {
    Checkpoint checkpoint;    // of the last Commit applied and committed
    uint64_t ordinal = 0;     // of the event after it
    PgTimestamp commit_time;  // of that transaction
    uint64_t changes = 0;     // applied since the start
    uint64_t conflicts = 0;   // that were skipped or overwritten
  };

  // `durable`: the commit is to be on disk when this returns, where the session's are not.
  absl::Status Apply(const LogUnit& unit, bool durable);

  // Makes what was committed before durable.
  absl::Status Sync();

  const Progress& progress() const { return progress_; }
  // Inside a transaction that is larger than a unit.
  bool in_transaction() const { return in_transaction_; }

 private:
  enum class Level : uint8_t { kSets, kSingles, kOneByOne };

  absl::Status ApplyAlone(const LogUnit& unit);
  absl::Status Attempt(const LogUnit& unit, Level level, bool durable);
  absl::Status Undo(const LogUnit& unit);
  absl::Status ForgetSchema();
  absl::Status ApplyEvent(const Event& event, Level level);
  absl::Status ApplyChange(const Event& event, Level level);
  absl::Status ApplyDdl(const Checkpoint& checkpoint);
  absl::Status FindPending();
  absl::Status CheckPending() const;
  absl::Status ApplyTruncate(const Event& event, Level level);
  absl::Status ApplySequences(const Event& event);
  absl::Status SendCheckpoint();
  absl::Status Finish();

  absl::StatusOr<RowBatch*> BatchOf(TableName table);
  absl::StatusOr<const TargetTable*> TableOf(TableName table);
  absl::Status FlushAll(Level level);
  absl::Status Flush(RowBatch& batch, Level level);
  void ForgetBatches();
  absl::Status ApplyOne(const RowBatch& batch, uint32_t number);
  absl::Status Resolve(const RowBatch& batch, uint32_t number,
                       const StatementPipe::Outcome& outcome);

  Connection& target_;
  const ApplierOptions options_;
  const std::stop_token stop_;
  TargetCatalog catalog_{target_};
  StatementPipe pipe_;
  RowWriter writer_{pipe_};
  DdlReplay ddl_;
  Progress progress_;
  Progress next_;  // once the transaction under way is committed
  bool in_transaction_ = false;
  bool final_error_ = false;                        // another way of applying would not mend it
  bool ran_alone_ = false;                          // the unit's DDL, before its transaction
  std::vector<std::unique_ptr<RowBatch>> batches_;  // in the order of their first change
  absl::flat_hash_map<const TargetTable*, RowBatch*> by_table_;
  // Tables that the target does not have, whose rows were left out in the transaction under way: a
  // command that follows may be the CREATE EXTENSION whose script makes both.
  using TableNames = std::set<std::pair<std::string, std::string>>;
  TableNames pending_;
  bool may_be_pending_ = false;
  Change change_;
};

}  // namespace pgc
