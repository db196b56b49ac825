#include "dump/table_facts.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <utility>

#include "base/hex.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

// The session's search path is empty, so all names are those of pg_catalog.
constexpr char kFindSql[] = R"(
SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(),
  EXISTS (SELECT FROM pg_class s JOIN pg_namespace sn ON sn.oid = s.relnamespace
    WHERE sn.nspname = 'pgcapture' AND s.relname = 'sources'), c.relkind, c.relpersistence,
  c.oid < 16384 OR n.nspname ~ '^pg_' OR n.nspname IN ('information_schema', 'pglogical', 'pgcapture'),
  (SELECT string_agg(t.relid::regclass::text, ', ' ORDER BY t.relid::regclass::text)
   FROM (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf LIMIT 20) t
   WHERE c.relkind = 'p')
FROM (SELECT) one LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace)
  ON n.nspname = $1::text AND c.relname = $2::text)";

constexpr char kTableSql[] = R"(
SELECT pg_current_snapshot(), c.oid, p.oid, pn.nspname, p.relname,
  coalesce(pg_relation_filenode(c.oid), 0), current_setting('block_size'),
  pg_relation_size(c.oid), c.reltoastrelid <> 0,
  NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
    AND (i.indisprimary OR i.indisreplident)){}
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = CASE WHEN $3::bool AND c.relispartition
  THEN pg_partition_root(c.oid)::oid ELSE c.oid END
JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text)";
// What a sink writes when it commits (docs/contract.md, section 6), of the topic in a parameter.
constexpr char kCheckpointSql[] =
    "SELECT commit FROM pgcapture.sources WHERE id = {} AND seq IS NOT NULL AND mid IS NOT NULL";
// With that one's.
constexpr char kCheckpointColumns[] =
    R"(({0}), (SELECT encode(mid, 'hex') FROM pgcapture.sources WHERE id = {1}))";

std::string CheckpointColumns(std::string_view topic) {
  return fmt::format(kCheckpointColumns, fmt::format(kCheckpointSql, topic), topic);
}

constexpr char kColumnsSql[] = R"(
SELECT a.attname, a.atttypid, t.typsend = 0 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
  AND ($2::bool OR a.attgenerated = '') ORDER BY a.attnum)";

constexpr char kKeySql[] = R"(
SELECT a.attname, format_type(a.atttypid, -1)
FROM (SELECT * FROM pg_index WHERE indrelid = $1::oid AND indisvalid
      AND (indisprimary OR indisreplident) ORDER BY indisprimary DESC LIMIT 1) i
CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE k.place <= i.indnkeyatts ORDER BY k.place)";

constexpr char kTablesSql[] = R"(
SELECT n.nspname, c.relname, pn.nspname, p.relname, coalesce(pg_table_size(c.oid), 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = CASE WHEN $1::bool AND c.relispartition
  THEN pg_partition_root(c.oid)::oid ELSE c.oid END
JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'pglogical', 'pgcapture')
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C")";

const char* KindOf(char relkind) {
  switch (relkind) {
    case 'v':
      return "a view";
    case 'm':
      return "a materialized view";
    case 'f':
      return "a foreign table";
    case 'S':
      return "a sequence";
    case 'i':
    case 'I':
      return "an index";
    case 'c':
      return "a composite type";
    case 't':
      return "a TOAST table";
    default:
      return "no table";
  }
}

std::string TextOf(const Result& row, int column) { return std::string(row.Text(0, column)); }

absl::StatusOr<std::optional<Lsn>> LsnOf(const Result& row, int column) {
  if (row.IsNull(0, column)) return std::optional<Lsn>();
  PGC_ASSIGN_OR_RETURN(const Lsn lsn, ParseLsn(row.Text(0, column)));
  return std::optional<Lsn>(lsn);
}

// The types of a query's result are those of its columns, but for domains.
absl::Status TakeResultTypes(Connection& sql, const DumpRequest& request,
                             std::vector<DumpColumn>& columns, const std::stop_token& stop) {
  std::string list;
  for (const DumpColumn& column : columns) {
    list += (list.empty() ? "" : ", ") + QuoteIdentifier(column.name);
  }
  PGC_ASSIGN_OR_RETURN(const Result none,
                       sql.Query(fmt::format("SELECT {} FROM ONLY {} LIMIT 0", list,
                                             QuoteTable(request.schema, request.table)),
                                 {}, stop));
  for (size_t i = 0; i < columns.size(); ++i) {
    columns[i].type_oid = none.TypeOid(static_cast<int>(i));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ServerFacts> FindTable(Connection& sql, const DumpRequest& request,
                                      const std::stop_token& stop) {
  const Connection::Parameter names[] = {request.schema, request.table};
  PGC_ASSIGN_OR_RETURN(const Result row, sql.QueryPrepared(kFindSql, names, stop));
  const std::string name = fmt::format("{}.{}", request.schema, request.table);
  const auto refused = [&name](std::string_view why) {
    return absl::InvalidArgumentError(fmt::format("{} {}", name, why));
  };
  ServerFacts facts{.in_recovery = row.Bool(0, 0),
                    .replayed = {},
                    .has_sources = row.Bool(0, 2),
                    .has_table = !row.IsNull(0, 3)};
  PGC_ASSIGN_OR_RETURN(const std::optional<Lsn> replayed, LsnOf(row, 1));
  facts.replayed = replayed.value_or(Lsn{});
  if (!facts.has_table) return facts;
  const char relkind = TextOf(row, 3).front();
  if (relkind == 'p') {
    return refused(fmt::format("is partitioned and has no rows of its own: dump its partitions, {}",
                               row.IsNull(0, 6) ? "of which there are none" : row.Text(0, 6)));
  }
  if (relkind != 'r') {
    return refused(fmt::format("is {}: it has no changes, and no pages of rows", KindOf(relkind)));
  }
  if (row.Text(0, 4) != "p") return refused("is temporary or unlogged: it has no changes");
  if (row.Bool(0, 5)) return refused("is a system's table: its changes are not captured");
  return facts;
}

absl::StatusOr<std::optional<AppliedPlace>> ReadCheckpoint(Connection& sql,
                                                           const DumpServerOptions& options,
                                                           const std::stop_token& stop) {
  const Connection::Parameter topic[] = {options.topic};
  PGC_ASSIGN_OR_RETURN(const Result row,
                       sql.Query("SELECT " + CheckpointColumns("$1"), topic, stop));
  PGC_ASSIGN_OR_RETURN(const std::optional<Lsn> applied, LsnOf(row, 0));
  if (!applied) return std::optional<AppliedPlace>();
  return AppliedPlace{.applied = *applied, .store_position = BytesFromHex(row.Text(0, 1))};
}

absl::StatusOr<TableFacts> ReadTable(Connection& sql, const DumpServerOptions& options,
                                     const DumpRequest& request, bool has_sources,
                                     const std::stop_token& stop) {
  std::vector<Connection::Parameter> parameters{request.schema, request.table,
                                                options.publishes_via_root ? "t" : "f"};
  if (has_sources) parameters.emplace_back(options.topic);
  const std::string checkpoint = has_sources ? ", " + CheckpointColumns("$4") : "";
  PGC_ASSIGN_OR_RETURN(const Result row,
                       sql.QueryPrepared(fmt::format(kTableSql, checkpoint), parameters, stop));
  if (row.rows() == 0) {
    return absl::NotFoundError(
        fmt::format("there is no table {}.{} any more", request.schema, request.table));
  }
  TableFacts facts;
  facts.snapshot = row.Text(0, 0);
  facts.oid = static_cast<uint32_t>(row.Int(0, 1));
  facts.published_oid = static_cast<uint32_t>(row.Int(0, 2));
  facts.published_schema = row.Text(0, 3);
  facts.published_table = row.Text(0, 4);
  facts.relfilenode = static_cast<uint32_t>(row.Int(0, 5));
  facts.block_bytes = static_cast<uint64_t>(std::max<int64_t>(row.Int(0, 6), 1));
  facts.pages = static_cast<uint64_t>(row.Int(0, 7)) / facts.block_bytes;
  facts.toast = row.Bool(0, 8);
  facts.no_key = row.Bool(0, 9);
  if (has_sources) {
    PGC_ASSIGN_OR_RETURN(facts.checkpoint, LsnOf(row, 10));
    if (facts.checkpoint.has_value()) facts.store_position = BytesFromHex(row.Text(0, 11));
  }
  return facts;
}

absl::StatusOr<std::vector<DumpColumn>> ReadColumns(Connection& sql, const TableFacts& table,
                                                    const DumpRequest& request,
                                                    const std::stop_token& stop) {
  const Connection::Parameter parameters[] = {std::to_string(table.published_oid),
                                              request.generated_columns ? "t" : "f"};
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.QueryPrepared(kColumnsSql, parameters, stop));
  std::vector<DumpColumn> columns;
  std::vector<std::string> missing = request.columns;
  for (int i = 0; i < rows.rows(); ++i) {
    DumpColumn column{.name = std::string(rows.Text(i, 0)),
                      .type_oid = static_cast<uint32_t>(rows.Int(i, 1)),
                      .as_text = rows.Bool(i, 2)};
    const bool asked = std::erase(missing, column.name) > 0;
    if (request.columns.empty() || asked) columns.push_back(std::move(column));
  }
  if (!missing.empty()) {
    return absl::InvalidArgumentError(fmt::format("changes of {}.{} have no column \"{}\"",
                                                  request.schema, request.table, missing.front()));
  }
  if (request.generated_columns && !columns.empty()) {
    PGC_RETURN_IF_ERROR(TakeResultTypes(sql, request, columns, stop));
  }
  return columns;
}

absl::StatusOr<std::vector<KeyColumn>> ReadKey(Connection& sql, const TableFacts& table,
                                               const std::stop_token& stop) {
  const Connection::Parameter parameters[] = {std::to_string(table.oid)};
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.Query(kKeySql, parameters, stop));
  if (rows.rows() == 0) {
    return absl::InvalidArgumentError(
        "the table has neither a primary key nor a replica identity: give a condition instead of "
        "keys");
  }
  std::vector<KeyColumn> key;
  for (int i = 0; i < rows.rows(); ++i) {
    key.push_back({.name = std::string(rows.Text(i, 0)), .type = std::string(rows.Text(i, 1))});
  }
  return key;
}

absl::StatusOr<std::vector<DumpTable>> ListTables(Connection& sql, bool publishes_via_root,
                                                  const std::stop_token& stop) {
  const Connection::Parameter parameters[] = {publishes_via_root ? "t" : "f"};
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.Query(kTablesSql, parameters, stop));
  std::vector<DumpTable> tables;
  for (int i = 0; i < rows.rows(); ++i) {
    tables.push_back({.schema = std::string(rows.Text(i, 0)),
                      .table = std::string(rows.Text(i, 1)),
                      .published_schema = std::string(rows.Text(i, 2)),
                      .published_table = std::string(rows.Text(i, 3)),
                      .bytes = static_cast<uint64_t>(rows.Int(i, 4))});
  }
  return tables;
}

}  // namespace pgc
