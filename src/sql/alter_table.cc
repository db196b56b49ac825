#include "sql/alter_table.h"

#include <algorithm>
#include <array>

#include "sql/names.h"
#include "sql/words.h"

namespace pgc {
namespace {

// What ADD adds when it is no column. EXCLUDE could be a column's name as well; then the column
// looks added to nobody.
constexpr std::array<std::string_view, 7> kConstraints = {"CONSTRAINT", "CHECK",   "UNIQUE", "NOT",
                                                          "PRIMARY",    "FOREIGN", "EXCLUDE"};

// Functions that are written without parentheses.
constexpr std::array<std::string_view, 11> kValueFunctions = {
    "CURRENT_DATE",    "CURRENT_TIME",   "CURRENT_TIMESTAMP", "LOCALTIME",
    "LOCALTIMESTAMP",  "CURRENT_ROLE",   "CURRENT_USER",      "SESSION_USER",
    "CURRENT_CATALOG", "CURRENT_SCHEMA", "SYSTEM_USER"};

using Tokens = std::vector<std::string_view>;

// The commands of one ALTER TABLE, from `begin` on: cut at the commas outside parentheses.
std::vector<Tokens> Commands(const Tokens& tokens, size_t begin) {
  std::vector<Tokens> commands(1);
  int depth = 0;
  for (size_t i = begin; i < tokens.size(); ++i) {
    if (tokens[i] == "(" || tokens[i] == "[") ++depth;
    if (tokens[i] == ")" || tokens[i] == "]") --depth;
    if (depth == 0 && tokens[i] == ",") {
      commands.emplace_back();
    } else {
      commands.back().push_back(tokens[i]);
    }
  }
  return commands;
}

// `TYPE type [COLLATE name] [USING expression]` at `at`.
AlterTable::Retyped ReadType(const Tokens& tokens, size_t at, std::string column) {
  const Words words(tokens);
  AlterTable::Retyped retyped{.column = std::move(column), .functions = {}, .converts = true};
  const size_t expression = words.Find(at, "USING");
  if (expression == words.size()) return retyped;
  retyped.converts = false;
  for (size_t i = expression + 1; i < words.size(); ++i) {
    const std::string word = words.At(i);
    if (word == "::" || word == "CAST") retyped.converts = true;
    if (std::find(kValueFunctions.begin(), kValueFunctions.end(), word) != kValueFunctions.end() ||
        (words.Token(i + 1) == "(" && IsName(tokens[i]))) {
      retyped.functions.push_back(NameOf(tokens[i]));
    }
  }
  // The time zone is said.
  if (words.Find(expression, "ZONE") != words.size()) retyped.converts = false;
  return retyped;
}

void ReadAdd(const Tokens& tokens, AlterTable& out) {
  const Words words(tokens);
  size_t at = words.Skip(1, {"COLUMN"});
  if (at == 1 &&
      std::find(kConstraints.begin(), kConstraints.end(), words.At(at)) != kConstraints.end()) {
    return;
  }
  at = words.Skip(at, {"IF", "NOT", "EXISTS"});
  if (at < words.size() && IsName(tokens[at])) out.added.push_back(NameOf(tokens[at]));
}

void ReadAlter(const Tokens& tokens, AlterTable& out) {
  const Words words(tokens);
  const size_t name = words.Skip(1, {"COLUMN"});
  if (name >= words.size() || !IsName(tokens[name])) return;
  const size_t at = words.Skip(name + 1, {"SET", "DATA"});
  if (words.At(at) == "TYPE") out.retyped.push_back(ReadType(tokens, at, NameOf(tokens[name])));
}

void ReadDetach(const Tokens& tokens, AlterTable& out) {
  const Words words(tokens);
  size_t at = 2;
  out.detached = ReadName(tokens, at);
  out.concurrently = words.At(at) == "CONCURRENTLY";
  out.finalize = words.At(at) == "FINALIZE";
}

}  // namespace

std::optional<AlterTable> ParseAlterTable(const std::vector<std::string_view>& tokens) {
  const Words words(tokens);
  if (words.Skip(0, {"ALTER", "TABLE"}) == 0) return std::nullopt;
  AlterTable out;
  size_t at = words.Skip(2, {"IF", "EXISTS"});
  // ONLY (name) is another spelling.
  at = words.Skip(at, {"ONLY"});
  at = words.Skip(at, {"("});
  out.table = ReadName(tokens, at);
  at = words.Skip(at, {")"});
  at = words.Skip(at, {"*"});
  for (const Tokens& command : Commands(tokens, at)) {
    const Words each(command);
    const std::string verb = each.At(0);
    if (verb == "ADD") ReadAdd(command, out);
    if (verb == "ALTER") ReadAlter(command, out);
    if (verb == "SET" && each.At(1) == "LOGGED") out.set_logged = true;
    if (verb == "DETACH" && each.At(1) == "PARTITION") ReadDetach(command, out);
  }
  return out;
}

}  // namespace pgc
