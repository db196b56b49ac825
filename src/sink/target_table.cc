#include "sink/target_table.h"

#include <fmt/format.h>

#include <utility>

#include "base/status_macros.h"

namespace pgc {
namespace {

// Triggers and rules that are enabled also where session_replication_role is replica.
constexpr char kTableSql[] = R"(
SELECT c.oid, c.relkind::text, c.reltype,
  EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND g.tgenabled IN ('A', 'R'))
  OR EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_enabled IN ('A', 'R'))
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2)";

constexpr char kColumnsSql[] = R"(
SELECT a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, -1), a.attgenerated <> '',
  a.attidentity = 'a',
  EXISTS (WITH RECURSIVE d AS (
      SELECT y.oid, y.typnotnull, y.typbasetype, y.typreceive FROM pg_catalog.pg_type y WHERE y.oid = a.atttypid
      UNION ALL
      SELECT y.oid, y.typnotnull, y.typbasetype, y.typreceive FROM d
      JOIN pg_catalog.pg_type y ON y.oid = d.typbasetype)
    SELECT FROM d WHERE d.typnotnull OR d.typreceive = 0
      OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contypid = d.oid))
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)";

// The indexes that could identify a row, the best of them first: all columns are there and NOT
// NULL, and uniqueness is checked at once.
constexpr char kKeySql[] = R"(
SELECT i.indexrelid, a.attname,
  pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname),
  a.atttypid = ANY (ARRAY['bool', 'bytea', '"char"', 'name', 'int8', 'int2', 'int4', 'text', 'oid', 'varchar',
    'date', 'time', 'timestamp', 'timestamptz', 'uuid']::regtype[])
    AND n.nspname = 'pg_catalog'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_collation l WHERE l.oid = i.indcollation[k] AND NOT l.collisdeterministic)
FROM (SELECT i.* FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate
    AND i.indpred IS NULL AND i.indexprs IS NULL
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute b
      WHERE b.attrelid = i.indrelid AND b.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND NOT b.attnotnull)
  ORDER BY (i.indisreplident AND c.relreplident = 'i') DESC, i.indisprimary DESC, i.indnkeyatts, i.indexrelid
  LIMIT 1) i
CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
JOIN pg_catalog.pg_opclass c ON c.oid = i.indclass[k]
JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
  AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
ORDER BY k)";

// Whether rows can collide elsewhere than in the index $2, here or in a partition.
constexpr char kOrderedSql[] = R"(
SELECT EXISTS (SELECT FROM pg_catalog.pg_index i
  WHERE (i.indrelid = $1::oid OR i.indrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid::regclass)))
    AND (i.indisunique OR i.indisexclusion) AND i.indexrelid <> $2::oid
    AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_partition_tree($2::oid::regclass) t WHERE t.relid = i.indexrelid)))";

constexpr char kIndexedSql[] = R"(
SELECT DISTINCT ON (a.attnum) a.attname, pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
JOIN pg_catalog.pg_opclass c ON c.oid = i.indclass[0]
JOIN pg_catalog.pg_am h ON h.oid = c.opcmethod AND h.amname = 'btree'
JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
  AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL
ORDER BY a.attnum, i.indexrelid)";

// Rows that are the same in all are equal by it.
constexpr char kHashedSql[] = R"(
SELECT a.attname, pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_opclass c ON c.opcdefault
  AND c.opcintype = CASE a.atttypid WHEN 'varchar'::regtype THEN 'text'::regtype ELSE a.atttypid END
JOIN pg_catalog.pg_am h ON h.oid = c.opcmethod AND h.amname = 'hash'
JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 1
  AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr AND o.oprcanhash
JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')";

constexpr char kOfExtensionSql[] = R"(
SELECT FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e' AND n.nspname = $1 AND c.relname = $2)";

void SetKey(std::string& key, TableName name) {
  key.assign(name.schema);
  key += '\0';
  key += name.name;
}

}  // namespace

std::optional<size_t> TargetTable::Find(std::string_view column) const {
  const auto found = places.find(std::string(column));
  if (found == places.end()) return std::nullopt;
  return found->second;
}

absl::Status NoSuchTable(TableName name) {
  return absl::NotFoundError(
      fmt::format("the target has no table {}: create it there as it is on the source",
                  QuoteTable(name.schema, name.name)));
}

const TargetTable* TargetCatalog::Find(TableName name) const {
  SetKey(key_, name);
  const auto found = tables_.find(key_);
  return found == tables_.end() ? nullptr : found->second.get();
}

absl::StatusOr<const TargetTable*> TargetCatalog::Read(TableName name,
                                                       const std::stop_token& stop) {
  if (const TargetTable* const known = Find(name); known != nullptr) return known;
  auto table = std::make_unique<TargetTable>();
  table->schema = name.schema;
  table->name = name.name;
  table->quoted = QuoteTable(name.schema, name.name);
  const Connection::Parameter parameters[] = {table->schema, table->name};
  PGC_ASSIGN_OR_RETURN(const Result row, connection_.Query(kTableSql, parameters, stop));
  if (row.rows() != 1) {
    return NoSuchTable(name);
  }
  const std::string_view kind = row.Text(0, 1);
  if (kind != "r" && kind != "p" && kind != "f") {
    return absl::FailedPreconditionError(
        fmt::format("{} is no table on the target", table->quoted));
  }
  table->partitioned = kind == "p";
  table->row_type_oid = static_cast<uint32_t>(row.Int(0, 2));
  table->has_triggers = row.Bool(0, 3);
  const std::string oid(row.Text(0, 0));
  PGC_RETURN_IF_ERROR(ReadColumns(*table, oid, stop));
  PGC_RETURN_IF_ERROR(ReadIndexes(*table, oid, stop));
  SetKey(key_, name);
  return tables_.insert_or_assign(key_, std::move(table)).first->second.get();
}

absl::Status TargetCatalog::ReadColumns(TargetTable& table, const std::string& oid,
                                        const std::stop_token& stop) {
  const Connection::Parameter parameter = oid;
  PGC_ASSIGN_OR_RETURN(const Result rows, connection_.Query(kColumnsSql, {&parameter, 1}, stop));
  for (int i = 0; i < rows.rows(); ++i) {
    TargetColumn& column = table.columns.emplace_back();
    column.name = rows.Text(i, 0);
    column.type_oid = static_cast<uint32_t>(rows.Int(i, 1));
    column.type = rows.Text(i, 2);
    column.generated = rows.Bool(i, 3);
    column.identity_always = rows.Bool(i, 4);
    table.has_identity_always = table.has_identity_always || column.identity_always;
    table.one_by_one = table.one_by_one || rows.Bool(i, 5);
    PGC_ASSIGN_OR_RETURN(column.shape, shapes_.Get(column.type_oid, stop));
    table.places[column.name] = table.columns.size() - 1;
  }
  return absl::OkStatus();
}

absl::Status TargetCatalog::ReadIndexes(TargetTable& table, const std::string& oid,
                                        const std::stop_token& stop) {
  const Connection::Parameter parameter = oid;
  PGC_ASSIGN_OR_RETURN(const Result key, connection_.Query(kKeySql, {&parameter, 1}, stop));
  const auto set = [&table](std::string_view name, std::string_view equals,
                            std::vector<size_t>& list) {
    const auto place = table.Find(name);
    if (!place.has_value()) return;
    table.columns[*place].equals = equals;
    list.push_back(*place);
  };
  table.key_is_bytes = true;
  for (int i = 0; i < key.rows(); ++i) {
    set(key.Text(i, 1), key.Text(i, 2), table.key);
    table.key_is_bytes = table.key_is_bytes && key.Bool(i, 3);
  }
  const Connection::Parameter of_key[] = {oid, key.rows() > 0 ? std::string(key.Text(0, 0)) : "0"};
  PGC_ASSIGN_OR_RETURN(const Result ordered, connection_.Query(kOrderedSql, of_key, stop));
  table.ordered = ordered.Bool(0, 0);
  if (!table.key.empty()) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(const Result indexed, connection_.Query(kIndexedSql, {&parameter, 1}, stop));
  for (int i = 0; i < indexed.rows(); ++i)
    set(indexed.Text(i, 0), indexed.Text(i, 1), table.indexed);
  PGC_ASSIGN_OR_RETURN(const Result hashed, connection_.Query(kHashedSql, {&parameter, 1}, stop));
  for (int i = 0; i < hashed.rows(); ++i) {
    const auto place = table.Find(hashed.Text(i, 0));
    if (place.has_value()) table.columns[*place].hash_equals = hashed.Text(i, 1);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> TargetCatalog::IsOfExtension(TableName name, const std::stop_token& stop) {
  const Connection::Parameter parameters[] = {std::string(name.schema), std::string(name.name)};
  PGC_ASSIGN_OR_RETURN(const Result rows, connection_.Query(kOfExtensionSql, parameters, stop));
  return rows.rows() > 0;
}

void TargetCatalog::Forget() {
  tables_.clear();
  shapes_.Forget();
}

}  // namespace pgc
