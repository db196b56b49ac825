#include "sql/rewrite.h"

#include <array>
#include <vector>

#include "base/status_macros.h"
#include "sql/names.h"
#include "sql/select_into.h"
#include "sql/statement.h"
#include "sql/tokens.h"
#include "sql/words.h"

namespace pgc {
namespace {

absl::Status Not(const char* what) {
  return absl::InvalidArgumentError(std::string("the SQL text is no ") + what);
}

// From the begin of one token up to the end of another.
std::string_view Between(std::string_view from, std::string_view to) {
  return {from.data(), static_cast<size_t>(to.data() + to.size() - from.data())};
}

absl::StatusOr<std::string> TableAsWithNoData(const std::vector<std::string_view>& tokens) {
  const Words words(tokens);
  const size_t as = words.Find(1, "AS");
  if (as + 1 >= words.size()) return Not("CREATE TABLE AS");
  if (words.At(as + 1) == "EXECUTE") {
    return absl::FailedPreconditionError(
        "the table is made of a prepared statement, which only its session had");
  }
  size_t end = words.size();  // of the query
  if (words.At(end - 1) == "DATA") {
    if (words.At(end - 2) == "WITH") {
      end -= 2;
    } else if (words.At(end - 2) == "NO" && words.At(end - 3) == "WITH") {
      end -= 3;
    }
  }
  if (end <= as + 1) return Not("CREATE TABLE AS");
  return std::string(Between(tokens.front(), tokens[end - 1])) + " WITH NO DATA";
}

absl::StatusOr<std::string> SelectIntoWithNoData(const std::vector<std::string_view>& tokens) {
  const Words words(tokens);
  const SelectInto into = FindSelectInto(tokens);
  if (into.at >= words.size()) return Not("SELECT INTO");
  size_t end = into.name;
  if (ReadName(tokens, end).empty()) return Not("SELECT INTO");
  std::string sql = into.unlogged ? "CREATE UNLOGGED TABLE " : "CREATE TABLE ";
  sql += Between(tokens[into.name], tokens[end - 1]);
  sql += " AS ";
  sql += Between(tokens.front(), tokens[into.at - 1]);
  if (end < words.size()) {
    sql += ' ';
    sql += Between(tokens[end], tokens.back());
  }
  return sql + " WITH NO DATA";
}

}  // namespace

absl::StatusOr<std::string> WithNoData(std::string_view sql) {
  PGC_ASSIGN_OR_RETURN(const std::vector<std::string_view> tokens, Tokenize(sql));
  const std::string tag = Classify(tokens).tag;
  if (tag == "CREATE TABLE AS" || tag == "CREATE MATERIALIZED VIEW")
    return TableAsWithNoData(tokens);
  if (tag == "SELECT INTO") return SelectIntoWithNoData(tokens);
  return Not("command that makes a relation of a query");
}

absl::StatusOr<std::string> WithIndexName(std::string_view sql, std::string_view name) {
  PGC_ASSIGN_OR_RETURN(const std::vector<std::string_view> tokens, Tokenize(sql));
  const Words words(tokens);
  if (Classify(tokens).tag != "CREATE INDEX") return Not("CREATE INDEX");
  size_t at = words.Find(1, "INDEX") + 1;
  at = words.Skip(at, {"CONCURRENTLY"});
  if (words.At(at) != "ON") return std::string(sql);
  std::string quoted = "\"";
  for (const char c : name) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  std::string out(Between(tokens.front(), tokens[at - 1]));
  return out + " " + quoted + "\" " + std::string(Between(tokens[at], tokens.back()));
}

absl::StatusOr<std::string> DropIndexIfExists(std::string_view sql) {
  PGC_ASSIGN_OR_RETURN(const std::vector<std::string_view> tokens, Tokenize(sql));
  const Words words(tokens);
  if (words.Skip(0, {"DROP", "INDEX"}) == 0) return Not("DROP INDEX");
  const size_t at = words.Skip(2, {"CONCURRENTLY"});
  if (words.Skip(at, {"IF", "EXISTS"}) != at) return std::string(sql);
  if (at >= words.size()) return Not("DROP INDEX");
  return std::string(Between(tokens.front(), tokens[at - 1])) + " IF EXISTS " +
         std::string(Between(tokens[at], tokens.back()));
}

}  // namespace pgc
