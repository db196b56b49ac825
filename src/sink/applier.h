#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/pg_timestamp.h"
#include "pg/connection.h"
#include "sink/change_tracker.h"
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
  // The store's own bytes for an event, by its ordinal (EventReader::PlaceOf); from any thread.
  // Else the ordinal itself.
  std::function<std::string(uint64_t)> place_of = {};
  OnConflict on_conflict = OnConflict::kStop;
  DdlOptions ddl = {};
  // Whether session_replication_role is replica: rows of different tables cannot see each other.
  bool replica_role = true;
};

// Applies units of the log to a target, each in a transaction with the checkpoint that it reaches.
//
// First as sets; where the target refuses one, the unit is undone and repeated row by row, in
// order. Or a unit is applied ahead, while those before it are not committed yet: what none of them
// touches at once, the rest in its turn; docs/decisions/apply-at-once.md. Not thread-safe. After an
// error the connection is of no use: whatever was not committed is undone when it closes.
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

  // The checkpoint row as it must be for the next commit to be made. Where it has not been set, the
  // connection is the only one that writes it, and it is not looked at.
  void Expect(const std::optional<Checkpoint>& before) {
    expects_ = true;
    before_ = before;
  }

  // Whether it may be applied ahead.
  static bool CanApplyAhead(const LogUnit& unit) {
    return unit.begins && unit.complete && !unit.has_ddl && !unit.has_truncate;
  }
  // The four steps of that, which hold views of the unit; after an error of any, or in place of the
  // last one, Abandon. Begin is called in the order of the units, with a tracker for all; it makes
  // `number` what other connections can wait for.
  absl::Status Begin(const LogUnit& unit, uint64_t number, ChangeTracker& tracker);
  absl::Status ApplyAhead();
  // Until the transaction of unit `number` has ended, where that has begun. The server does the
  // waiting: it sees when others wait for this one.
  absl::Status AwaitEnd(uint64_t number);
  absl::Status ApplyRest(bool durable);
  absl::Status Abandon();
  // Tables are read anew, after DDL over another connection; outside a transaction.
  absl::Status ForgetSchema();

  const Progress& progress() const { return progress_; }
  // Inside a transaction that is larger than a unit.
  bool in_transaction() const { return in_transaction_; }

 private:
  enum class Level : uint8_t { kSets, kSingles, kOneByOne };

  absl::Status ApplyAlone(const LogUnit& unit);
  absl::Status Attempt(const LogUnit& unit, Level level, bool durable);
  absl::Status Undo(const char* sql);
  absl::Status ForgetManyPrepared();
  absl::Status NoteCommit(const SliceCursor& cursor);
  absl::Status Commit(bool durable);
  absl::Status LostCheckpoint();
  absl::Status AddAhead(const Event& event, ChangeTracker& tracker);
  bool Waits(const RowBatch& batch, ChangeTracker& tracker);
  absl::Status ApplyEvent(const Event& event, Level level);
  absl::Status ApplyChange(const Event& event, Level level);
  absl::Status ApplyDdl(const Checkpoint& checkpoint);
  absl::Status FindPending();
  absl::Status CheckPending() const;
  absl::Status ApplyTruncate(const Event& event, Level level);
  absl::Status ApplySequences(std::span<const uint8_t> message);
  absl::Status SendCheckpoint();
  absl::Status Finish();

  // The changes of some tables, in the order of their first one.
  struct Batches {
    std::vector<std::unique_ptr<RowBatch>> list;
    absl::flat_hash_map<const TargetTable*, RowBatch*> by_table;

    RowBatch& Of(const TargetTable& table);
    void Clear();
  };

  absl::StatusOr<RowBatch*> BatchOf(TableName table);
  absl::StatusOr<const TargetTable*> TableOf(TableName table);
  absl::Status FlushAll(Level level);
  absl::Status Flush(RowBatch& batch, Level level);
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
  bool final_error_ = false;  // another way of applying would not mend it
  bool ran_alone_ = false;    // the unit's DDL, before its transaction
  bool expects_ = false;
  std::optional<Checkpoint> before_;
  Batches batches_;
  // Of a unit that is applied ahead, what its turn is waited for with.
  Batches waiting_;
  std::vector<std::span<const uint8_t>> waiting_sequences_;
  std::string key_;
  std::string key_before_;
  // Tables that the target does not have, whose rows were left out in the transaction under way: a
  // command that follows may be the CREATE EXTENSION whose script makes both.
  using TableNames = std::set<std::pair<std::string, std::string>>;
  TableNames pending_;
  bool may_be_pending_ = false;
  Change change_;
};

}  // namespace pgc
