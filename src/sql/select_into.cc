#include "sql/select_into.h"

#include <algorithm>
#include <array>
#include <string>

#include "sql/names.h"
#include "sql/words.h"

namespace pgc {
namespace {

// Words that may follow the name of the new table. All others after UNLOGGED or TEMP are the name.
constexpr std::array<std::string_view, 14> kAfterName = {
    "FROM",   "WHERE", "GROUP", "HAVING", "WINDOW", "UNION", "INTERSECT",
    "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH",  "FOR",   ""};

// Whether the word at `at` says what kind of table it is, and is not its name.
bool IsKindAt(const Words& words, size_t at) {
  return IsName(words.Token(at + 1)) &&
         std::find(kAfterName.begin(), kAfterName.end(), words.At(at + 1)) == kAfterName.end();
}

constexpr std::array<std::string_view, 7> kVerbs = {"SELECT", "INSERT", "UPDATE", "DELETE",
                                                    "MERGE",  "VALUES", "TABLE"};

// Where the query that the WITH clause at `with` is for begins: with its verb, or with a
// parenthesis. Each query of the clause is in parentheses, and can have the name of a verb.
size_t BehindWith(const Words& words, size_t with) {
  int depth = 0;
  for (size_t i = with + 1; i < words.size(); ++i) {
    const std::string before = words.At(i - 1);
    if (words.Token(i) == "(") {
      if (depth == 0 && before == ")") return i;
      ++depth;
    }
    if (words.Token(i) == ")") --depth;
    if (depth != 0 || before == "WITH" || before == "RECURSIVE" || before == ",") continue;
    if (std::find(kVerbs.begin(), kVerbs.end(), words.At(i)) != kVerbs.end()) return i;
  }
  return words.size();
}

void ReadKind(const Words& words, SelectInto& into) {
  size_t at = into.at + 1;
  if ((words.At(at) == "LOCAL" || words.At(at) == "GLOBAL") && IsKindAt(words, at)) ++at;
  const std::string kind = words.At(at);
  if (IsKindAt(words, at)) {
    into.temporary = kind == "TEMP" || kind == "TEMPORARY";
    into.unlogged = kind == "UNLOGGED";
    if (into.temporary || into.unlogged) ++at;
  }
  if (words.At(at) == "TABLE") ++at;
  into.name = at;
  into.temporary = into.temporary || (words.At(at) == "PG_TEMP" && words.Token(at + 1) == ".");
}

}  // namespace

SelectInto FindSelectInto(const std::vector<std::string_view>& tokens) {
  const Words words(tokens);
  SelectInto into{.verb = words.size(), .at = words.size(), .name = words.size()};
  size_t begin = 0;
  while (words.Token(begin) == "(" || words.At(begin) == "WITH") {
    begin = words.Token(begin) == "(" ? begin + 1 : BehindWith(words, begin);
  }
  into.verb = begin;
  if (words.At(begin) != "SELECT") return into;
  int depth = 0;
  for (size_t i = begin; i < words.size() && depth >= 0; ++i) {
    if (tokens[i] == "(" || tokens[i] == "[") ++depth;
    if (tokens[i] == ")" || tokens[i] == "]") --depth;
    if (depth != 0 || words.At(i) != "INTO") continue;
    into.at = i;
    ReadKind(words, into);
    break;
  }
  return into;
}

}  // namespace pgc
