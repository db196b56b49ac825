#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/lsn.h"

namespace pgc {

// Where an event stands in its source's history: the commit LSN of its transaction, then its
// number in it (Begin 0, the n-th change n, Commit the next). Never the same for two events.
struct Checkpoint {
  Lsn lsn;
  uint32_t seq = 0;

  auto operator<=>(const Checkpoint&) const = default;
};

// `16/B374D848|1a`, the key an event has in a store that has keys (docs/contract.md, section 2).
std::string ToKey(const Checkpoint& checkpoint);

// Reads what ToKey writes, in either case.
absl::StatusOr<Checkpoint> ParseKey(std::string_view key);

}  // namespace pgc
