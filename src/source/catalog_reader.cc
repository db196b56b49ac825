#include "source/catalog_reader.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "source/server.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFirstPoll{1};
constexpr std::chrono::milliseconds kLastPoll{50};

// The row of a column as the table was made with it has the xmin of those of the system's columns,
// which nothing alters. Ids that are past the slot's catalog_xmin may still be to come.
constexpr char kColumns[] =
    "SELECT a.attname, a.atttypid,"
    " CASE WHEN a.xmin <> made.xmin AND coalesce(age(a.xmin) <= age(s.catalog_xmin), true)"
    "  THEN a.xmin::text::bigint ELSE 0 END"
    " FROM pg_attribute a"
    " JOIN pg_attribute made ON made.attrelid = a.attrelid AND made.attnum = -1"
    " LEFT JOIN pg_replication_slots s ON s.slot_name = $2"
    " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";

// $1: an xid without its epoch, of a transaction not older than two billion others. One that has
// not ended may be ahead of the snapshot's end.
constexpr char kVisible[] =
    "SELECT CASE WHEN behind > 2147483647 THEN false"
    " ELSE pg_visible_in_snapshot((ahead - behind)::text::xid8, snapshot) END"
    " FROM (SELECT snapshot, pg_snapshot_xmax(snapshot)::text::bigint AS ahead,"
    "  (pg_snapshot_xmax(snapshot)::text::bigint - $1::bigint) & 4294967295 AS behind"
    "  FROM pg_current_snapshot() AS snapshot) AS s";

// Only someone who rewrites the catalog makes it take longer.
constexpr char kTimeout[] = "SET statement_timeout = '30s'";

}  // namespace

CatalogReader::CatalogReader(std::string url, std::string slot, std::stop_token stop)
    : url_(std::move(url)), slot_(std::move(slot)), stop_(std::move(stop)) {}

absl::Status CatalogReader::Connect() {
  if (sql_ != nullptr) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(auto sql,
                       Connection::Open(url_, {.application_name = "pgcapture catalog"}, stop_));
  PGC_RETURN_IF_ERROR(PrepareSession(*sql, stop_));
  PGC_RETURN_IF_ERROR(sql->Execute(kTimeout, stop_));
  sql_ = std::move(sql);
  return absl::OkStatus();
}

absl::Status CatalogReader::WaitUntilVisible(uint32_t xid) {
  if (visible_ == xid) return absl::OkStatus();
  const auto deadline = Clock::now() + kVisibleTimeout;
  for (auto poll = kFirstPoll;; poll = std::min(poll * 2, kLastPoll)) {
    const Connection::Parameter parameters[] = {std::to_string(xid)};
    PGC_ASSIGN_OR_RETURN(const Result visible, sql_->Query(kVisible, parameters, stop_));
    if (visible.Bool(0, 0)) break;
    if (Clock::now() >= deadline) {
      log::Warning(
          "a transaction is captured before the server shows what it did, as when its commit waits "
          "for a synchronous standby: types of what it made or altered are not known",
          {{"slot", slot_}, {"xid", std::to_string(xid)}});
      break;
    }
    Pause(poll, stop_);
    if (stop_.stop_requested()) return absl::CancelledError("stopped");
  }
  visible_ = xid;
  return absl::OkStatus();
}

absl::StatusOr<Result> CatalogReader::Query(uint32_t oid, uint32_t xid) {
  PGC_RETURN_IF_ERROR(Connect());
  PGC_RETURN_IF_ERROR(WaitUntilVisible(xid));
  const Connection::Parameter parameters[] = {std::to_string(oid), slot_};
  return sql_->Query(kColumns, parameters, stop_);
}

absl::StatusOr<CatalogTable> CatalogReader::Read(uint32_t oid, uint32_t xid) {
  const bool fresh = sql_ == nullptr;
  absl::StatusOr<Result> rows = Query(oid, xid);
  if (!rows.ok()) {
    sql_.reset();
    if (fresh || !absl::IsUnavailable(rows.status())) return rows.status();
    PGC_ASSIGN_OR_RETURN(rows, Query(oid, xid));
  }
  CatalogTable table;
  for (int i = 0; i < rows->rows(); ++i) {
    table.columns[std::string(rows->Text(i, 0))] = {
        .type_oid = static_cast<uint32_t>(rows->Int(i, 1)),
        .altered_by = static_cast<uint32_t>(rows->Int(i, 2))};
  }
  return table;
}

}  // namespace pgc
