#include "source/doctor.h"

#include <fmt/format.h>

#include <functional>
#include <utility>

#include "base/status_macros.h"
#include "pg/connection.h"
#include "source/ddl_capture.h"
#include "source/names.h"
#include "source/output_plugin.h"
#include "source/pglogical.h"
#include "source/publication.h"
#include "source/server.h"
#include "source/slot.h"
#include "source/tables.h"

namespace pgc {
namespace {

using Level = Finding::Level;

// A slot that holds back more than this is worth a word even where the disk has room.
constexpr int64_t kRetainedWarningBytes = int64_t{10} << 30;

constexpr char kServer[] =
    "SELECT current_setting('wal_level'), current_user,"
    " (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user),"
    " pg_is_in_recovery(), current_setting('server_version')";

constexpr char kFree[] =
    "SELECT current_setting('max_replication_slots')::int,"
    " (SELECT count(*) FROM pg_replication_slots),"
    " EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1),"
    " current_setting('max_wal_senders')::int,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender')";

constexpr char kRetained[] =
    "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint,"
    " pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), safe_wal_size,"
    " current_setting('max_slot_wal_keep_size')"
    " FROM pg_replication_slots WHERE slot_name = $1";

// Standbys, connected or not; whether the slot survives a failover, as text; who is waited for.
constexpr char kFailover[] =
    "SELECT (SELECT count(*) FROM pg_stat_replication r WHERE NOT EXISTS"
    "  (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid))"
    " + (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical'),"
    " (SELECT to_jsonb(s)->>'failover' = 'true' FROM pg_replication_slots s WHERE slot_name = $1),"
    " coalesce(current_setting('synchronized_standby_slots', true), '')";

constexpr char kPublication[] =
    "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1),"
    " EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1),"
    " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
    " has_database_privilege(current_database(), 'CREATE')";

class Examination {
 public:
  Examination(const PostgresSourceOptions& options, const LogReader& read_log, std::stop_token stop)
      : options_(options), read_log_(read_log), stop_(std::move(stop)) {}

  absl::StatusOr<std::vector<Finding>> Run();

 private:
  void Add(Level level, std::string check, std::string message, std::string remedy = {}) {
    findings_.push_back({.level = level,
                         .check = std::move(check),
                         .message = std::move(message),
                         .remedy = std::move(remedy)});
  }
  void Mend(std::string check, const absl::Status& status, std::string remedy) {
    Add(Level::kMend, std::move(check), std::string(status.message()), std::move(remedy));
  }

  absl::Status Server(Connection& sql);
  absl::Status Free(Connection& sql);
  absl::Status Slot(Connection& sql);
  absl::Status Failover(Connection& sql);
  absl::Status Log(Connection& sql);
  absl::Status Ddl(Connection& sql);
  absl::StatusOr<Lsn> LogPosition();
  absl::Status PublicationOf(Connection& sql);
  absl::Status Tables(Connection& sql);
  absl::Status ReplicationSets(Connection& sql);

  const PostgresSourceOptions& options_;
  const LogReader& read_log_;
  const std::stop_token stop_;
  std::string name_;  // of slot and publication
  std::vector<Finding> findings_;
};

absl::StatusOr<std::vector<Finding>> Examination::Run() {
  if (auto name = SlotName(options_.topic); name.ok()) {
    name_ = *std::move(name);
  } else {
    Mend("topic", name.status(), "choose another --topic");
    return findings_;
  }
  const auto sql = Connection::Open(options_.url, {}, stop_);
  if (stop_.stop_requested()) return absl::CancelledError("stopped");
  if (!sql.ok()) {
    Mend("connection", sql.status(), "correct the URL, the role's password or pg_hba.conf");
    return findings_;
  }
  Add(Level::kFine, "connection", "the server lets the role in");
  if (absl::Status status = PrepareSession(**sql, stop_); !status.ok()) {
    Mend("version", status, "upgrade the server");
    return findings_;
  }
  std::vector<absl::Status (Examination::*)(Connection&)> checks{
      &Examination::Server, &Examination::Free,     &Examination::Slot,
      &Examination::Log,    &Examination::Failover, &Examination::Ddl};
  if (options_.decode_plugin == DecodePlugin::kPgOutput) {
    checks.insert(checks.end(), {&Examination::PublicationOf, &Examination::Tables});
  } else {
    checks.push_back(&Examination::ReplicationSets);
  }
  for (const auto check : checks) {
    const absl::Status status = (this->*check)(**sql);
    if (stop_.stop_requested()) return absl::CancelledError("stopped");
    // One question that cannot be asked does not make the others void.
    if (!status.ok()) Mend("questions", status, "see the server's message");
    if (absl::IsUnavailable(status)) break;
  }
  return findings_;
}

absl::Status Examination::Server(Connection& sql) {
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kServer, {}, stop_));
  Add(Level::kFine, "version", fmt::format("PostgreSQL {}", row.Text(0, 4)));
  if (row.Bool(0, 3)) {
    Add(Level::kMend, "primary", "the server is a standby, in recovery",
        "capture from its primary");
  }
  if (row.Text(0, 0) == "logical") {
    Add(Level::kFine, "wal_level", "logical");
  } else {
    Add(Level::kMend, "wal_level", std::string(row.Text(0, 0)),
        "ALTER SYSTEM SET wal_level = logical, then restart the server");
  }
  const std::string role(row.Text(0, 1));
  if (row.Bool(0, 2)) {
    Add(Level::kFine, "replication", fmt::format("the role {} may use replication slots", role));
  } else {
    Add(Level::kMend, "replication", fmt::format("the role {} may not use replication slots", role),
        fmt::format("ALTER ROLE {} REPLICATION", QuoteIdentifier(role)));
  }
  const auto walsender = Connection::Open(options_.url, {.replication = true}, stop_);
  if (walsender.ok()) {
    Add(Level::kFine, "walsender", "replication connections are let in");
  } else {
    Mend("walsender", walsender.status(),
         "allow the role's replication connections in pg_hba.conf (a line for the database, not "
         "for `replication`); connect to the server itself, not to a pooler");
  }
  return absl::OkStatus();
}

absl::Status Examination::Free(Connection& sql) {
  const Connection::Parameter parameters[] = {name_};
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kFree, parameters, stop_));
  const bool has_slot = row.Bool(0, 2);
  if (has_slot || row.Int(0, 1) < row.Int(0, 0)) {
    Add(Level::kFine, "max_replication_slots",
        fmt::format("{} of {} are used", row.Int(0, 1), row.Int(0, 0)));
  } else {
    Add(Level::kMend, "max_replication_slots", fmt::format("all {} are used", row.Int(0, 0)),
        "drop an unused slot, or raise it and restart the server");
  }
  if (row.Int(0, 4) < row.Int(0, 3)) {
    Add(Level::kFine, "max_wal_senders",
        fmt::format("{} of {} are used", row.Int(0, 4), row.Int(0, 3)));
  } else {
    Add(Level::kMend, "max_wal_senders", fmt::format("all {} are used", row.Int(0, 3)),
        "raise it and restart the server");
  }
  return absl::OkStatus();
}

absl::Status Examination::Slot(Connection& sql) {
  absl::Status usable =
      CheckSlot(sql, name_, CapturedUpTo{}, stop_, PluginName(options_.decode_plugin));
  if (absl::IsUnavailable(usable)) return usable;
  if (!usable.ok()) {
    Mend("slot", usable, "drop it: SELECT pg_drop_replication_slot('" + name_ + "')");
    return absl::OkStatus();
  }
  const Connection::Parameter parameters[] = {name_};
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kRetained, parameters, stop_));
  if (row.rows() == 0) {
    Add(Level::kFine, "slot", fmt::format("'{}' is to be made", name_));
    return absl::OkStatus();
  }
  const std::string message = fmt::format("'{}' holds back {} of WAL", name_, row.Text(0, 1));
  if (row.Int(0, 0) < kRetainedWarningBytes) {
    Add(Level::kFine, "slot", message);
  } else if (row.Text(0, 3) == "-1") {
    Add(Level::kWarning, "slot", message + ", and nothing limits that",
        "start serve, or drop the slot; max_slot_wal_keep_size gives it up before the disk is "
        "full");
  } else {
    Add(Level::kWarning, "slot",
        fmt::format("{}, and is given up after {} bytes more", message, row.Text(0, 2)),
        "start serve soon, or raise max_slot_wal_keep_size");
  }
  return absl::OkStatus();
}

// Whether the log can go on with this server and this slot.
absl::Status Examination::Log(Connection& sql) {
  if (!read_log_) return absl::OkStatus();
  Lsn captured;
  absl::Status fits = CheckSlot(
      sql, name_,
      [this, &captured]() -> absl::StatusOr<CapturedUpTo> {
        PGC_ASSIGN_OR_RETURN(captured, LogPosition());
        return CapturedUpTo{.lsn = captured};
      },
      stop_, PluginName(options_.decode_plugin));
  if (absl::IsUnavailable(fits)) return fits;
  if (!fits.ok()) {
    Mend("log", fits,
         "give serve the data directory that belongs to the slot, or begin anew: drop the slot and "
         "start with an empty data directory");
  } else if (captured == Lsn{}) {
    Add(Level::kFine, "log", "has captured nothing yet");
  } else {
    Add(Level::kFine, "log",
        fmt::format("has captured up to {}, and the slot has what follows", ToString(captured)));
  }
  return absl::OkStatus();
}

// Where the log would go on with this server; zero when it has nothing.
absl::StatusOr<Lsn> Examination::LogPosition() {
  PGC_ASSIGN_OR_RETURN(const ResumePoint log, read_log_());
  if (log.origin.empty()) return log.captured;
  // Without a walsender the check of that name has said so.
  PGC_ASSIGN_OR_RETURN(const auto walsender,
                       Connection::Open(options_.url, {.replication = true}, stop_));
  PGC_ASSIGN_OR_RETURN(const Origin current, ReadOrigin(*walsender, stop_));
  PGC_ASSIGN_OR_RETURN(const Origin stored, ParseOrigin(log.origin));
  return CheckOrigin(*walsender, stored, current, log, stop_);
}

// Whether capture survives that a standby takes over.
absl::Status Examination::Failover(Connection& sql) {
  constexpr char kCheck[] = "failover";
  const Connection::Parameter parameters[] = {name_};
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kFailover, parameters, stop_));
  const int64_t standbys = row.Int(0, 0);
  if (sql.server_version() < kFailoverVersion) {
    if (standbys == 0) {
      Add(Level::kFine, kCheck, "no standby");
    } else {
      Add(Level::kWarning, kCheck,
          fmt::format("there are {} standbys, and a promoted one will not have the slot", standbys),
          "PostgreSQL 17 and later keep it; before, begin anew after a failover");
    }
    return absl::OkStatus();
  }
  if (!row.IsNull(0, 1) && !row.Bool(0, 1)) {
    Add(Level::kWarning, kCheck,
        fmt::format("'{}' was made without failover, so no standby will have it", name_),
        fmt::format("while serve is stopped, in a replication connection: ALTER_REPLICATION_SLOT "
                    "{} (FAILOVER true)",
                    QuoteIdentifier(name_)));
  } else if (standbys > 0 && row.Text(0, 2).empty()) {
    Add(Level::kWarning, kCheck,
        fmt::format("there are {} standbys, and changes may be captured before they have them: "
                    "capture would stop after a failover that lost some",
                    standbys),
        "set synchronized_standby_slots on the primary to the physical slots of the standbys that "
        "may be promoted, and there sync_replication_slots = on");
  } else {
    Add(Level::kFine, kCheck,
        standbys == 0 ? "no standby" : "captured is only what the standbys have");
  }
  return absl::OkStatus();
}

absl::Status Examination::Ddl(Connection& sql) {
  if (options_.no_ddl) return absl::OkStatus();
  constexpr std::string_view kDrawback =
      "commands that functions and DO blocks run come without their text";
  PGC_ASSIGN_OR_RETURN(const DdlCapture found, ReadDdlCapture(sql, stop_));
  if (!found.others.empty()) {
    Add(Level::kMend, "ddl",
        fmt::format("the schema pgcapture holds other tables: {}", found.others),
        "rename the schema, or start serve with --no-ddl");
    return absl::OkStatus();
  }
  if (!found.missing_columns.empty()) {
    Add(Level::kMend, "ddl",
        fmt::format("pgcapture.ddl_logs has no column '{}'", found.missing_columns.front()),
        "rename the schema and run pgcapture install, or start serve with --no-ddl");
  } else if (found.installed == DdlVariant::kExtension) {
    Add(Level::kFine, "ddl", fmt::format("the extension pgcapture {} captures it", found.version));
  } else if (found.installed == DdlVariant::kSql) {
    Add(Level::kWarning, "ddl", fmt::format("plain SQL captures it: {}", kDrawback),
        found.available.empty() ? "install the extension's files on the server, if you can"
                                : "pgcapture install --extension");
  } else if (!found.available.empty()) {
    Add(Level::kFine, "ddl",
        fmt::format("the extension pgcapture {} is to be installed", found.available));
  } else {
    Add(Level::kWarning, "ddl",
        fmt::format("the server does not have the extension pgcapture, so plain SQL is to be "
                    "installed: {}",
                    kDrawback),
        "install the extension's files on the server, or start serve with --no-ddl");
  }
  if (found.installed.has_value()) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(
      const Result row,
      sql.Query("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", {}, stop_));
  if (row.Bool(0, 0)) return absl::OkStatus();
  Add(Level::kWarning, "ddl",
      "PostgreSQL lets only a superuser make event triggers (managed servers: their administrator)",
      "let one run pgcapture install, or start serve with --no-ddl");
  return absl::OkStatus();
}

absl::Status Examination::PublicationOf(Connection& sql) {
  const Connection::Parameter parameters[] = {name_};
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kPublication, parameters, stop_));
  const bool all = options_.tables.empty() && options_.skip_tables.empty();
  if (row.Bool(0, 0)) {
    Add(Level::kFine, "publication", fmt::format("'{}' exists", name_));
  } else if (row.Bool(0, 1)) {
    Add(Level::kWarning, "publication",
        fmt::format("'{}' is missing and its slot lives: a published table that is changed without "
                    "it ends capture",
                    name_),
        "start serve, which makes it");
  } else if (row.Bool(0, 2) || (!all && row.Bool(0, 3))) {
    Add(Level::kFine, "publication", fmt::format("'{}' is to be made", name_));
  } else {
    Add(Level::kMend, "publication", fmt::format("the role may not make '{}'", name_),
        fmt::format("let a superuser run: CREATE PUBLICATION {} FOR {} WITH "
                    "(publish_via_partition_root = {})",
                    QuoteIdentifier(name_), all ? "ALL TABLES" : "TABLE …",
                    options_.via_partition_root));
  }
  return absl::OkStatus();
}

absl::Status Examination::ReplicationSets(Connection& sql) {
  if (const auto plugin = NewOutputPlugin(options_, name_); !plugin.ok()) {
    Mend("options", plugin.status(), "leave them out, or use --decode-plugin pgoutput");
  }
  PGC_ASSIGN_OR_RETURN(
      std::vector<Finding> found,
      ExaminePglogical(sql, {.sets = options_.replication_sets, .ddl = !options_.no_ddl}, stop_));
  for (Finding& finding : found) findings_.push_back(std::move(finding));
  return absl::OkStatus();
}

absl::Status Examination::Tables(Connection& sql) {
  const auto choice = TableChoice::Parse(options_.tables, options_.skip_tables);
  absl::Status fits = choice.ok() ? CheckChoice(sql, *choice, stop_) : choice.status();
  if (absl::IsUnavailable(fits)) return fits;
  if (!fits.ok()) {
    Mend("tables", fits, "correct --tables or --skip-tables");
    return absl::OkStatus();
  }
  PGC_ASSIGN_OR_RETURN(const std::vector<Table> without,
                       TablesWithoutIdentity(sql, *choice, stop_));
  if (without.empty()) {
    Add(Level::kFine, "replica identity", "every table has a usable one");
    return absl::OkStatus();
  }
  std::vector<QualifiedName> names;
  for (const Table& table : without) names.push_back(table.name);
  if (options_.replica_identity_full) {
    Add(Level::kFine, "replica identity", "serve sets FULL on " + ToString(names));
  } else {
    Add(Level::kMend, "replica identity", "without a usable one: " + ToString(names),
        "give them a primary key or a replica identity, or start serve with "
        "--replica-identity-full, --tables or --skip-tables");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Finding>> Examine(const PostgresSourceOptions& options,
                                             const LogReader& read_log, std::stop_token stop) {
  return Examination(options, read_log, std::move(stop)).Run();
}

}  // namespace pgc
