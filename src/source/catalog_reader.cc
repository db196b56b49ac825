#include "source/catalog_reader.h"

#include <utility>

#include "base/status_macros.h"
#include "source/server.h"

namespace pgc {
namespace {

// The row of a column as the table was made with it has the xmin of those of the system's columns,
// which nothing alters. Ids that are past the slot's catalog_xmin may still be to come.
constexpr char kColumns[] =
    "SELECT a.attname, a.atttypid,"
    " CASE WHEN a.xmin <> made.xmin AND coalesce(age(a.xmin) <= age(s.catalog_xmin), true)"
    "  THEN a.xmin::text::bigint ELSE 0 END"
    " FROM pg_attribute a"
    " JOIN pg_attribute made ON made.attrelid = a.attrelid AND made.attnum = -1"
    " LEFT JOIN pg_replication_slots s ON s.slot_name = $2"
    " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";

// Only someone who rewrites the catalog makes it take longer.
constexpr char kTimeout[] = "SET statement_timeout = '30s'";

}  // namespace

CatalogReader::CatalogReader(std::string url, std::string slot, std::stop_token stop)
    : url_(std::move(url)), slot_(std::move(slot)), stop_(std::move(stop)) {}

absl::StatusOr<Result> CatalogReader::Query(uint32_t oid) {
  if (sql_ == nullptr) {
    PGC_ASSIGN_OR_RETURN(auto sql,
                         Connection::Open(url_, {.application_name = "pgcapture catalog"}, stop_));
    PGC_RETURN_IF_ERROR(PrepareSession(*sql, stop_));
    PGC_RETURN_IF_ERROR(sql->Execute(kTimeout, stop_));
    sql_ = std::move(sql);
  }
  const Connection::Parameter parameters[] = {std::to_string(oid), slot_};
  return sql_->Query(kColumns, parameters, stop_);
}

absl::StatusOr<CatalogTable> CatalogReader::Read(uint32_t oid) {
  const bool fresh = sql_ == nullptr;
  absl::StatusOr<Result> rows = Query(oid);
  if (!rows.ok()) {
    sql_.reset();
    if (fresh || !absl::IsUnavailable(rows.status())) return rows.status();
    PGC_ASSIGN_OR_RETURN(rows, Query(oid));
  }
  CatalogTable table;
  for (int i = 0; i < rows->rows(); ++i) {
    table.columns[std::string(rows->Text(i, 0))] = {
        .type_oid = static_cast<uint32_t>(rows->Int(i, 1)),
        .altered_by = static_cast<uint32_t>(rows->Int(i, 2))};
  }
  return table;
}

}  // namespace pgc
