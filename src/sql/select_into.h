#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace pgc {

// The INTO of a SELECT.
struct SelectInto {
  size_t verb = 0;  // where the query's SELECT, INSERT, … stands; the number of tokens if nowhere
  size_t at = 0;    // where its INTO stands; likewise
  size_t name = 0;  // where the name of the new table begins
  bool temporary = false;
  bool unlogged = false;
};

// Looks where PostgreSQL does: in the first arm of a UNION, also when that is in parentheses.
SelectInto FindSelectInto(const std::vector<std::string_view>& tokens);

}  // namespace pgc
