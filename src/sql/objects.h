#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sql/statement.h"

namespace pgc {

// What a statement of DDL says that it is about.
struct NamedObjects {
  enum class Kind : uint8_t { kSchema, kExtension, kReplication, kLargeObject, kOther };
  // kReplication: publications and subscriptions.
  Kind kind = Kind::kOther;
  // Schema first where one is given. Of triggers, rules, policies and indexes that are made: the
  // table. Empty where there is no name, as of a cast.
  std::vector<std::vector<std::string>> names;
};

// Of one statement, from its tokens and what Classify says of them.
NamedObjects ReadObjects(const std::vector<std::string_view>& tokens,
                         const SqlStatement& statement);

}  // namespace pgc
