#include "dump/page_query.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/status_macros.h"
#include "dump/condition.h"
#include "pg/connection.h"

namespace pgc {
namespace {

// A row takes a pointer of 4 bytes and a header of 24, and a page has a header of 24.
constexpr uint64_t kPageHeaderBytes = 24;
constexpr uint64_t kLeastRowBytes = 28;

std::string SelectOf(const DumpRequest& request, std::span<const DumpColumn> columns) {
  std::string list;
  for (const DumpColumn& column : columns) {
    if (!list.empty()) list += ", ";
    const std::string name = QuoteIdentifier(column.name);
    list += column.as_text ? fmt::format("CAST({} AS pg_catalog.text)", name) : name;
  }
  return fmt::format("SELECT {} FROM ONLY {}", list, QuoteTable(request.schema, request.table));
}

// The rows' keys as a set that they are in: each column an array of texts.
absl::StatusOr<std::string> KeysOf(const DumpRequest& request, std::span<const KeyColumn> key) {
  std::vector<std::vector<std::string>> texts(key.size());
  size_t bytes = 0;
  for (const std::string& row : request.keys) {
    bytes += row.size();
    if (request.keys.size() > PageQuery::kMostKeys || bytes > PageQuery::kMostKeyBytes) {
      return absl::InvalidArgumentError(
          fmt::format("a dump can have {} keys and {} bytes of them: schedule several",
                      PageQuery::kMostKeys, PageQuery::kMostKeyBytes));
    }
    PGC_ASSIGN_OR_RETURN(const auto fields, ParseRowText(row));
    if (fields.size() != key.size()) {
      return absl::InvalidArgumentError(
          fmt::format("a key has {} fields, and the table's has {}", fields.size(), key.size()));
    }
    for (size_t i = 0; i < key.size(); ++i) {
      if (!fields[i].has_value()) {
        return absl::InvalidArgumentError("a key has a field that is NULL, and no row does");
      }
      texts[i].push_back(*fields[i]);
    }
  }
  std::string names;
  std::string values;
  std::string arrays;
  std::string aliases;
  for (size_t i = 0; i < key.size(); ++i) {
    const char* const comma = i == 0 ? "" : ", ";
    names += comma + QuoteIdentifier(key[i].name);
    values += fmt::format("{}CAST(pgc_key.c{} AS {})", comma, i, key[i].type);
    arrays += fmt::format("{}pg_catalog.unnest(CAST({} AS pg_catalog.text[]))", comma,
                          QuoteLiteral(ArrayOf(texts[i])));
    aliases += fmt::format("{}c{}", comma, i);
  }
  return fmt::format(" AND ({}) IN (SELECT {} FROM ROWS FROM ({}) AS pgc_key({}))", names, values,
                     arrays, aliases);
}

// xids go round: those that are less than two thousand million after `from` are newer.
std::string SweepOf(uint64_t from) {
  return fmt::format(
      " AND (xmin::pg_catalog.text::pg_catalog.int8 - {} + 4294967296) % 4294967296 < 2147483648",
      from & UINT32_MAX);
}

}  // namespace

absl::StatusOr<PageQuery> PageQuery::New(const DumpRequest& request, const TableFacts& table,
                                         std::span<const DumpColumn> columns,
                                         std::span<const KeyColumn> key, bool has_range_scan) {
  PageQuery query;
  query.select_ = SelectOf(request, columns);
  if (request.sweep) query.filter_ += SweepOf(request.sweep_from);
  if (!request.keys.empty()) {
    PGC_ASSIGN_OR_RETURN(const std::string keys, KeysOf(request, key));
    query.filter_ += keys;
  }
  if (!request.where.empty()) {
    PGC_RETURN_IF_ERROR(CheckCondition(request.where));
    query.filter_ += " AND (" + request.where + ")";
  }
  query.has_range_scan_ = has_range_scan;
  query.next_page_ = request.page_begin;
  query.end_page_ = uint64_t{request.page_end} + 1;
  if (!has_range_scan) query.end_page_ = std::min(query.end_page_, table.pages);
  query.rows_per_page_ = (table.block_bytes - kPageHeaderBytes) / kLeastRowBytes;
  // The server is to see what is wrong also when there are no pages.
  if (!has_range_scan && query.next_page_ >= query.end_page_) {
    query.end_page_ = query.next_page_ + 1;
  }
  return query;
}

std::string PageQuery::Next() {
  if (done_) return {};
  if (has_range_scan_) {
    done_ = true;
    std::string range = fmt::format("ctid >= '({},0)'", next_page_);
    // The number of the last page that a table can have is the one before UINT32_MAX.
    if (end_page_ <= UINT32_MAX) range += fmt::format(" AND ctid < '({},0)'", end_page_);
    return Statement(range);
  }
  const uint64_t end = std::min(end_page_, next_page_ + kListedPages);
  std::string range = fmt::format(
      "ctid = ANY (ARRAY(SELECT pg_catalog.format('(%s,%s)', pgc_page, pgc_row)::pg_catalog.tid "
      "FROM "
      "pg_catalog.generate_series({}::pg_catalog.int8, {}::pg_catalog.int8) AS a(pgc_page), "
      "pg_catalog.generate_series(1, {}) AS b(pgc_row)))",
      next_page_, end - 1, rows_per_page_);
  next_page_ = end;
  done_ = next_page_ >= end_page_;
  return Statement(range);
}

std::string PageQuery::Statement(const std::string& range) const {
  return fmt::format("COPY ({} WHERE {}{}) TO STDOUT (FORMAT binary)", select_, range, filter_);
}

}  // namespace pgc
