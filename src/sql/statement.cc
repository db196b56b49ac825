#include "sql/statement.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "base/status_macros.h"
#include "sql/select_into.h"
#include "sql/tokens.h"
#include "sql/words.h"

namespace pgc {
namespace {

std::string Upper(std::string_view word) {
  std::string upper(word);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

// What may stand between CREATE, ALTER or DROP and the kind of object.
constexpr std::array<std::string_view, 13> kBeforeKind = {
    "OR",     "REPLACE",    "GLOBAL",    "LOCAL",   "TEMP",       "TEMPORARY", "UNLOGGED",
    "UNIQUE", "CONSTRAINT", "RECURSIVE", "TRUSTED", "PROCEDURAL", "DEFAULT"};

// Kinds of objects of several words. Those of one word are what they are.
constexpr std::string_view kLongKinds[] = {
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "FOREIGN DATA WRAPPER",
    "ACCESS METHOD",
    "EVENT TRIGGER",
    "FOREIGN TABLE",
    "LARGE OBJECT",
    "MATERIALIZED VIEW",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "USER MAPPING",
};

// Whether the name of a relation at `at`, after TEMPORARY or TABLE, makes it temporary.
bool IsTemporaryAt(const Words& words, size_t at) {
  if (words.At(at) == "LOCAL" || words.At(at) == "GLOBAL") ++at;
  return words.At(at) == "TEMP" || words.At(at) == "TEMPORARY" || words.At(at) == "PG_TEMP";
}

// CREATE, ALTER and DROP.
void ClassifyDefinition(const Words& words, SqlStatement& out) {
  const std::string verb = words.At(0);
  if (verb == "ALTER" && words.At(1) == "DEFAULT") {
    out.tag = "ALTER DEFAULT PRIVILEGES";
    return;
  }
  size_t at = 1;
  while (std::find(kBeforeKind.begin(), kBeforeKind.end(), words.At(at)) != kBeforeKind.end()) {
    out.temporary = out.temporary || (verb == "CREATE" && IsTemporaryAt(words, at));
    ++at;
  }
  std::string kind = words.At(at);
  out.after_kind = at + 1;
  for (const std::string_view known : kLongKinds) {
    const auto count = static_cast<size_t>(std::count(known.begin(), known.end(), ' '));
    std::string found = kind;
    for (size_t i = 1; i <= count; ++i) found += " " + words.At(at + i);
    if (found != known) continue;
    kind = std::move(found);
    out.after_kind = at + 1 + count;
    break;
  }
  if (kind == "USER" || kind == "GROUP") kind = "ROLE";
  out.tag = verb + " " + kind;
  if (out.tag != "CREATE TABLE") return;
  if (words.Find(at, "AS") != words.size()) out.tag = "CREATE TABLE AS";
  const size_t name = words.At(at + 1) == "IF" ? at + 4 : at + 1;
  out.temporary = out.temporary || words.At(name) == "PG_TEMP";
}

// What starts with WITH, SELECT or a parenthesis.
void ClassifyQuery(const std::vector<std::string_view>& tokens, SqlStatement& out) {
  const SelectInto into = FindSelectInto(tokens);
  out.tag = Words(tokens).At(into.verb);
  if (into.at == tokens.size()) return;
  out.tag = "SELECT INTO";
  out.temporary = into.temporary;
}

// What is ON something.
bool IsOnShared(const Words& words) {
  const std::string kind = words.At(words.Find(1, "ON") + 1);
  return kind == "DATABASE" || kind == "TABLESPACE" || kind == "ROLE" || kind == "PARAMETER" ||
         kind == "EVENT";
}

// Finds the semicolons that end a statement, as psql does: not in parentheses (the commands of a
// rule), nor in the body of a function between BEGIN ATOMIC and its END.
class StatementEnd {
 public:
  // Takes the next token; true when it ends a statement.
  bool Take(std::string_view token) {
    if (token == ";") {
      if (parentheses_ > 0 || blocks_ > 0) return false;
      *this = StatementEnd();
      return true;
    }
    if (token == "(") ++parentheses_;
    if (token == ")" && parentheses_ > 0) --parentheses_;
    if (parentheses_ == 0) TakeWord(Upper(token));
    last_ = token;
    return false;
  }

 private:
  void TakeWord(const std::string& word) {
    if (word == "ATOMIC" && Upper(last_) == "BEGIN") ++blocks_;
    if (word == "CASE" && blocks_ > 0) ++blocks_;
    if (word == "END" && blocks_ > 0) --blocks_;
  }

  int parentheses_ = 0;
  int blocks_ = 0;
  std::string_view last_;
};

}  // namespace

SqlStatement Classify(const std::vector<std::string_view>& tokens) {
  SqlStatement out;
  if (tokens.empty()) return out;
  const char* const begin = tokens.front().data();
  const char* const end = tokens.back().data() + tokens.back().size();
  out.text = std::string_view(begin, static_cast<size_t>(end - begin));
  const Words words(tokens);
  const std::string first = words.At(0);
  out.tag = first;
  if (first == "CREATE" || first == "ALTER" || first == "DROP") {
    ClassifyDefinition(words, out);
  } else if (first == "WITH" || first == "SELECT" || first == "(") {
    ClassifyQuery(tokens, out);
  } else if (first == "GRANT" || first == "REVOKE") {
    // Privileges are on something, membership in a role is not.
    if (words.Find(1, "ON") == words.size()) out.tag += " ROLE";
    out.shared = IsOnShared(words);
  } else if (first == "COMMENT") {
    out.shared = IsOnShared(words);
  } else if (first == "SECURITY") {
    out.tag = "SECURITY LABEL";
    out.shared = IsOnShared(words);
  } else if (first == "IMPORT") {
    out.tag = "IMPORT FOREIGN SCHEMA";
  } else if (first == "REFRESH") {
    out.tag = "REFRESH MATERIALIZED VIEW";
  } else if (first == "REASSIGN") {
    out.tag = "REASSIGN OWNED";
  } else if (first == "TRUNCATE") {
    out.tag = "TRUNCATE TABLE";
  }
  return out;
}

absl::StatusOr<std::vector<SqlStatement>> SplitSql(std::string_view sql) {
  PGC_ASSIGN_OR_RETURN(const std::vector<std::string_view> tokens, Tokenize(sql));
  std::vector<SqlStatement> statements;
  std::vector<std::string_view> words;  // of the statement
  const auto take = [&statements, &words] {
    if (!words.empty()) statements.push_back(Classify(words));
    words.clear();
  };
  StatementEnd end;
  for (const std::string_view token : tokens) {
    if (end.Take(token)) {
      take();
    } else {
      words.push_back(token);
    }
  }
  take();
  return statements;
}

}  // namespace pgc
