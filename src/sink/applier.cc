#include "sink/applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/big_endian.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

// A table's changes are sent when there are so many, so that the target works while others are
// read.
constexpr size_t kFlushChanges = 8'000;
constexpr size_t kFlushBytes = size_t{1} << 20;

// Prepared statements beyond this many are forgotten: each takes memory of the server.
constexpr size_t kMaxPrepared = 1'000;

constexpr uint64_t kCheckpointTag = UINT64_MAX;
constexpr char kCheckpointSql[] =
    "UPDATE pgcapture.sources SET commit = $2, seq = $3, commit_ts = $4, mid = $5, apply_ts = "
    "pg_catalog.now() WHERE id = $1";
// Its own connection is not the only one that could have written it, see apply-at-once.md.
constexpr char kExpected[] =
    " AND commit IS NOT DISTINCT FROM $6 AND (seq IS NULL OR seq IS NOT DISTINCT FROM $7)";
// Types of its parameters: text, pg_lsn, int4, timestamptz, bytea.
constexpr uint32_t kText = 25;
constexpr uint32_t kPgLsn = 3220;
constexpr uint32_t kInt4 = 23;
constexpr uint32_t kTimestamptz = 1184;
constexpr uint32_t kBytea = 17;

template <typename T>
std::string BigEndian(T value) {
  std::string bytes;
  AppendBigEndian(bytes, value);
  return bytes;
}

// What is worth telling of an error of the server. Its text can have the row's values in it where
// one of them could not be read.
std::string ErrorText(const absl::Status& status) {
  const std::string state = SqlStateOf(status);
  if (state.starts_with("22")) return fmt::format("a value is refused (SQLSTATE {})", state);
  return std::string(status.message());
}

std::string_view NameOf(Operation op) {
  return op == Operation::kInsert ? "INSERT" : op == Operation::kUpdate ? "UPDATE" : "DELETE";
}

std::string KeyNames(const TargetTable& table) {
  std::string names;
  for (const size_t i : table.key) {
    names += (names.empty() ? "" : ", ") + QuoteIdentifier(table.columns[i].name);
  }
  return names.empty() ? "no key" : "key: " + names;
}

absl::Status AsPrecondition(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::FailedPreconditionError(status.message()) : status;
}

// Only another way of applying the same can help: the connection and the log are well.
bool MayRepeat(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsCancelled(status) && !absl::IsDataLoss(status);
}

}  // namespace

Applier::Applier(Connection& target, ApplierOptions options, std::stop_token stop)
    : target_(target),
      options_(std::move(options)),
      stop_(std::move(stop)),
      pipe_(target_, stop_),
      ddl_(options_.ddl) {}

absl::Status Applier::Apply(const LogUnit& unit, bool durable) {
  ran_alone_ = false;
  PGC_RETURN_IF_ERROR(ForgetManyPrepared());
  if (unit.has_ddl && unit.begins && unit.complete) PGC_RETURN_IF_ERROR(ApplyAlone(unit));
  if (unit.begins) pending_.clear();
  const TableNames pending = pending_;
  // What a large transaction ends with is not known yet.
  may_be_pending_ = unit.has_ddl || !unit.complete || !unit.begins;
  absl::Status status;
  for (const Level level : {Level::kSets, Level::kSingles, Level::kOneByOne}) {
    final_error_ = false;
    pending_ = pending;
    next_ = progress_;
    status = Attempt(unit, level, durable);
    batches_.Clear();
    if (status.ok()) {
      in_transaction_ = !unit.complete;
      progress_ = next_;
      return status;
    }
    if (final_error_ || !MayRepeat(status)) return status;
    PGC_RETURN_IF_ERROR(Undo(unit.begins ? "ROLLBACK" : "ROLLBACK TO SAVEPOINT pgcapture_unit"));
  }
  return status;
}

absl::Status Applier::ForgetManyPrepared() {
  return pipe_.prepared() > kMaxPrepared ? pipe_.Forget() : absl::OkStatus();
}

// A command that PostgreSQL runs outside a transaction only is alone in its own on the source.
absl::Status Applier::ApplyAlone(const LogUnit& unit) {
  for (const EventSlice& slice : unit.slices) {
    for (SliceCursor cursor(slice); cursor.Next();) {
      const Event& event = cursor.event();
      if (event.kind != EventKind::kChange || slice.block->tables()[event.table] != kDdlLog) {
        continue;
      }
      PGC_RETURN_IF_ERROR(ParseChange(event.message, change_));
      if (change_.op != Operation::kInsert) continue;
      PGC_ASSIGN_OR_RETURN(const DdlCommand command, ParseDdlCommand(change_, event.checkpoint));
      if (!ddl_.RunsAlone(command)) continue;
      ddl_.BeginTransaction();
      PGC_RETURN_IF_ERROR(ddl_.Run(target_, command, stop_));
      PGC_RETURN_IF_ERROR(ForgetSchema());
      ran_alone_ = true;
    }
  }
  return absl::OkStatus();
}

absl::Status Applier::Undo(const char* sql) {
  (void)pipe_.Finish();
  PGC_RETURN_IF_ERROR(target_.Execute(sql, stop_));
  // Tables may have been changed by others since they were read.
  return ForgetSchema();
}

// Plans and descriptions of tables, which no batch refers to any more.
absl::Status Applier::ForgetSchema() {
  catalog_.Forget();
  return pipe_.Forget();
}

absl::Status Applier::Attempt(const LogUnit& unit, Level level, bool durable) {
  PGC_RETURN_IF_ERROR(pipe_.Send(unit.begins ? "BEGIN" : "SAVEPOINT pgcapture_unit", {}));
  if (unit.begins && !options_.replica_role) {
    // As on the source, where they may have been: what is checked at the end is right there.
    PGC_RETURN_IF_ERROR(pipe_.Send("SET CONSTRAINTS ALL DEFERRED", {}));
  }
  if (unit.begins && unit.has_ddl) ddl_.BeginTransaction();
  for (const EventSlice& slice : unit.slices) {
    for (SliceCursor cursor(slice); cursor.Next();) {
      PGC_RETURN_IF_ERROR(ApplyEvent(cursor.event(), level));
      PGC_RETURN_IF_ERROR(NoteCommit(cursor));
    }
  }
  PGC_RETURN_IF_ERROR(FlushAll(level));
  if (!unit.begins) PGC_RETURN_IF_ERROR(pipe_.Send("RELEASE SAVEPOINT pgcapture_unit", {}));
  if (!unit.complete) return Finish();
  if (absl::Status status = CheckPending(); !status.ok()) {
    final_error_ = true;
    return status;
  }
  return Commit(durable);
}

// Where the unit ends, as far as it has come.
absl::Status Applier::NoteCommit(const SliceCursor& cursor) {
  const Event& event = cursor.event();
  if (event.kind != EventKind::kCommit) return absl::OkStatus();
  next_.checkpoint = event.checkpoint;
  next_.ordinal = cursor.ordinal() + 1;
  PGC_ASSIGN_OR_RETURN(next_.commit_time, ParseCommitTime(event.message));
  return absl::OkStatus();
}

absl::Status Applier::Commit(bool durable) {
  if (next_.checkpoint != progress_.checkpoint) PGC_RETURN_IF_ERROR(SendCheckpoint());
  if (durable) PGC_RETURN_IF_ERROR(pipe_.Send("SET LOCAL synchronous_commit = local", {}));
  // Committed only once every statement has changed as many rows as it must.
  StatementPipe::Outcome outcome = pipe_.Finish();
  if (outcome.wrong_rows && outcome.tag == kCheckpointTag) {
    final_error_ = true;
    return LostCheckpoint();
  }
  PGC_RETURN_IF_ERROR(outcome.status);
  PGC_RETURN_IF_ERROR(pipe_.Send("COMMIT", {}));
  return Finish();
}

absl::Status Applier::LostCheckpoint() {
  const Connection::Parameter id = options_.source_id;
  PGC_ASSIGN_OR_RETURN(
      const Result row,
      target_.Query("SELECT FROM pgcapture.sources WHERE id = $1", {&id, 1}, stop_));
  if (row.rows() == 0) {
    return absl::FailedPreconditionError(
        fmt::format("the row {} of pgcapture.sources on the target is gone: somebody deleted it",
                    options_.source_id));
  }
  return absl::UnavailableError(
      fmt::format("the checkpoint {} of the target was moved by a connection that is closing",
                  options_.source_id));
}

absl::Status Applier::Sync() {
  PGC_RETURN_IF_ERROR(pipe_.Send("BEGIN", {}));
  PGC_RETURN_IF_ERROR(pipe_.Send("SET LOCAL synchronous_commit = local", {}));
  const StatementPipe::Parameter id{.bytes = options_.source_id, .type = kText};
  PGC_RETURN_IF_ERROR(
      pipe_.Send("UPDATE pgcapture.sources SET apply_ts = apply_ts WHERE id = $1", {&id, 1}));
  PGC_RETURN_IF_ERROR(pipe_.Send("COMMIT", {}));
  return Finish();
}

absl::Status Applier::Finish() {
  StatementPipe::Outcome outcome = pipe_.Finish();
  return std::move(outcome.status);
}

absl::Status Applier::SendCheckpoint() {
  const std::string lsn = BigEndian(next_.checkpoint.lsn.value);
  const std::string seq = BigEndian(next_.checkpoint.seq);
  const std::string time = BigEndian(static_cast<uint64_t>(next_.commit_time.us));
  const uint64_t last = next_.ordinal - 1;
  const std::string place = options_.place_of ? options_.place_of(last) : BigEndian(last);
  const std::string lsn_before = before_.has_value() ? BigEndian(before_->lsn.value) : "";
  const std::string seq_before = before_.has_value() ? BigEndian(before_->seq) : "";
  const bool is_first = !before_.has_value();
  const std::vector<StatementPipe::Parameter> parameters = {
      {.bytes = options_.source_id, .type = kText},
      {.bytes = lsn, .type = kPgLsn},
      {.bytes = seq, .type = kInt4},
      {.bytes = time, .type = kTimestamptz},
      {.bytes = place, .type = kBytea},
      {.bytes = lsn_before, .is_null = is_first, .type = kPgLsn},
      {.bytes = seq_before, .is_null = is_first, .type = kInt4}};
  if (expects_) {
    return pipe_.Send(std::string(kCheckpointSql) + kExpected, parameters, 1, kCheckpointTag);
  }
  return pipe_.Send(kCheckpointSql, std::span(parameters).first(5), 1, kCheckpointTag);
}

absl::Status Applier::ApplyEvent(const Event& event, Level level) {
  switch (event.kind) {
    case EventKind::kChange:
      return ApplyChange(event, level);
    case EventKind::kTruncate:
      return ApplyTruncate(event, level);
    case EventKind::kSequences:
      return ApplySequences(event.message);
    case EventKind::kBegin:
    case EventKind::kCommit:
    case EventKind::kLogicalMessage:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Applier::ApplyChange(const Event& event, Level level) {
  PGC_RETURN_IF_ERROR(ParseChange(event.message, change_));
  const TableName name{.schema = change_.schema, .name = change_.table};
  if (name == kDdlLog) {
    PGC_RETURN_IF_ERROR(FlushAll(level));
    return ApplyDdl(event.checkpoint);
  }
  if (!pending_.empty() &&
      pending_.contains({std::string(change_.schema), std::string(change_.table)})) {
    return absl::OkStatus();
  }
  auto found = BatchOf(name);
  if (absl::IsNotFound(found.status()) && may_be_pending_) {
    final_error_ = false;
    pending_.emplace(name.schema, name.name);
    return absl::OkStatus();
  }
  if (!found.ok()) return AsPrecondition(found.status());
  RowBatch* batch = *found;
  const bool strict = !options_.replica_role || batch->table().has_triggers;
  if (strict && batches_.list.size() > 1) {
    PGC_RETURN_IF_ERROR(FlushAll(level));
    PGC_ASSIGN_OR_RETURN(batch, BatchOf(name));
  }
  PGC_RETURN_IF_ERROR(batch->Add(change_, event.checkpoint));
  ++next_.changes;
  // All, because those of a table with triggers keep their place among the others.
  const bool full = batch->changes().size() >= kFlushChanges || batch->bytes() >= kFlushBytes;
  return full ? FlushAll(level) : absl::OkStatus();
}

absl::Status Applier::ApplyDdl(const Checkpoint& checkpoint) {
  if (change_.op != Operation::kInsert || ran_alone_) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(const DdlCommand command, ParseDdlCommand(change_, checkpoint));
  PGC_RETURN_IF_ERROR(Finish());
  absl::Status status = ddl_.Run(target_, command, stop_);
  if (!status.ok()) {
    final_error_ = true;
    return status;
  }
  PGC_RETURN_IF_ERROR(ForgetSchema());
  return FindPending();
}

// The rows of a script are in the log before the command, and were made again with it.
absl::Status Applier::FindPending() {
  for (auto at = pending_.begin(); at != pending_.end();) {
    PGC_ASSIGN_OR_RETURN(const bool made,
                         catalog_.IsOfExtension({.schema = at->first, .name = at->second}, stop_));
    at = made ? pending_.erase(at) : std::next(at);
  }
  return absl::OkStatus();
}

absl::Status Applier::CheckPending() const {
  if (pending_.empty()) return absl::OkStatus();
  return AsPrecondition(
      NoSuchTable({.schema = pending_.begin()->first, .name = pending_.begin()->second}));
}

absl::Status Applier::ApplyTruncate(const Event& event, Level level) {
  PGC_RETURN_IF_ERROR(FlushAll(level));
  PGC_ASSIGN_OR_RETURN(const Truncation truncation, ParseTruncate(event.message));
  std::string tables;
  for (const TableName& name : truncation.tables) {
    const auto found = TableOf(name);
    if (!found.ok()) return AsPrecondition(found.status());
    const TargetTable* const table = *found;
    tables += fmt::format("{}{}{}", tables.empty() ? "" : ", ", table->partitioned ? "" : "ONLY ",
                          table->quoted);
  }
  if (tables.empty()) return absl::OkStatus();
  // Without CASCADE: what it reached on the source is in the list.
  PGC_RETURN_IF_ERROR(pipe_.Send(
      fmt::format("TRUNCATE {}{}", tables, truncation.restart_identity ? " RESTART IDENTITY" : ""),
      {}));
  absl::Status status = Finish();
  if (!status.ok() && MayRepeat(status)) {
    final_error_ = true;
    return absl::FailedPreconditionError(
        fmt::format("TRUNCATE of {} at {}: {}; mend it on the target", tables,
                    ToKey(event.checkpoint), std::string(status.message())));
  }
  return status;
}

absl::Status Applier::ApplySequences(std::span<const uint8_t> message) {
  PGC_ASSIGN_OR_RETURN(const std::vector<SequencePosition> positions, ParseSequences(message));
  for (const SequencePosition& position : positions) {
    const std::string name = QuoteTable(position.schema, position.name);
    const std::string value = BigEndian(static_cast<uint64_t>(position.last_value));
    const std::string called(1, position.is_called ? '\1' : '\0');
    const StatementPipe::Parameter parameters[] = {{.bytes = name, .type = kText},
                                                   {.bytes = value, .type = 20},
                                                   {.bytes = called, .type = 16}};
    // One that is not there has no position.
    PGC_RETURN_IF_ERROR(
        pipe_.Send("SELECT pg_catalog.setval(pg_catalog.to_regclass($1), $2, $3)", parameters));
  }
  return absl::OkStatus();
}

absl::StatusOr<const TargetTable*> Applier::TableOf(TableName name) {
  if (const TargetTable* const known = catalog_.Find(name); known != nullptr) return known;
  PGC_RETURN_IF_ERROR(Finish());
  auto table = catalog_.Read(name, stop_);
  final_error_ = final_error_ || !table.ok();
  return table;
}

absl::StatusOr<RowBatch*> Applier::BatchOf(TableName name) {
  PGC_ASSIGN_OR_RETURN(const TargetTable* const table, TableOf(name));
  return &batches_.Of(*table);
}

RowBatch& Applier::Batches::Of(const TargetTable& table) {
  RowBatch*& batch = by_table[&table];
  if (batch == nullptr) batch = list.emplace_back(std::make_unique<RowBatch>(table)).get();
  return *batch;
}

void Applier::Batches::Clear() {
  list.clear();
  by_table.clear();
}

absl::Status Applier::FlushAll(Level level) {
  for (const auto& batch : batches_.list) PGC_RETURN_IF_ERROR(Flush(*batch, level));
  batches_.Clear();
  return absl::OkStatus();
}

absl::Status Applier::Flush(RowBatch& batch, Level level) {
  if (level == Level::kSets) {
    for (const RowRun& run : batch.Plan()) PGC_RETURN_IF_ERROR(writer_.Send(batch, run));
    return absl::OkStatus();
  }
  for (uint32_t i = 0; i < batch.changes().size(); ++i) {
    PGC_RETURN_IF_ERROR(level == Level::kSingles ? writer_.SendOne(batch, i) : ApplyOne(batch, i));
  }
  return absl::OkStatus();
}

absl::Status Applier::ApplyOne(const RowBatch& batch, uint32_t number) {
  if (options_.on_conflict != OnConflict::kStop) {
    PGC_RETURN_IF_ERROR(pipe_.Send("SAVEPOINT pgcapture_row", {}));
  }
  PGC_RETURN_IF_ERROR(writer_.SendOne(batch, number));
  const StatementPipe::Outcome outcome = pipe_.Finish();
  if (!outcome.status.ok()) {
    if (!MayRepeat(outcome.status)) return outcome.status;
    PGC_RETURN_IF_ERROR(Resolve(batch, number, outcome));
  }
  if (options_.on_conflict == OnConflict::kStop) return absl::OkStatus();
  PGC_RETURN_IF_ERROR(pipe_.Send("RELEASE SAVEPOINT pgcapture_row", {}));
  return Finish();
}

absl::Status Applier::Resolve(const RowBatch& batch, uint32_t number,
                              const StatementPipe::Outcome& outcome) {
  const RowChange& change = batch.changes()[number];
  const TargetTable& table = batch.table();
  if (change.op == Operation::kUpdate && outcome.wrong_rows && outcome.rows == 0 &&
      table.has_identity_always) {
    PGC_RETURN_IF_ERROR(writer_.SendAsReplace(batch, number));
    const StatementPipe::Outcome replaced = pipe_.Finish();
    if (replaced.status.ok() || !replaced.wrong_rows) return replaced.status;
  }
  const std::string state = SqlStateOf(outcome.status);
  const bool exists = state == "23505" || state == "23P01";
  const std::string where = fmt::format("{} of a row of {} ({}) at {}", NameOf(change.op),
                                        table.quoted, KeyNames(table), ToKey(change.checkpoint));
  if (!exists && !outcome.wrong_rows) {
    return absl::FailedPreconditionError(
        fmt::format("the target refuses the {}: {}", where, ErrorText(outcome.status)));
  }
  const std::string what = exists              ? "another row is in its way"
                           : outcome.rows == 0 ? "the row is not there"
                                               : fmt::format("it fits {} rows", outcome.rows);
  absl::Status stop =
      absl::FailedPreconditionError(fmt::format("conflict on the target, which was written to by "
                                                "others: {}: {}. Mend the row there, or start "
                                                "with --on-conflict skip or overwrite",
                                                where, what));
  if (options_.on_conflict == OnConflict::kStop) return stop;
  PGC_RETURN_IF_ERROR(target_.Execute("ROLLBACK TO SAVEPOINT pgcapture_row", stop_));
  bool overwritten = false;
  if (options_.on_conflict == OnConflict::kOverwrite && change.op != Operation::kDelete) {
    const bool can = change.op == Operation::kInsert
                         ? !table.key.empty()
                         : outcome.rows == 0 && !exists && batch.IsComplete(change.new_row);
    if (!can) return stop;
    PGC_RETURN_IF_ERROR(writer_.SendAsInsert(batch, number, RowWriter::OnExisting::kOverwrite));
    if (absl::Status status = Finish(); !status.ok()) return MayRepeat(status) ? stop : status;
    overwritten = true;
  }
  ++next_.conflicts;
  log::Warning(
      overwritten ? "a conflicting row was overwritten" : "a conflicting change was skipped",
      {{"table", table.quoted},
       {"operation", std::string(NameOf(change.op))},
       {"at", ToKey(change.checkpoint)},
       {"conflict", what}});
  return absl::OkStatus();
}

}  // namespace pgc
