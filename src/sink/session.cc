#include "sink/session.h"

#include <fmt/format.h>

#include <string>

#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr char kInsufficientPrivilege[] = "42501";

constexpr SessionSetting kSettings[] = {
    // A sink waits for as long as it has to; what it waits for is in pg_stat_activity.
    {"statement_timeout", "0", nullptr},
    {"lock_timeout", "0", nullptr},
    {"idle_in_transaction_session_timeout", "0", nullptr},
    {"idle_session_timeout", "0", nullptr, 140000},
    {"transaction_timeout", "0", nullptr, 170000},
    {"default_transaction_read_only", "off", nullptr},
    {"default_transaction_isolation", "read committed", nullptr},
    {"default_transaction_deferrable", "off", nullptr},
    // How values are written as text. The order of day and month in a command of DDL stays that of
    // the database: DateStyle has it as its second part.
    {"client_encoding", "UTF8", nullptr},
    {"DateStyle", "ISO", nullptr},
    {"IntervalStyle", "postgres", nullptr},
    {"extra_float_digits", "1", nullptr},
    {"bytea_output", "hex", nullptr},
    {"xmloption", "content", nullptr},
    {"array_nulls", "on", nullptr},
    {"standard_conforming_strings", "on", nullptr},
    {"transform_null_equals", "off", nullptr},
    // A function may come before what its body names.
    {"check_function_bodies", "off", nullptr},
    // An error instead of rows that are not seen. DDL is run as other roles, for which a policy is
    // no error.
    {"row_security", "off", "on"},
    // Rows are looked up by their keys whatever the statistics of the target say, which has none at
    // first; a query inside DDL is like any other.
    {"enable_seqscan", "off", "on"},
    {"enable_bitmapscan", "off", "on"},
    {"enable_hashjoin", "off", "on"},
    {"enable_mergejoin", "off", "on"},
    {"plan_cache_mode", "force_generic_plan", "auto"},
    {"jit", "off", nullptr},
    // Every name that is not DDL's is written with its schema.
    {"search_path", "", nullptr},
};

}  // namespace

std::span<const SessionSetting> SessionSettings() { return kSettings; }

absl::Status PrepareSession(Connection& target, bool replica_role, const std::stop_token& stop) {
  std::string sql;
  const auto set = [&sql](const char* name, const char* value) {
    sql += fmt::format("{}pg_catalog.set_config({}, {}, false)", sql.empty() ? "SELECT " : ", ",
                       QuoteLiteral(name), QuoteLiteral(value));
  };
  for (const SessionSetting& setting : SessionSettings()) {
    if (target.server_version() >= setting.since_version) set(setting.name, setting.value);
  }
  PGC_RETURN_IF_ERROR(target.Execute(sql, stop));
  if (!replica_role) return absl::OkStatus();
  absl::Status status = target.Execute("SET session_replication_role = replica", stop);
  if (SqlStateOf(status) != kInsufficientPrivilege) return status;
  PGC_ASSIGN_OR_RETURN(const Result user, target.Query("SELECT current_user", {}, stop));
  return absl::FailedPreconditionError(fmt::format(
      "the role '{0}' may not set session_replication_role on the target, so that its triggers and "
      "foreign keys would fire for changes that the source's have made already: {1}apply as a "
      "superuser, or with --replication-role origin where the target has none that matter",
      user.Text(0, 0),
      target.server_version() >= 150000
          ? fmt::format("GRANT SET ON PARAMETER session_replication_role TO {}, ",
                        QuoteIdentifier(user.Text(0, 0)))
          : ""));
}

}  // namespace pgc
