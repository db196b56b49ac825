// Statements of DDL as a copy of the database has to run them. All take one statement, keep its
// text where they can, and give InvalidArgument for what cannot be read or has no such form.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pgc {

// CREATE TABLE AS, or a materialized view, with WITH NO DATA; SELECT INTO as such a CREATE TABLE
// AS. FailedPrecondition when the query is a prepared statement, which only its session has.
absl::StatusOr<std::string> WithNoData(std::string_view sql);

// CREATE INDEX with the name `name`, if its text has none.
absl::StatusOr<std::string> WithIndexName(std::string_view sql, std::string_view name);

// DROP INDEX IF EXISTS.
absl::StatusOr<std::string> DropIndexIfExists(std::string_view sql);

}  // namespace pgc
