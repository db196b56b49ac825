#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pgc {

struct SqlStatement {
  // From its first word to its last: without the `;`, and without comments before and behind.
  std::string_view text;
  // The command tag that PostgreSQL gives it ("CREATE TABLE", "SELECT INTO"); of what is no DDL
  // the first word, in capitals.
  std::string tag;
  bool temporary = false;  // it makes a relation that is temporary
  bool shared = false;     // of an object of all databases: no event trigger fires
  // Of CREATE, ALTER and DROP: which of its tokens comes after the kind of object. 0 for others.
  size_t after_kind = 0;
};

// The statements of what a client sent in one string, in order. They are views of `sql`. It takes
// the syntax of any PostgreSQL: only words, literals and parentheses are looked at. InvalidArgument
// as Tokenize.
absl::StatusOr<std::vector<SqlStatement>> SplitSql(std::string_view sql);

// The same of the tokens of one statement, which lie in one text; none give an empty tag.
SqlStatement Classify(const std::vector<std::string_view>& tokens);

}  // namespace pgc
