// Whether two databases hold the same, down to the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pgc {

struct DatabaseDiff {
  // A line for each table that differs: its name, how many rows each side has, and the first row
  // that only one of them has.
  std::vector<std::string> differences;
  size_t tables = 0;
  int64_t rows = 0;  // in the expected database
};

// Compares the rows of all permanent tables but those of the schema `pgcapture`, each table by
// itself (ONLY), by the columns that the expected one has: the actual one may have further columns,
// and another order. Rows are compared by their binary form; where a column is of a user's type,
// whose OID is part of it, or has no binary form, by their text. Errors: of the connections.
absl::StatusOr<DatabaseDiff> CompareDatabases(const std::string& expected_url,
                                              const std::string& actual_url);

// The sequences of a database but for those of the schema `pgcapture`, a line each: name and next
// value.
absl::StatusOr<std::string> SequencesOf(const std::string& url);

// The statements that the pg_dump in `bin` writes for the database's schema, but for the schema
// `pgcapture` and publications.
absl::StatusOr<std::string> SchemaOf(const std::string& bin, const std::string& url);

// The first lines in which two texts differ; empty when they do not.
std::string FirstDifference(const std::string& expected, const std::string& actual);

}  // namespace pgc
