#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pgc {

// A position in the write-ahead log. Zero is no position.
struct Lsn {
  uint64_t value = 0;

  auto operator<=>(const Lsn&) const = default;
};

// `16/B374D848`: two upper-case hex halves without padding (docs/contract.md, section 2).
std::string ToString(Lsn lsn);

// Reads what ToString writes, in either case and with leading zeros.
absl::StatusOr<Lsn> ParseLsn(std::string_view text);

}  // namespace pgc
