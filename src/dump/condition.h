// What a caller may add to the statement of a dump, as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pgc {

// Whether `condition` is still inside its parentheses when it is put into `(…)` in a statement, and
// nothing after it is taken for a comment or a part of a text: with that, what the server accepts
// is one expression. InvalidArgument, which says what to leave out, when that is not sure.
// Assumes standard_conforming_strings.
absl::Status CheckCondition(std::string_view condition);

// The fields of a row as PostgreSQL writes it, `(1,"a b",)`; nothing is NULL. InvalidArgument when
// it is no row.
absl::StatusOr<std::vector<std::optional<std::string>>> ParseRowText(std::string_view row);

}  // namespace pgc
