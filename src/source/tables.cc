#include "source/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

// What PostgreSQL can publish, without the schemas of systems (docs/contract.md, section 3).
// Temporary and unlogged tables leave no changes in the WAL.
constexpr char kPublishable[] =
    " c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384"
    " AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgcapture', "
    "'pglogical')";

// $1, $2: schemas and names. `chosen` has the tables of those names with all that inherit from
// them, partitions included.
constexpr char kChosen[] =
    "named(oid) AS ("
    " SELECT c.oid FROM unnest($1::text[], $2::text[]) AS w(s, t)"
    " JOIN pg_namespace n ON n.nspname = w.s"
    " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t),"
    " chosen(oid) AS ("
    " SELECT oid FROM named"
    " UNION SELECT i.inhrelid FROM pg_inherits i JOIN chosen p ON p.oid = i.inhparent)";

// `listed`: what the publication lists. A partition named on its own is listed; one that comes
// with its partitioned table is not.
constexpr char kOnly[] =
    " listed(oid) AS ("
    " SELECT c.oid FROM chosen JOIN pg_class c USING (oid) JOIN pg_namespace n"
    " ON n.oid = c.relnamespace"
    " WHERE {publishable} AND (NOT c.relispartition OR c.oid IN (SELECT oid FROM named)))";
constexpr char kAllBut[] =
    " listed(oid) AS ("
    " SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE {publishable} AND NOT c.relispartition AND c.oid NOT IN (SELECT oid FROM chosen))";
// All that FOR ALL TABLES publishes, the schemas of systems too. $1 and $2 are empty.
constexpr char kAll[] =
    " listed(oid) AS ("
    " SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384"
    " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')";

constexpr char kSelectListed[] =
    " SELECT c.oid, n.nspname, c.relname FROM listed JOIN pg_class c USING (oid)"
    " JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 2, 3";

// PostgreSQL looks at the identity of the table that holds the row, a leaf of a partitioned one,
// and takes an index only as here (RelationGetIndexList in its source).
constexpr char kSelectWithoutIdentity[] =
    ", held(oid) AS ("
    " SELECT oid FROM listed UNION SELECT i.inhrelid FROM pg_inherits i"
    " JOIN held p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = p.oid AND c.relkind = 'p')"
    " SELECT c.oid, n.nspname, c.relname FROM held JOIN pg_class c USING (oid)"
    " JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.relreplident <> 'f'"
    // The extension's log has none on purpose (docs/decisions/ddl-log-pruning.md).
    " AND NOT (n.nspname = 'pgcapture' AND c.relname = 'ddl_logs' AND c.relreplident = 'n')"
    " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid"
    "  AND i.indisunique AND i.indimmediate AND i.indpred IS NULL"
    "  AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident))"
    " ORDER BY 2, 3";

constexpr char kNamed[] =
    "SELECT w.s, w.t, c.relkind, c.relpersistence, c.relispartition, c.oid >= 16384"
    " AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgcapture', "
    "'pglogical'),"
    " (SELECT string_agg(format('%s.%s', an.nspname, ac.relname), ', ')"
    "  FROM pg_partition_ancestors(c.oid) a JOIN pg_class ac ON ac.oid = a.relid"
    "  JOIN pg_namespace an ON an.oid = ac.relnamespace WHERE NOT ac.relispartition)"
    " FROM unnest($1::text[], $2::text[]) AS w(s, t)"
    " LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace)"
    " ON n.nspname = w.s AND c.relname = w.t ORDER BY 1, 2";

constexpr char kWithAncestors[] =
    "SELECT DISTINCT c.oid, n.nspname, c.relname FROM unnest($1::oid[]) AS t(oid)"
    " CROSS JOIN LATERAL (SELECT t.oid UNION SELECT relid FROM pg_partition_ancestors(t.oid)) "
    "a(oid)"
    " JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relreplident <> 'f' ORDER BY 2, 3";

const char* Flag(const TableChoice& choice) {
  return choice.kind == TableChoice::Kind::kOnly ? "--tables" : "--skip-tables";
}

std::pair<Connection::Parameter, Connection::Parameter> Names(const TableChoice& choice) {
  std::vector<std::string> schemas;
  std::vector<std::string> names;
  for (const QualifiedName& name : choice.names) {
    schemas.push_back(name.schema);
    names.push_back(name.name);
  }
  return {ArrayOf(schemas), ArrayOf(names)};
}

absl::StatusOr<std::vector<Table>> Tables(Connection& sql, const std::string& query,
                                          std::span<const Connection::Parameter> parameters,
                                          const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.Query(query, parameters, stop));
  std::vector<Table> tables;
  for (int i = 0; i < rows.rows(); ++i) {
    tables.push_back({.oid = static_cast<uint32_t>(rows.Int(i, 0)),
                      .name = {std::string(rows.Text(i, 1)), std::string(rows.Text(i, 2))}});
  }
  return tables;
}

absl::StatusOr<std::vector<Table>> ChosenTables(Connection& sql, const TableChoice& choice,
                                                const char* select, const std::stop_token& stop) {
  const char* listed = kAll;
  if (choice.kind == TableChoice::Kind::kOnly) listed = kOnly;
  if (choice.kind == TableChoice::Kind::kAllBut) listed = kAllBut;
  const auto [schemas, names] = Names(choice);
  const Connection::Parameter parameters[] = {schemas, names};
  const std::string query =
      fmt::format("WITH RECURSIVE {},{}{}", kChosen,
                  fmt::format(fmt::runtime(listed), fmt::arg("publishable", kPublishable)), select);
  return Tables(sql, query, parameters, stop);
}

// Why a row of kNamed cannot be chosen; empty when it can.
std::string WhyNot(const Result& rows, int row, TableChoice::Kind kind) {
  if (rows.IsNull(row, 2)) return "does not exist";
  const std::string_view relkind = rows.Text(row, 2);
  if (relkind != "r" && relkind != "p") {
    return "is not a table with rows of its own, and PostgreSQL does not publish it";
  }
  if (rows.Text(row, 3) != "p") {
    return "is temporary or unlogged, and PostgreSQL does not publish it";
  }
  if (!rows.Bool(row, 5)) return "is a system's table";
  if (kind == TableChoice::Kind::kAllBut && rows.Bool(row, 4)) {
    return fmt::format("is a partition of {}, which is published as one: skip that, or nothing",
                       rows.Text(row, 6));
  }
  return {};
}

}  // namespace

absl::StatusOr<TableChoice> TableChoice::Parse(const std::vector<std::string>& tables,
                                               const std::vector<std::string>& skip_tables) {
  TableChoice choice;
  if (!tables.empty() && !skip_tables.empty()) {
    return absl::FailedPreconditionError(
        "--tables and --skip-tables exclude one another: give one of them");
  }
  if (!tables.empty()) {
    choice.kind = Kind::kOnly;
    PGC_ASSIGN_OR_RETURN(choice.names, ParseTables("--tables", tables));
  } else if (!skip_tables.empty()) {
    choice.kind = Kind::kAllBut;
    PGC_ASSIGN_OR_RETURN(choice.names, ParseTables("--skip-tables", skip_tables));
  }
  return choice;
}

absl::Status CheckChoice(Connection& sql, const TableChoice& choice, const std::stop_token& stop) {
  if (choice.kind == TableChoice::Kind::kAll) return absl::OkStatus();
  const auto [schemas, names] = Names(choice);
  const Connection::Parameter parameters[] = {schemas, names};
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.Query(kNamed, parameters, stop));
  for (int i = 0; i < rows.rows(); ++i) {
    const std::string why = WhyNot(rows, i, choice.kind);
    if (why.empty()) continue;
    return absl::FailedPreconditionError(
        fmt::format("{}: {}.{} {}", Flag(choice), rows.Text(i, 0), rows.Text(i, 1), why));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Table>> ListedTables(Connection& sql, const TableChoice& choice,
                                                const std::stop_token& stop) {
  return ChosenTables(sql, choice, kSelectListed, stop);
}

absl::StatusOr<std::vector<Table>> TablesWithoutIdentity(Connection& sql, const TableChoice& choice,
                                                         const std::stop_token& stop) {
  return ChosenTables(sql, choice, kSelectWithoutIdentity, stop);
}

absl::Status SetIdentityFull(Connection& sql, const std::vector<Table>& tables,
                             const std::stop_token& stop) {
  std::vector<std::string> oids;
  for (const Table& table : tables) oids.push_back(std::to_string(table.oid));
  const Connection::Parameter parameters[] = {ArrayOf(oids)};
  PGC_ASSIGN_OR_RETURN(const std::vector<Table> all, Tables(sql, kWithAncestors, parameters, stop));
  for (const Table& table : all) {
    // One table at a time, and not for ever: whoever comes after a waiting ALTER TABLE waits too.
    PGC_RETURN_IF_ERROR(sql.Execute(
        fmt::format("SET LOCAL lock_timeout = '5s'; ALTER TABLE {} REPLICA IDENTITY FULL",
                    QuoteTable(table.name.schema, table.name.name)),
        stop));
    log::Info("set REPLICA IDENTITY FULL", {{"table", ToString(table.name)}});
  }
  return absl::OkStatus();
}

}  // namespace pgc
