#include "source/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr int kOldestVersion = 140000;

// Synchronous commit only locally: this slot may itself be what commits wait for.
constexpr char kPrepare[] =
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0;"
    "SET idle_in_transaction_session_timeout = 0; SET default_transaction_read_only = off;"
    "SET synchronous_commit = local; SET search_path = ''";

constexpr char kFacts[] =
    "SELECT current_setting('wal_level'), pg_is_in_recovery(), current_user,"
    " (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user)";

absl::Status Failed(const std::string& what) { return absl::FailedPreconditionError(what); }

}  // namespace

absl::Status CheckVersion(int server_version) {
  if (server_version >= kOldestVersion) return absl::OkStatus();
  return Failed(fmt::format(
      "the server is PostgreSQL {}.{}: capture needs 14 or newer, which can send binary values",
      server_version / 10000, server_version % 10000));
}

absl::Status PrepareSession(Connection& sql, const std::stop_token& stop) {
  PGC_RETURN_IF_ERROR(CheckVersion(sql.server_version()));
  return sql.Execute(kPrepare, stop);
}

absl::Status CheckServer(Connection& sql, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result facts, sql.Query(kFacts, {}, stop));
  if (facts.Bool(0, 1)) {
    return Failed(
        "the server is a standby, in recovery: capture from the primary, where publication and "
        "slot can be made");
  }
  if (facts.Text(0, 0) != "logical") {
    return Failed(
        fmt::format("the server's wal_level is '{}': ALTER SYSTEM SET wal_level = logical, then "
                    "restart the server",
                    facts.Text(0, 0)));
  }
  if (!facts.Bool(0, 3)) {
    return Failed(
        fmt::format("the role '{}' may not use replication slots: ALTER ROLE {} REPLICATION",
                    facts.Text(0, 2), QuoteIdentifier(facts.Text(0, 2))));
  }
  return absl::OkStatus();
}

std::string ToString(const Origin& origin) {
  return fmt::format("system={} timeline={} database={}", origin.system, origin.timeline,
                     origin.database);
}

absl::StatusOr<Origin> ParseOrigin(const std::string& text) {
  // A database's name comes last, because it may hold anything.
  constexpr std::string_view kSystem = "system=";
  constexpr std::string_view kTimeline = " timeline=";
  constexpr std::string_view kDatabase = " database=";
  const size_t timeline = text.find(kTimeline);
  const size_t database = text.find(kDatabase);
  Origin origin;
  if (text.starts_with(kSystem) && timeline < database && database != std::string::npos) {
    origin.system = text.substr(kSystem.size(), timeline - kSystem.size());
    const char* const begin = text.data() + timeline + kTimeline.size();
    const char* const end = text.data() + database;
    const auto number = std::from_chars(begin, end, origin.timeline);
    origin.database = text.substr(database + kDatabase.size());
    if (number.ec == std::errc() && number.ptr == end) return origin;
  }
  return Failed(fmt::format("the log's origin is not one of a PostgreSQL source: '{}'", text));
}

absl::StatusOr<Origin> ReadOrigin(Connection& walsender, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result system, walsender.Query("IDENTIFY_SYSTEM", {}, stop));
  return Origin{.system = std::string(system.Text(0, 0)),
                .timeline = static_cast<uint32_t>(system.Int(0, 1)),
                .database = std::string(system.Text(0, 3))};
}

std::optional<Lsn> LeftAt(std::string_view history, uint32_t timeline) {
  // A line: the timeline that was left, where, and why.
  std::istringstream lines{std::string(history)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    uint32_t left = 0;
    std::string at;
    if (!(fields >> left >> at) || left != timeline) continue;
    const auto where = ParseLsn(at);
    return where.ok() ? std::optional(*where) : std::nullopt;
  }
  return std::nullopt;
}

absl::StatusOr<Lsn> CheckOrigin(Connection& walsender, const Origin& stored, const Origin& current,
                                const ResumePoint& resume, const std::stop_token& stop) {
  constexpr char kWayOut[] = "correct the URL, or take another data directory";
  if (stored.system != current.system) {
    return Failed(
        fmt::format("the log was captured from the cluster with system identifier {}, this one has "
                    "{}: {}",
                    stored.system, current.system, kWayOut));
  }
  if (stored.database != current.database) {
    return Failed(fmt::format("the log was captured from the database '{}', this is '{}': {}",
                              stored.database, current.database, kWayOut));
  }
  if (stored.timeline == current.timeline) return resume.captured;
  std::optional<Lsn> left;
  if (current.timeline > stored.timeline) {
    PGC_ASSIGN_OR_RETURN(
        const Result file,
        walsender.Query(fmt::format("TIMELINE_HISTORY {}", current.timeline), {}, stop));
    left = LeftAt(file.Text(0, 1), stored.timeline);
  }
  if (!left.has_value()) {
    return Failed(fmt::format(
        "the log was captured on timeline {}, which is not in the history of the server's timeline "
        "{}: some of it did not happen there; {}",
        stored.timeline, current.timeline, kWayOut));
  }
  // A commit record that begins before the timeline was left lies before that as a whole.
  if (resume.last.lsn < *left) return std::min(resume.captured, *left);
  return Failed(fmt::format(
      "the log has what was committed at {} on timeline {}, but the server's timeline {} branched "
      "off at {}: some of the log did not happen there, because the standby that was promoted had "
      "not received it; {}",
      ToString(resume.last.lsn), stored.timeline, current.timeline, ToString(*left), kWayOut));
}

}  // namespace pgc
