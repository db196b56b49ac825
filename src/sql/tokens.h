#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pgc {

// SQL text as PostgreSQL's scanner cuts it: words, literals, operators; comments are left out. Each
// token is the text itself, so that a quoted name starts with `"` and a literal with `'` or `$`.
// InvalidArgument when it is no SQL at all: an open quote, a NUL byte.
//
// The words of a newer PostgreSQL are tokens like any other.
absl::StatusOr<std::vector<std::string_view>> Tokenize(std::string_view sql);

}  // namespace pgc
