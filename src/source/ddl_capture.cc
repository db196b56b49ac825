#include "source/ddl_capture.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr char kInsufficientPrivilege[] = "42501";

// The schema alone does not tell: a sink makes it too, for its position.
constexpr char kState[] =
    "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pgcapture'),"
    " (SELECT default_version FROM pg_available_extensions WHERE name = 'pgcapture'),"
    " EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'pgcapture_ddl_command_end'),"
    " (SELECT string_agg(relname, ', ') FROM pg_class WHERE relnamespace = to_regnamespace("
    "'pgcapture') AND relkind IN ('r', 'v', 'm', 'f', 'p') AND relname <> 'sources')";

constexpr char kMissingColumns[] =
    "SELECT name FROM unnest('{query,tags}'::text[]) name WHERE NOT EXISTS (SELECT"
    " FROM pg_attribute WHERE attrelid = to_regclass('pgcapture.ddl_logs') AND attname = name"
    " AND NOT attisdropped)";

// What of the log's table is known elsewhere and must be so afterwards.
constexpr char kPublications[] =
    "SELECT p.pubname FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid"
    " WHERE r.prrelid = to_regclass('pgcapture.ddl_logs')";
constexpr char kHasSchema[] = "SELECT to_regnamespace('pgcapture') IS NOT NULL";
constexpr char kLastId[] = "SELECT last_value FROM pgcapture.ddl_logs_id_seq";

std::string_view NameOf(DdlVariant variant) {
  return variant == DdlVariant::kExtension ? "the extension pgcapture" : "plain SQL";
}

absl::Status CheckColumns(const DdlCapture& found) {
  if (found.missing_columns.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "pgcapture.ddl_logs has no column '{}', so DDL cannot be read from it: it is not the table "
      "that captures DDL; rename its schema and run pgcapture install, or start with --no-ddl",
      found.missing_columns.front()));
}

// Whether a version is newer than the one that this program goes with; both are a.b.
bool IsNewer(const std::string& version) {
  const std::string own(kDdlCaptureVersion);
  return version.size() != own.size() ? version.size() > own.size() : version > own;
}

void Report(const DdlCapture& found) {
  if (found.installed == DdlVariant::kSql) {
    log::Info(
        found.available.empty()
            ? "DDL is captured by plain SQL: commands inside functions have no text"
            : "DDL is captured by plain SQL, and the extension could take its place: pgcapture "
              "install --extension");
    return;
  }
  log::Info("DDL is captured by the extension pgcapture", {{"version", found.version}});
  if (IsNewer(found.version)) {
    log::Warning(
        "the extension pgcapture is newer than this program, which reads of it what it knows",
        {{"version", found.version}});
  } else if (found.version != kDdlCaptureVersion) {
    log::Warning(
        "the extension pgcapture is an older version: have a superuser run ALTER EXTENSION "
        "pgcapture UPDATE",
        {{"version", found.version}, {"newest", kDdlCaptureVersion}});
  }
}

// Undoes what a failed statement of a transaction began.
absl::Status InTransaction(Connection& sql, const std::string& statements,
                           const std::stop_token& stop) {
  absl::Status status = sql.Execute("BEGIN; " + statements + "; COMMIT", stop);
  if (!status.ok()) (void)sql.Execute("ROLLBACK");
  return status;
}

// Plain SQL in place of the extension: what the extension's tables held that others need is kept.
absl::StatusOr<std::string> SqlForExtension(Connection& sql, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result last, sql.Query(kLastId, {}, stop));
  PGC_ASSIGN_OR_RETURN(const Result publications, sql.Query(kPublications, {}, stop));
  std::string statements = fmt::format(
      "CREATE TEMPORARY TABLE pgcapture_kept ON COMMIT DROP AS TABLE pgcapture.sources;"
      "DROP EXTENSION pgcapture CASCADE; {};"
      "INSERT INTO pgcapture.sources (id, commit, seq, commit_ts, mid, apply_ts)"
      " SELECT id, commit, seq, commit_ts, mid, apply_ts FROM pg_temp.pgcapture_kept;"
      "SELECT setval('pgcapture.ddl_logs_id_seq', {})",
      kDdlCaptureSql, last.Int(0, 0) + 1);
  for (int i = 0; i < publications.rows(); ++i) {
    statements += fmt::format("; ALTER PUBLICATION {} ADD TABLE pgcapture.ddl_logs",
                              QuoteIdentifier(publications.Text(i, 0)));
  }
  return statements;
}

// The statements that bring a database from what was found to `variant`.
absl::StatusOr<std::string> Installation(Connection& sql, const DdlCapture& found,
                                         DdlVariant variant, const std::stop_token& stop) {
  const bool has_extension = found.installed == DdlVariant::kExtension;
  if (variant == DdlVariant::kSql) {
    if (has_extension) return SqlForExtension(sql, stop);
    return std::string(kDdlCaptureSql);
  }
  if (has_extension) return std::string("ALTER EXTENSION pgcapture UPDATE");
  PGC_ASSIGN_OR_RETURN(const Result schema, sql.Query(kHasSchema, {}, stop));
  if (!schema.Bool(0, 0)) return std::string("CREATE EXTENSION pgcapture");
  // It takes over tables that are there when they are those of plain SQL.
  return fmt::format(
      "{}; CREATE EXTENSION pgcapture VERSION 'sql'; ALTER EXTENSION pgcapture UPDATE",
      kDdlCaptureSql);
}

absl::Status NoPrivilege(const absl::Status& status, DdlVariant variant) {
  return absl::FailedPreconditionError(fmt::format(
      "{}, which captures DDL, cannot be installed by this role: {}; let a superuser (on a managed "
      "server its administrator) run pgcapture install, or start with --no-ddl",
      NameOf(variant), std::string(status.message())));
}

}  // namespace

absl::StatusOr<DdlCapture> ReadDdlCapture(Connection& sql, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kState, {}, stop));
  DdlCapture found;
  found.version = row.Text(0, 0);
  found.available = row.Text(0, 1);
  if (!row.IsNull(0, 0)) {
    found.installed = DdlVariant::kExtension;
  } else if (row.Bool(0, 2)) {
    found.installed = DdlVariant::kSql;
  } else {
    found.others = row.Text(0, 3);
  }
  if (found.installed.has_value()) {
    PGC_ASSIGN_OR_RETURN(const Result missing, sql.Query(kMissingColumns, {}, stop));
    for (int i = 0; i < missing.rows(); ++i) found.missing_columns.emplace_back(missing.Text(i, 0));
  }
  return found;
}

absl::Status EnsureDdlCapture(Connection& sql, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(DdlCapture found, ReadDdlCapture(sql, stop));
  if (!found.installed.has_value()) {
    PGC_RETURN_IF_ERROR(InstallDdlCapture(sql, std::nullopt, stop).status());
    PGC_ASSIGN_OR_RETURN(found, ReadDdlCapture(sql, stop));
  }
  PGC_RETURN_IF_ERROR(CheckColumns(found));
  Report(found);
  return absl::OkStatus();
}

absl::StatusOr<DdlVariant> InstallDdlCapture(Connection& sql, std::optional<DdlVariant> wanted,
                                             const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const DdlCapture found, ReadDdlCapture(sql, stop));
  const DdlVariant variant =
      wanted.value_or(found.available.empty() ? DdlVariant::kSql : DdlVariant::kExtension);
  if (variant == DdlVariant::kExtension && found.available.empty()) {
    return absl::FailedPreconditionError(
        "the server does not have the files of the extension pgcapture: install its package on the "
        "server (docs/install.md), or take pgcapture install --sql");
  }
  if (!found.others.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "the schema pgcapture, which the capture of DDL is to be made in, holds other tables: {}; "
        "rename it, or start with --no-ddl",
        found.others));
  }
  PGC_ASSIGN_OR_RETURN(const std::string statements, Installation(sql, found, variant, stop));
  const absl::Status status =
      InTransaction(sql, "SET LOCAL client_min_messages = warning; " + statements, stop);
  if (SqlStateOf(status) == kInsufficientPrivilege) return NoPrivilege(status, variant);
  PGC_RETURN_IF_ERROR(status);
  log::Info("installed what captures DDL", {{"variant", std::string(NameOf(variant))}});
  return variant;
}

}  // namespace pgc
