#include "sink/ddl_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "sink/session.h"

namespace pgc {
namespace {

// Sets what differs, in order, and says what was. What is the same is not set: it may need a right
// that the role has not. Everything is qualified, because it also runs on the source's path.
constexpr char kApply[] =
    "SELECT s.name, pg_catalog.current_setting(s.name),"
    " CASE WHEN pg_catalog.current_setting(s.name) OPERATOR(pg_catalog.<>) s.value"
    " THEN pg_catalog.set_config(s.name, s.value, $1::pg_catalog.bool) END"
    " FROM (SELECT g.name, CASE WHEN g.value IS NULL"
    " THEN (SELECT p.reset_val FROM pg_catalog.pg_settings p"
    " WHERE p.name OPERATOR(pg_catalog.=) g.name) ELSE g.value END AS value"
    " FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]),"
    " pg_catalog.unnest($3::pg_catalog.text[])) AS g(name, value)"
    " OFFSET 0) AS s";

}  // namespace

DdlContext::DdlContext(Connection& target, bool in_transaction,
                       std::optional<std::string> search_path, std::optional<std::string> role)
    : target_(target),
      in_transaction_(in_transaction),
      search_path_(std::move(search_path)),
      role_(std::move(role)) {}

absl::StatusOr<Result> DdlContext::Apply(const std::vector<Setting>& settings,
                                         const std::stop_token& stop) {
  std::string names = "{";
  std::string values = "{";
  for (const Setting& setting : settings) {
    if (names.size() > 1) {
      names += ',';
      values += ',';
    }
    names += setting.name;
    if (setting.value.has_value()) {
      const std::string one = ArrayOf({&*setting.value, 1});
      values += one.substr(1, one.size() - 2);
    } else {
      values += "NULL";
    }
  }
  const std::vector<Connection::Parameter> parameters = {in_transaction_ ? "t" : "f", names + "}",
                                                         values + "}"};
  return target_.Query(kApply, parameters, stop);
}

absl::Status DdlContext::Enter(const std::stop_token& stop) {
  // The role comes last, because it may not set what comes before it, and goes first.
  std::vector<Setting> settings = {{"session_replication_role", "origin"}};
  for (const SessionSetting& setting : SessionSettings()) {
    if (setting.ddl_value != nullptr) settings.push_back({setting.name, setting.ddl_value});
  }
  settings.push_back({"search_path", search_path_});
  if (role_.has_value()) settings.push_back({"role", role_});
  PGC_ASSIGN_OR_RETURN(const Result was, Apply(settings, stop));
  for (int i = was.rows() - 1; i >= 0; --i) {
    before_.push_back({std::string(was.Text(i, 0)), std::string(was.Text(i, 1))});
  }
  // A string of several commands may set one.
  if (!role_.has_value()) before_.insert(before_.begin(), {"role", "none"});
  return absl::OkStatus();
}

absl::Status DdlContext::Leave(const std::stop_token& stop) {
  return Apply(std::exchange(before_, {}), stop).status();
}

}  // namespace pgc
