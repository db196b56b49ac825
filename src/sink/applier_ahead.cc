// The part of Applier that applies a unit while others before it are not committed.
#include "absl/hash/hash.h"
#include "base/big_endian.h"
#include "base/status_macros.h"
#include "sink/applier.h"

namespace pgc {
namespace {

// The space of advisory locks in which units are waited for, apart from the one in which a sink
// locks its database.
constexpr uint32_t kLockSpace = 0x70676361;
constexpr uint32_t kInt4 = 23;

class Lock {
 public:
  explicit Lock(uint64_t number) {
    AppendBigEndian(space_, kLockSpace);
    AppendBigEndian(number_, static_cast<uint32_t>(number));
  }
  absl::Status Send(StatementPipe& pipe, const char* sql) const {
    const StatementPipe::Parameter parameters[] = {{.bytes = space_, .type = kInt4},
                                                   {.bytes = number_, .type = kInt4}};
    return pipe.Send(sql, parameters);
  }

 private:
  std::string space_;
  std::string number_;
};

uint64_t HashOf(const TargetTable& table) { return absl::Hash<std::string_view>{}(table.quoted); }

uint64_t HashOf(uint64_t table, std::string_view key) {
  return absl::Hash<std::pair<uint64_t, std::string_view>>{}({table, key});
}

}  // namespace

absl::Status Applier::Begin(const LogUnit& unit, uint64_t number, ChangeTracker& tracker) {
  PGC_RETURN_IF_ERROR(ForgetManyPrepared());
  next_ = progress_;
  PGC_RETURN_IF_ERROR(pipe_.Send("BEGIN", {}));
  PGC_RETURN_IF_ERROR(Lock(number).Send(pipe_, "SELECT pg_catalog.pg_advisory_xact_lock($1, $2)"));
  for (const EventSlice& slice : unit.slices) {
    for (SliceCursor cursor(slice); cursor.Next();) {
      PGC_RETURN_IF_ERROR(AddAhead(cursor.event(), tracker));
      PGC_RETURN_IF_ERROR(NoteCommit(cursor));
    }
  }
  // Whoever waits for it from now on finds it locked.
  return Finish();
}

absl::Status Applier::AddAhead(const Event& event, ChangeTracker& tracker) {
  if (event.kind == EventKind::kSequences) waiting_sequences_.push_back(event.message);
  if (event.kind != EventKind::kChange) return absl::OkStatus();
  PGC_RETURN_IF_ERROR(ParseChange(event.message, change_));
  PGC_ASSIGN_OR_RETURN(RowBatch* const batch,
                       BatchOf({.schema = change_.schema, .name = change_.table}));
  if (batch->table().has_triggers) {
    return absl::AbortedError("what its triggers touch is not known");
  }
  PGC_RETURN_IF_ERROR(batch->Add(change_, event.checkpoint));
  ++next_.changes;
  if (!Waits(*batch, tracker)) return absl::OkStatus();
  batch->RemoveLast();
  return waiting_.Of(batch->table()).Add(change_, event.checkpoint);
}

// Whether the batch's last change has to wait for its turn.
bool Applier::Waits(const RowBatch& batch, ChangeTracker& tracker) {
  const TargetTable& table = batch.table();
  const RowChange& change = batch.changes().back();
  const uint64_t table_hash = HashOf(table);
  // The values by which rows are in each other's way elsewhere than in the key are not all in the
  // log: an UPDATE does not tell what it replaces.
  if (table.ordered) return tracker.AddAnyRow(table_hash);
  if (table.key.empty() && change.op == Operation::kInsert) {
    tracker.AddFreeRow(table_hash);
    return false;
  }
  if (table.key.empty()) return tracker.AddAnyRow(table_hash);
  const uint32_t after = change.op == Operation::kDelete ? change.old_row : change.new_row;
  const uint32_t before = change.old_row == RowChange::kNoRow ? after : change.old_row;
  const auto key = batch.KeyBytes(after, key_);
  const auto key_before = batch.KeyBytes(before, key_before_);
  if (!key.has_value() || !key_before.has_value()) return tracker.AddAnyRow(table_hash);
  const uint64_t keys[] = {HashOf(table_hash, *key), HashOf(table_hash, *key_before)};
  return tracker.AddRow(table_hash, std::span(keys).first(keys[0] == keys[1] ? 1 : 2));
}

absl::Status Applier::ApplyAhead() {
  PGC_RETURN_IF_ERROR(FlushAll(Level::kSets));
  return Finish();
}

absl::Status Applier::AwaitEnd(uint64_t number) {
  PGC_RETURN_IF_ERROR(
      Lock(number).Send(pipe_, "SELECT pg_catalog.pg_advisory_xact_lock_shared($1, $2)"));
  return Finish();
}

absl::Status Applier::ApplyRest(bool durable) {
  std::swap(batches_, waiting_);
  PGC_RETURN_IF_ERROR(FlushAll(Level::kSets));
  for (const auto& message : waiting_sequences_) PGC_RETURN_IF_ERROR(ApplySequences(message));
  waiting_sequences_.clear();
  PGC_RETURN_IF_ERROR(Commit(durable));
  progress_ = next_;
  return absl::OkStatus();
}

absl::Status Applier::Abandon() {
  batches_.Clear();
  waiting_.Clear();
  waiting_sequences_.clear();
  (void)pipe_.Finish();
  return target_.Execute("ROLLBACK", stop_);
}

}  // namespace pgc
