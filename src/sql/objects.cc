#include "sql/objects.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "sql/names.h"
#include "sql/select_into.h"
#include "sql/words.h"

namespace pgc {
namespace {

using Kind = NamedObjects::Kind;
using Tokens = std::vector<std::string_view>;

bool IsOneOf(const std::string& word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Kind KindOf(const std::string& word) {
  if (word == "SCHEMA") return Kind::kSchema;
  if (word == "EXTENSION") return Kind::kExtension;
  if (word == "PUBLICATION" || word == "SUBSCRIPTION") return Kind::kReplication;
  if (word == "LARGE") return Kind::kLargeObject;
  return Kind::kOther;
}

// The names from `at` on, with commas between them; arguments of functions are passed over.
std::vector<std::vector<std::string>> ReadNames(const Tokens& tokens, size_t at) {
  std::vector<std::vector<std::string>> names;
  while (true) {
    std::vector<std::string> name = ReadName(tokens, at);
    if (name.empty()) return names;
    names.push_back(std::move(name));
    if (at < tokens.size() && tokens[at] == "(") {
      int depth = 0;
      do {
        if (tokens[at] == "(") ++depth;
        if (tokens[at] == ")") --depth;
        ++at;
      } while (at < tokens.size() && depth > 0);
    }
    if (at >= tokens.size() || tokens[at] != ",") return names;
    ++at;
  }
}

// What follows the ON of COMMENT and SECURITY LABEL, or the kind of a DROP: the object itself, or
// the table that it is on.
void ReadOne(const Tokens& tokens, size_t at, const std::string& kind, NamedObjects& out) {
  const Words words(tokens);
  if (IsOneOf(kind, {"TRIGGER", "RULE", "POLICY", "CONSTRAINT"})) {
    at = words.Skip(words.Find(at, "ON") + 1, {"DOMAIN"});
  }
  out.names = ReadNames(tokens, at);
}

void ReadDefinition(const Tokens& tokens, size_t at, NamedObjects& out) {
  const Words words(tokens);
  const std::string verb = words.At(0);
  const std::string kind = words.At(at - 1);
  out.kind = kind == "OBJECT" ? Kind::kLargeObject : KindOf(kind);
  at = words.Skip(at, {"CONCURRENTLY"});
  at = words.Skip(at, {"IF", "NOT", "EXISTS"});
  at = words.Skip(at, {"IF", "EXISTS"});
  at = words.Skip(at, {"ONLY"});
  if (kind == "SCHEMA") at = words.Skip(at, {"AUTHORIZATION"});
  if (verb == "CREATE" && kind == "RULE") {
    out.names = ReadNames(tokens, words.Find(at, "TO") + 1);
  } else if (verb == "CREATE" && kind == "INDEX") {
    out.names = ReadNames(tokens, words.Skip(words.Find(at, "ON") + 1, {"ONLY"}));
  } else {
    ReadOne(tokens, at, kind, out);
  }
}

void ReadPrivileges(const Tokens& tokens, NamedObjects& out) {
  const Words words(tokens);
  size_t at = words.Find(1, "ON") + 1;
  if (words.At(at) == "ALL" && words.At(at + 2) == "IN") at += 3;
  out.kind = KindOf(words.At(at));
  // None of these can be the name of a table that follows without its kind.
  const bool has_kind = IsName(words.Token(at + 1)) && !IsOneOf(words.At(at + 1), {"TO", "FROM"});
  out.names = ReadNames(tokens, has_kind ? at + 1 : at);
}

}  // namespace

NamedObjects ReadObjects(const Tokens& tokens, const SqlStatement& statement) {
  const Words words(tokens);
  NamedObjects out;
  if (statement.tag == "ALTER DEFAULT PRIVILEGES") {
    const size_t in = words.Find(1, "IN");
    if (words.At(in + 1) == "SCHEMA") {
      out.kind = Kind::kSchema;
      out.names = ReadNames(tokens, in + 2);
    }
  } else if (statement.after_kind > 0) {
    ReadDefinition(tokens, statement.after_kind, out);
  } else if (statement.tag == "SELECT INTO") {
    out.names = ReadNames(tokens, FindSelectInto(tokens).name);
  } else if (statement.tag == "COMMENT" || statement.tag == "SECURITY LABEL") {
    size_t at = words.Find(1, "ON") + 1;
    const std::string kind = words.At(at);
    out.kind = KindOf(kind);
    if (kind == "MATERIALIZED" || kind == "FOREIGN") ++at;
    ReadOne(tokens, at + 1, kind, out);
  } else if (statement.tag == "GRANT" || statement.tag == "REVOKE") {
    ReadPrivileges(tokens, out);
  }
  if (out.kind == Kind::kLargeObject) out.names.clear();  // they have numbers
  return out;
}

}  // namespace pgc
