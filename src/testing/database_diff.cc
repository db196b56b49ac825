#include "testing/database_diff.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "base/status_macros.h"
#include "pg/connection.h"
#include "testing/subprocess.h"

namespace pgc {
namespace {

// Tables with the list of their columns, and whether one of these is of a user's type or has no
// binary form.
constexpr char kTables[] = R"(
SELECT n.nspname, c.relname,
  coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), ''),
  coalesce(bool_or(t.typsend = 0 OR t.oid >= 16384 AND t.typtype <> 'd' OR t.typelem >= 16384 OR t.typbasetype >= 16384
                   OR b.typelem >= 16384), false)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'pgcapture')
GROUP BY 1, 2 ORDER BY 1, 2)";

struct Table {
  std::string schema;
  std::string name;
  std::string columns;
  bool user_types = false;

  std::string Quoted() const { return QuoteTable(schema, name); }
  // Rows in an order of their own, the same on both sides. The image of a row has the OIDs of its
  // types, so that user's types sort by their text.
  std::string Query() const {
    return fmt::format("SELECT {} FROM ONLY {} ORDER BY {}", columns, Quoted(),
                       user_types ? fmt::format(R"(ROW({})::text COLLATE "C")", columns)
                                  : fmt::format("ROW({}) USING OPERATOR(pg_catalog.*<)", columns));
  }
};

absl::StatusOr<std::vector<Table>> TablesOf(Connection& connection) {
  PGC_ASSIGN_OR_RETURN(const Result result, connection.Query(kTables));
  std::vector<Table> tables;
  for (int row = 0; row < result.rows(); ++row) {
    tables.push_back({.schema = std::string(result.Text(row, 0)),
                      .name = std::string(result.Text(row, 1)),
                      .columns = std::string(result.Text(row, 2)),
                      .user_types = result.Bool(row, 3)});
  }
  return tables;
}

// The output of one COPY TO STDOUT, a piece at a time: a row each, or the frame around them.
class CopyOut {
 public:
  static absl::StatusOr<CopyOut> Start(Connection& connection, const std::string& query,
                                       bool binary) {
    const std::string copy =
        fmt::format("COPY ({}) TO STDOUT{}", query, binary ? " (FORMAT binary)" : "");
    PGresult* const result = PQexec(connection.raw(), copy.c_str());
    const bool started = PQresultStatus(result) == PGRES_COPY_OUT;
    const std::string error = PQresultErrorMessage(result);
    PQclear(result);
    if (!started) return absl::FailedPreconditionError(error);
    return CopyOut(connection);
  }

  // Nothing at the end. The pieces of the other side are cut in the same way.
  absl::StatusOr<std::optional<std::string>> Next() {
    char* buffer = nullptr;
    const int got = PQgetCopyData(connection_->raw(), &buffer, 0);
    if (got > 0) {
      std::string piece(buffer, static_cast<size_t>(got));
      PQfreemem(buffer);
      return piece;
    }
    absl::Status status = got == -2 ? connection_->Error("COPY") : absl::OkStatus();
    while (PGresult* const result = PQgetResult(connection_->raw())) {
      if (status.ok() && PQresultStatus(result) != PGRES_COMMAND_OK) {
        status = absl::InternalError(PQresultErrorMessage(result));
      }
      PQclear(result);
    }
    if (!status.ok()) return status;
    return std::nullopt;
  }

 private:
  explicit CopyOut(Connection& connection) : connection_(&connection) {}
  Connection* connection_;
};

// The number, from 0, of the first piece that differs; nothing when none does. Both are read to
// their ends.
absl::StatusOr<std::optional<int64_t>> FirstDifferent(CopyOut expected, CopyOut actual,
                                                      int64_t& pieces) {
  std::optional<int64_t> different;
  bool expected_ended = false;
  bool actual_ended = false;
  for (int64_t number = 0; !expected_ended || !actual_ended; ++number) {
    std::optional<std::string> one;
    std::optional<std::string> other;
    if (!expected_ended) {
      PGC_ASSIGN_OR_RETURN(one, expected.Next());
      expected_ended = !one.has_value();
      if (!expected_ended) ++pieces;
    }
    if (!actual_ended) {
      PGC_ASSIGN_OR_RETURN(other, actual.Next());
      actual_ended = !other.has_value();
    }
    if (!different.has_value() && one != other) different = number;
  }
  return different;
}

// The first row, in the order of all, that only one side has, as text.
std::string FirstRow(Connection& connection, const Table& table, int64_t number) {
  const auto result = connection.Query(
      fmt::format("SELECT left(ROW({})::text, 300) FROM ({} OFFSET {} LIMIT 1) AS x", table.columns,
                  table.Query(), std::max<int64_t>(number, 0)));
  if (!result.ok()) return result.status().ToString();
  return result->rows() == 0 ? "no row" : std::string(result->Text(0, 0));
}

std::string CountOf(Connection& connection, const Table& table) {
  const auto result = connection.Query("SELECT count(*) FROM ONLY " + table.Quoted());
  return result.ok() ? std::string(result->Text(0, 0)) : result.status().ToString();
}

absl::Status CompareTable(Connection& expected, Connection& actual, const Table& table,
                          DatabaseDiff& diff) {
  ++diff.tables;
  if (table.columns.empty()) {
    const std::string count = CountOf(expected, table);
    const std::string other = CountOf(actual, table);
    if (count != other) {
      diff.differences.push_back(
          fmt::format("{}: {} rows, should be {}", table.Quoted(), other, count));
    }
    return absl::OkStatus();
  }
  const bool binary = !table.user_types;
  PGC_ASSIGN_OR_RETURN(CopyOut one, CopyOut::Start(expected, table.Query(), binary));
  absl::StatusOr<CopyOut> other = CopyOut::Start(actual, table.Query(), binary);
  int64_t pieces = 0;
  if (!other.ok()) {
    diff.differences.push_back(
        fmt::format("{}: {}", table.Quoted(), std::string(other.status().message())));
    while (true) {
      PGC_ASSIGN_OR_RETURN(const auto piece, one.Next());
      if (!piece.has_value()) return absl::OkStatus();
    }
  }
  PGC_ASSIGN_OR_RETURN(const std::optional<int64_t> different, FirstDifferent(one, *other, pieces));
  // In binary the header comes with the first row or, without rows, with the trailer.
  const int64_t rows = binary ? pieces - 1 : pieces;
  diff.rows += rows;
  if (!different.has_value()) return absl::OkStatus();
  diff.differences.push_back(fmt::format(
      "{}: {} rows, should be {}; of all in order, number {} is\n  {}\n  and should be\n  {}",
      table.Quoted(), CountOf(actual, table), CountOf(expected, table), *different + 1,
      FirstRow(actual, table, *different), FirstRow(expected, table, *different)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& url) {
  PGC_ASSIGN_OR_RETURN(auto connection, Connection::Open(url));
  PGC_RETURN_IF_ERROR(connection->Execute(
      "SET extra_float_digits = 1; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; "
      "SET timezone = 'UTC'; SET search_path = ''; SET work_mem = '64MB'; SET bytea_output = "
      "'hex'; "
      "SET client_encoding = 'UTF8'; SET statement_timeout = 0; SET lock_timeout = 0"));
  return connection;
}

}  // namespace

absl::StatusOr<DatabaseDiff> CompareDatabases(const std::string& expected_url,
                                              const std::string& actual_url) {
  PGC_ASSIGN_OR_RETURN(const auto expected, Open(expected_url));
  PGC_ASSIGN_OR_RETURN(const auto actual, Open(actual_url));
  PGC_ASSIGN_OR_RETURN(const std::vector<Table> tables, TablesOf(*expected));
  PGC_ASSIGN_OR_RETURN(const std::vector<Table> others, TablesOf(*actual));
  DatabaseDiff diff;
  std::set<std::string> here;
  for (const Table& other : others) here.insert(other.Quoted());
  for (const Table& table : tables) {
    if (here.erase(table.Quoted()) == 0) {
      diff.differences.push_back(table.Quoted() + ": is missing");
    } else {
      PGC_RETURN_IF_ERROR(CompareTable(*expected, *actual, table, diff));
    }
  }
  for (const std::string& extra : here) {
    diff.differences.push_back(extra + ": should not be there");
  }
  return diff;
}

absl::StatusOr<std::string> SequencesOf(const std::string& url) {
  PGC_ASSIGN_OR_RETURN(const auto connection, Open(url));
  PGC_ASSIGN_OR_RETURN(
      const Result result,
      connection->Query("SELECT format('%I.%I', schemaname, sequencename) || ' ' || "
                        "coalesce((last_value + increment_by)::text, start_value || ' first') FROM "
                        "pg_sequences WHERE schemaname <> 'pgcapture' ORDER BY 1"));
  std::string lines;
  for (int row = 0; row < result.rows(); ++row) {
    lines += fmt::format("{}\n", result.Text(row, 0));
  }
  return lines;
}

absl::StatusOr<std::string> SchemaOf(const std::string& bin, const std::string& url) {
  PGC_ASSIGN_OR_RETURN(
      const std::string dump,
      Run({.args = {bin + "/pg_dump", "--schema-only", "--exclude-schema=pgcapture",
                    "--no-publications", "--no-subscriptions", "-d", url},
           .environment = {},
           .as_postgres = false,
           .directory = {}}));
  std::istringstream lines(dump);
  std::string schema;
  for (std::string line; std::getline(lines, line);) {
    // \restrict has a key that is another one each time.
    if (line.empty() || line.starts_with("--") || line.starts_with("\\")) continue;
    if (line.find("pgcapture") == std::string::npos) schema += line + "\n";
  }
  return schema;
}

std::string FirstDifference(const std::string& expected, const std::string& actual) {
  std::istringstream expected_lines(expected);
  std::istringstream actual_lines(actual);
  for (int number = 1;; ++number) {
    std::string one;
    std::string other;
    const bool has_one = static_cast<bool>(std::getline(expected_lines, one));
    const bool has_other = static_cast<bool>(std::getline(actual_lines, other));
    if (!has_one && !has_other) return {};
    if (has_one == has_other && one == other) continue;
    return fmt::format("line {} is\n  {}\nand should be\n  {}", number, has_other ? other : "(end)",
                       has_one ? one : "(end)");
  }
}

}  // namespace pgc
