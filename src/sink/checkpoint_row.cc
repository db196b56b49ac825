#include "sink/checkpoint_row.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <chrono>

#include "base/hex.h"
#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A client that died without a word is found out by its server within this time, where keepalives
// are set; one whose statement was still running, when that ends.
constexpr std::chrono::seconds kLockWait{60};
constexpr milliseconds kLockRetry{100};

constexpr char kLockSql[] =
    "SELECT pg_catalog.pg_try_advisory_lock(('x' || "
    "pg_catalog.md5(pg_catalog.current_database()))::bit(64)::bigint)";

constexpr char kHolderSql[] = R"(
SELECT l.pid, a.application_name FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND (l.classid::bigint << 32) + l.objid::bigint
    = ('x' || pg_catalog.md5(pg_catalog.current_database()))::bit(64)::bigint)";

// As the extension makes it.
constexpr char kSourcesSql[] = R"(
CREATE SCHEMA IF NOT EXISTS pgcapture;
CREATE TABLE IF NOT EXISTS pgcapture.sources (
  id text PRIMARY KEY,
  commit pg_lsn,
  seq int,
  commit_ts timestamptz,
  mid bytea,
  apply_ts timestamptz DEFAULT current_timestamp
))";

absl::Status EnsureSources(Connection& target, const std::stop_token& stop) {
  constexpr char kThere[] =
      "SELECT pg_catalog.to_regclass('pgcapture.sources') IS NOT NULL, EXISTS (SELECT FROM "
      "pg_catalog.pg_available_extensions WHERE name = 'pgcapture')";
  PGC_ASSIGN_OR_RETURN(const Result there, target.Query(kThere, {}, stop));
  if (there.Bool(0, 0)) return absl::OkStatus();
  if (there.Bool(0, 1)) {
    absl::Status made = target.Execute("CREATE EXTENSION IF NOT EXISTS pgcapture", stop);
    if (made.ok() || !absl::IsFailedPrecondition(made)) return made;
    log::Warning("the target's DDL will not be logged there: its role may not make the extension",
                 {{"error", std::string(made.message())}});
  }
  return target.Execute(kSourcesSql, stop);
}

}  // namespace

absl::Status LockTarget(Connection& target, const std::stop_token& stop) {
  const auto deadline = steady_clock::now() + kLockWait;
  bool told = false;
  while (!stop.stop_requested()) {
    PGC_ASSIGN_OR_RETURN(const Result locked, target.Query(kLockSql, {}, stop));
    if (locked.Bool(0, 0)) return absl::OkStatus();
    PGC_ASSIGN_OR_RETURN(const Result holder, target.Query(kHolderSql, {}, stop));
    const std::string who = holder.rows() == 0 ? "a session that is just ending"
                                               : fmt::format("process {} of the server ({})",
                                                             holder.Text(0, 0), holder.Text(0, 1));
    if (steady_clock::now() > deadline) {
      return absl::FailedPreconditionError(fmt::format(
          "{} is kept by another sink already, {}: stop one of them", NameOf(target), who));
    }
    if (!told) log::Warning("waiting for another sink of the database to end", {{"holder", who}});
    told = true;
    Pause(kLockRetry, stop);
  }
  return absl::CancelledError("stopped");
}

absl::StatusOr<CheckpointRow> ReadCheckpointRow(Connection& target, const std::string& source_id,
                                                const std::stop_token& stop) {
  PGC_RETURN_IF_ERROR(EnsureSources(target, stop));
  const Connection::Parameter id = source_id;
  PGC_RETURN_IF_ERROR(target
                          .Query("INSERT INTO pgcapture.sources (id, apply_ts) VALUES ($1, NULL) "
                                 "ON CONFLICT (id) DO NOTHING",
                                 {&id, 1}, stop)
                          .status());
  PGC_ASSIGN_OR_RETURN(const Result row,
                       target.Query("SELECT commit, seq, pg_catalog.encode(mid, 'hex') "
                                    "FROM pgcapture.sources WHERE id = $1",
                                    {&id, 1}, stop));
  CheckpointRow read;
  if (row.rows() == 0 || row.IsNull(0, 0)) return read;
  PGC_ASSIGN_OR_RETURN(const Lsn lsn, ParseLsn(row.Text(0, 0)));
  read.stored = {.lsn = lsn, .seq = static_cast<uint32_t>(row.Int(0, 1))};
  if (row.IsNull(0, 1) || row.IsNull(0, 2)) return read;
  read.checkpoint = read.stored;
  read.place = BytesFromHex(row.Text(0, 2));
  return read;
}

absl::StatusOr<bool> SetSynchronousCommit(Connection& target, const std::string& value,
                                          const std::stop_token& stop) {
  if (!value.empty()) {
    const Connection::Parameter parameter = value;
    PGC_RETURN_IF_ERROR(target
                            .Query("SELECT pg_catalog.set_config('synchronous_commit', $1, false)",
                                   {&parameter, 1}, stop)
                            .status());
  }
  PGC_ASSIGN_OR_RETURN(const Result now, target.Query("SHOW synchronous_commit", {}, stop));
  return now.Text(0, 0) != "off";
}

std::string NameOf(Connection& target) {
  PGconn* const raw = target.raw();
  return fmt::format("replica {}:{}/{}", PQhost(raw), PQport(raw), PQdb(raw));
}

int64_t LagMs(PgTimestamp commit_time) {
  if (commit_time.us == 0) return -1;
  return std::max<int64_t>(0, (PgNow().us - commit_time.us) / 1000);
}

}  // namespace pgc
