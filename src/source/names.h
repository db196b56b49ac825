#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pgc {

struct QualifiedName {
  std::string schema;
  std::string name;

  bool operator==(const QualifiedName&) const = default;
};

// `schema.name`, for people.
std::string ToString(const QualifiedName& name);
// `a.b, c.d and 12 more`: at most `most` of them.
std::string ToString(const std::vector<QualifiedName>& names, size_t most = 20);

// The name of slot and publication of a topic (docs/contract.md, section 3). FailedPrecondition
// when PostgreSQL does not take it for a slot.
absl::StatusOr<std::string> SlotName(std::string_view topic);

// Tables as given with the flag `flag`: split at the first dot, without one in schema `public`.
// FailedPrecondition, naming it, for one that is no name.
absl::StatusOr<std::vector<QualifiedName>> ParseTables(std::string_view flag,
                                                       const std::vector<std::string>& texts);

}  // namespace pgc
