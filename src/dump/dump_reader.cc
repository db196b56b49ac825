#include "dump/dump_reader.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "dump/copy_rows.h"
#include "dump/page_query.h"
#include "dump/table_facts.h"

namespace pgc {
namespace {

// From this version on there is a scan of a range of pages.
constexpr int kRangeScanVersion = 140000;
// libpq keeps the memory that its largest message took; a session with more than this is not kept.
constexpr size_t kKeptMessageBytes = size_t{8} << 20;
// What can be between the end of a record and the next one, where a page of the log begins: its
// header, of a page size that is at least this.
constexpr uint64_t kLogPageHeaderBytes = 40;
constexpr uint64_t kLeastLogPageBytes = 1024;

constexpr char kReplayedSql[] =
    "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn()";
constexpr char kInsertedSql[] = "SELECT pg_catalog.pg_current_wal_insert_lsn()";

// The position between two records that a commit, whose position is where its record begins, may
// still have when it is the next.
Lsn NextRecordAt(Lsn end) {
  return end.value % kLeastLogPageBytes == 0 ? Lsn{end.value + kLogPageHeaderBytes} : end;
}

class Dump {
 public:
  Dump(DumpSession& session, const DumpServerOptions& options, CapturedXids* captured,
       const DumpRequest& request, const std::stop_token& stop)
      : session_(session),
        sql_(*session.sql),
        options_(options),
        captured_(captured),
        request_(request),
        stop_(stop) {}

  absl::Status Find();
  absl::Status Read(DumpWriter& out);

 private:
  absl::Status CheckMissing();
  absl::Status TakeSnapshot();
  absl::Status Place();
  absl::Status PlaceOnStandby();
  absl::Status PlaceOnSource();
  absl::Status SendRows(DumpWriter& out);
  Lsn SurelyReplayed() const;
  absl::Status NoCheckpoint() const;
  absl::Status IsBehind(Lsn shown) const;

  DumpSession& session_;
  Connection& sql_;
  const DumpServerOptions& options_;
  CapturedXids* const captured_;
  const DumpRequest& request_;
  const std::stop_token& stop_;

  ServerFacts server_;
  std::optional<CapturedXids::Entry> entry_;
  TableFacts table_;
  PgSnapshot snapshot_;
  DumpHeader header_;
};

absl::Status Dump::Find() {
  PGC_ASSIGN_OR_RETURN(server_, FindTable(sql_, request_, stop_));
  if (!server_.has_table) PGC_RETURN_IF_ERROR(CheckMissing());
  return absl::OkStatus();
}

// A table that is missing where the server is behind may be there by now, with rows.
absl::Status Dump::CheckMissing() {
  std::optional<AppliedPlace> shown;
  if (captured_ == nullptr) {
    if (server_.has_sources) {
      PGC_ASSIGN_OR_RETURN(shown, ReadCheckpoint(sql_, options_, stop_));
    }
    if (!shown && server_.in_recovery) shown = {.applied = SurelyReplayed(), .store_position = {}};
    const bool must_know = request_.min_lsn > Lsn{} || request_.no_table_is_empty;
    if (!shown && must_know) return NoCheckpoint();
    if (shown && shown->applied < request_.min_lsn) return IsBehind(shown->applied);
    PGC_ASSIGN_OR_RETURN(server_, FindTable(sql_, request_, stop_));
    if (server_.has_table) return absl::OkStatus();
  }
  if (shown && request_.no_table_is_empty) {
    header_.applied = shown->applied;
    header_.store_position = shown->store_position;
    return absl::OkStatus();
  }
  return absl::NotFoundError(
      fmt::format("there is no table {}.{}", request_.schema, request_.table));
}

absl::Status Dump::NoCheckpoint() const {
  return absl::UnavailableError(fmt::format(
      "no checkpoint yet: nothing of topic {} was applied to this server", options_.topic));
}

absl::Status Dump::IsBehind(Lsn shown) const {
  return absl::FailedPreconditionError(
      fmt::format("the server is behind: it shows what was committed up to {}, and {} is needed",
                  ToString(shown), ToString(request_.min_lsn)));
}

// The lock comes before the snapshot: what a TRUNCATE or a rewrite removed, which PostgreSQL does
// not keep for older snapshots, would be missing otherwise. LOCK TABLE itself takes none.
absl::Status Dump::TakeSnapshot() {
  PGC_RETURN_IF_ERROR(sql_.Execute(
      fmt::format("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE ONLY {} IN ACCESS "
                  "SHARE MODE",
                  QuoteTable(request_.schema, request_.table)),
      stop_));
  // The source's own is of other logs, and its role need not read it.
  const bool has_checkpoint = server_.has_sources && captured_ == nullptr;
  PGC_ASSIGN_OR_RETURN(table_, ReadTable(sql_, options_, request_, has_checkpoint, stop_));
  PGC_ASSIGN_OR_RETURN(snapshot_, ParseSnapshot(table_.snapshot));
  if (request_.relfilenode != 0 && request_.relfilenode != table_.relfilenode) {
    return absl::AbortedError(
        fmt::format("{}.{} was rewritten: its relfilenode is {}, and the dump began with {}",
                    request_.schema, request_.table, table_.relfilenode, request_.relfilenode));
  }
  return absl::OkStatus();
}

absl::Status Dump::Place() {
  if (captured_ != nullptr) return PlaceOnSource();
  // A replica's rows and checkpoint are one transaction, and its transactions are visible in the
  // order of the log: so the checkpoint is exact, and is its own upper bound. That holds as well
  // for a standby of a replica, whose own log is not ours.
  if (table_.checkpoint.has_value()) {
    header_.applied = *table_.checkpoint;
    header_.store_position = table_.store_position;
    return absl::OkStatus();
  }
  if (server_.in_recovery) return PlaceOnStandby();
  return NoCheckpoint();
}

// A commit's position is where its record begins, and one may begin exactly at the end of what is
// applied.
Lsn Dump::SurelyReplayed() const {
  return Lsn{server_.replayed.value == 0 ? 0 : server_.replayed.value - 1};
}

absl::Status Dump::PlaceOnStandby() {
  header_.applied = SurelyReplayed();
  PGC_ASSIGN_OR_RETURN(const Result row, sql_.Query(kReplayedSql, {}, stop_));
  if (!row.Bool(0, 0)) {
    return absl::UnavailableError("the standby was promoted: its rows are of another history");
  }
  PGC_ASSIGN_OR_RETURN(const Lsn replayed, ParseLsn(row.Text(0, 1)));
  // A commit is visible before its record counts as applied, so the next record may be one.
  header_.upper = NextRecordAt(replayed);
  return absl::OkStatus();
}

absl::Status Dump::PlaceOnSource() {
  PGC_ASSIGN_OR_RETURN(const Result row, sql_.Query(kInsertedSql, {}, stop_));
  PGC_ASSIGN_OR_RETURN(header_.upper, ParseLsn(row.Text(0, 0)));
  PGC_ASSIGN_OR_RETURN(header_.applied, captured_->Place(*entry_, snapshot_, stop_));
  entry_.reset();
  return absl::OkStatus();
}

absl::Status Dump::SendRows(DumpWriter& out) {
  PGC_ASSIGN_OR_RETURN(const std::vector<DumpColumn> columns,
                       ReadColumns(sql_, table_, request_, stop_));
  std::vector<KeyColumn> key;
  if (!request_.keys.empty()) {
    PGC_ASSIGN_OR_RETURN(key, ReadKey(sql_, table_, stop_));
  }
  PGC_ASSIGN_OR_RETURN(PageQuery query, PageQuery::New(request_, table_, columns, key,
                                                       sql_.server_version() >= kRangeScanVersion));
  PGC_RETURN_IF_ERROR(out.Begin(header_));
  // A row without columns has no change either.
  if (columns.empty()) return absl::OkStatus();
  CopyLimits limits;
  if (!request_.where.empty() || !request_.keys.empty()) {
    limits.wait = options_.statement_timeout;
    // Types and operators of extensions are found as the role finds them.
    const Connection::Parameter search_path = session_.search_path;
    PGC_RETURN_IF_ERROR(sql_.Query("SELECT pg_catalog.set_config('search_path', $1, true)",
                                   {&search_path, 1}, stop_)
                            .status());
  }
  RowEncoder encoder({.schema = table_.published_schema, .name = table_.published_table}, columns,
                     out);
  size_t largest_bytes = 0;
  absl::Status status;
  for (std::string statement = query.Next(); status.ok() && !statement.empty();
       statement = query.Next()) {
    status = CopyRows(sql_, statement, limits, encoder, largest_bytes, stop_);
  }
  if (largest_bytes > kKeptMessageBytes) session_.drop = true;
  PGC_RETURN_IF_ERROR(status);
  return encoder.Flush();
}

absl::Status Dump::Read(DumpWriter& out) {
  header_.identity = session_.identity;
  if (!server_.has_table) return out.Begin(header_);
  if (captured_ != nullptr) {
    if (server_.in_recovery) {
      return absl::UnavailableError("the source is in recovery: it is no source now");
    }
    PGC_ASSIGN_OR_RETURN(CapturedXids::Entry entry, captured_->Enter(sql_, stop_));
    entry_.emplace(std::move(entry));
  }
  PGC_RETURN_IF_ERROR(TakeSnapshot());
  PGC_RETURN_IF_ERROR(Place());
  const bool may_be_behind = captured_ != nullptr && request_.place_by_snapshot;
  if (header_.applied < request_.min_lsn && !may_be_behind) return IsBehind(header_.applied);
  // What comes again behind the rows must not be in them already where an unchanged value would be
  // missing, or where a row without a key would be there twice.
  const bool is_exact = table_.toast || table_.no_key;
  if (!is_exact) header_.upper = {};
  header_.by_snapshot = is_exact && may_be_behind;
  header_.snapshot = table_.snapshot;
  header_.snapshot_xmin = snapshot_.xmin;
  header_.relfilenode = table_.relfilenode;
  header_.pages = static_cast<uint32_t>(table_.pages);
  header_.sweep_needed = table_.toast;
  header_.no_key = table_.no_key;
  header_.schema = table_.published_schema;
  header_.table = table_.published_table;
  PGC_RETURN_IF_ERROR(SendRows(out));
  return sql_.Execute("COMMIT", stop_);
}

}  // namespace

absl::Status ReadDump(DumpSession& session, const DumpServerOptions& options,
                      CapturedXids* captured, const DumpRequest& request, DumpWriter& out,
                      bool& begun, const std::stop_token& stop) {
  Dump dump(session, options, captured, request, stop);
  PGC_RETURN_IF_ERROR(dump.Find());
  begun = true;
  return dump.Read(out);
}

}  // namespace pgc
