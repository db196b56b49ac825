#include "sink/ddl_rewrites.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

using Parameters = std::vector<Connection::Parameter>;

constexpr char kPersistence[] =
    "SELECT relpersistence = 'u' FROM pg_class WHERE oid = to_regclass($1)";

constexpr char kType[] =
    "SELECT atttypid FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2"
    " AND NOT attisdropped";

// New columns whose default is not immutable. The stored expression has the OID of each function
// in it, whatever they are called; what is no function has a node of its own. A generated column is
// immutable by itself.
constexpr char kAdded[] =
    "WITH added AS (SELECT a.attname, a.attidentity,"
    " coalesce(d.adbin::text, t.typdefaultbin::text, '') AS expression"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE a.attrelid = to_regclass($1) AND a.attname = ANY ($2::text[]) AND NOT a.attisdropped"
    " AND a.attgenerated = '')"
    " SELECT attname FROM added"
    " WHERE attidentity <> '' OR expression ~ '[{](SQLVALUEFUNCTION|NEXTVALUEEXPR) '"
    " OR EXISTS (SELECT FROM regexp_matches(expression, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS m"
    " JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile <> 'i')";

// Any function of one of these names that is not immutable.
constexpr char kFunctions[] =
    "SELECT f FROM unnest($1::text[]) AS f"
    " WHERE f IN ('current_date', 'current_time', 'current_timestamp', 'localtime',"
    " 'localtimestamp', 'current_role', 'current_user', 'session_user', 'current_catalog',"
    " 'current_schema', 'system_user')"
    " OR EXISTS (SELECT FROM pg_proc WHERE proname = f AND provolatile <> 'i')";

// Whether values of type $1 become those of the column's by something that is not immutable: a
// function, or as text, which for dates and times depends on settings of the session.
constexpr char kConverts[] =
    "WITH types AS (SELECT f.oid AS source, f.typcategory AS source_category, t.oid AS target,"
    " t.typcategory AS target_category"
    " FROM pg_type of_source, pg_attribute a JOIN pg_type of_target ON of_target.oid = a.atttypid,"
    " pg_type f, pg_type t"
    " WHERE of_source.oid = $1::oid AND a.attrelid = to_regclass($2) AND a.attname = $3"
    " AND f.oid = coalesce(nullif(of_source.typbasetype, 0), of_source.oid)"
    " AND t.oid = coalesce(nullif(of_target.typbasetype, 0), of_target.oid))"
    " SELECT CASE WHEN source = target OR c.castmethod = 'b' THEN false"
    " WHEN c.castmethod = 'f' THEN p.provolatile <> 'i'"
    " ELSE source_category IN ('D', 'T') OR target_category IN ('D', 'T') END"
    " FROM types LEFT JOIN pg_cast c ON c.castsource = source AND c.casttarget = target"
    " LEFT JOIN pg_proc p ON p.oid = c.castfunc";

constexpr char kName[] = "SELECT to_regclass($1)::text";

std::string TableOf(const DdlCommand& command, const AlterTable& alter) {
  for (const DdlObject& object : ObjectsOf(command)) {
    if (object.tag == "ALTER TABLE" && object.type == "table") return object.identity;
  }
  if (alter.table.empty()) return {};
  return alter.table.size() == 1
             ? QuoteTable("public", alter.table[0])
             : QuoteTable(alter.table[alter.table.size() - 2], alter.table.back());
}

}  // namespace

RewriteWatch::RewriteWatch(Connection& target, const DdlCommand& command, const DdlStep& step)
    : target_(target), command_(command), alter_(step.alter) {
  if (!alter_.added.empty() || !alter_.retyped.empty() || alter_.set_logged) {
    table_ = TableOf(command, alter_);
  }
}

absl::Status RewriteWatch::BeforeCommand(const std::stop_token& stop) {
  if (table_.empty()) return absl::OkStatus();
  if (alter_.set_logged) {
    PGC_ASSIGN_OR_RETURN(const Result unlogged,
                         target_.Query(kPersistence, Parameters{table_}, stop));
    was_unlogged_ = unlogged.rows() == 1 && unlogged.Bool(0, 0);
  }
  for (const AlterTable::Retyped& retyped : alter_.retyped) {
    PGC_ASSIGN_OR_RETURN(const Result type,
                         target_.Query(kType, Parameters{table_, retyped.column}, stop));
    types_.emplace_back(type.rows() == 1 ? type.Text(0, 0) : "");
  }
  return absl::OkStatus();
}

absl::Status RewriteWatch::CheckAdded(const std::stop_token& stop) {
  if (alter_.added.empty()) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(const Result found,
                       target_.Query(kAdded, Parameters{table_, ArrayOf(alter_.added)}, stop));
  for (int i = 0; i < found.rows(); ++i) {
    reasons_.push_back(fmt::format("the new column {}", found.Text(i, 0)));
  }
  return absl::OkStatus();
}

absl::Status RewriteWatch::CheckRetyped(const AlterTable::Retyped& retyped,
                                        const std::stop_token& stop) {
  bool differs = false;
  if (!retyped.functions.empty()) {
    PGC_ASSIGN_OR_RETURN(const Result found,
                         target_.Query(kFunctions, Parameters{ArrayOf(retyped.functions)}, stop));
    differs = found.rows() > 0;
  }
  const std::string& type = types_[static_cast<size_t>(&retyped - alter_.retyped.data())];
  if (!differs && retyped.converts && !type.empty()) {
    PGC_ASSIGN_OR_RETURN(const Result found,
                         target_.Query(kConverts, Parameters{type, table_, retyped.column}, stop));
    differs = found.rows() > 0 && found.Bool(0, 0);
  }
  if (differs) reasons_.push_back(fmt::format("the new type of column {}", retyped.column));
  return absl::OkStatus();
}

absl::Status RewriteWatch::AfterCommand(const std::stop_token& stop) {
  if (table_.empty()) return absl::OkStatus();
  PGC_RETURN_IF_ERROR(CheckAdded(stop));
  for (const AlterTable::Retyped& retyped : alter_.retyped) {
    PGC_RETURN_IF_ERROR(CheckRetyped(retyped, stop));
  }
  if (reasons_.empty() && !was_unlogged_) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(const Result name, target_.Query(kName, Parameters{table_}, stop));
  if (name.IsNull(0, 0)) return absl::OkStatus();
  const std::string table(name.Text(0, 0));
  const std::string key = ToKey(command_.checkpoint);
  if (was_unlogged_) {
    log::Warning(
        "the rows that the table had on the source while it was UNLOGGED are not in the log: copy "
        "the table again",
        {{"table", table}, {"lsn", key}});
  }
  if (reasons_.empty()) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(
      const Result rows,
      target_.Query(fmt::format("SELECT EXISTS (SELECT FROM {})", table), {}, stop));
  if (!rows.Bool(0, 0)) return absl::OkStatus();
  log::Warning(
      "rows that are there may have other values than on the source, which this command's "
      "expression computes anew in each place: copy the table again",
      {{"table", table}, {"lsn", key}, {"reason", fmt::format("{}", fmt::join(reasons_, ", "))}});
  return absl::OkStatus();
}

}  // namespace pgc
