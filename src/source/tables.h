// Which tables a publication is to have, and whether publishing them would break their writers.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pg/connection.h"
#include "source/names.h"

namespace pgc {

// What to capture: everything, a list, or everything but a list.
struct TableChoice {
  enum class Kind { kAll, kOnly, kAllBut };
  Kind kind = Kind::kAll;
  std::vector<QualifiedName> names;  // kOnly, kAllBut

  // `tables` and `skip_tables` as the options have them; at most one of them is not empty.
  static absl::StatusOr<TableChoice> Parse(const std::vector<std::string>& tables,
                                           const std::vector<std::string>& skip_tables);
};

struct Table {
  uint32_t oid = 0;
  QualifiedName name;
};

// FailedPrecondition, naming them, when `choice` has names of nothing that can be published.
absl::Status CheckChoice(Connection& sql, const TableChoice& choice, const std::stop_token& stop);

// The tables that a publication must list for `choice`, which is not kAll: ordinary tables and
// partitioned ones, without partitions of those, by name. A table that others inherit from stands
// for those too.
absl::StatusOr<std::vector<Table>> ListedTables(Connection& sql, const TableChoice& choice,
                                                const std::stop_token& stop);

// The tables, among those that `choice` publishes and their partitions, whose UPDATE and DELETE
// PostgreSQL refuses once they are published: those without a usable replica identity.
absl::StatusOr<std::vector<Table>> TablesWithoutIdentity(Connection& sql, const TableChoice& choice,
                                                         const std::stop_token& stop);

// Gives each of them, and the partitioned tables above it, REPLICA IDENTITY FULL.
absl::Status SetIdentityFull(Connection& sql, const std::vector<Table>& tables,
                             const std::stop_token& stop);

}  // namespace pgc
