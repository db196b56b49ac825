#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace pgc {

// The ordinals that a subscription is done with: all below `low`, and ranges above it. Between the
// ranges are holes. Not thread-safe.
class AckRanges {
 public:
  explicit AckRanges(uint64_t low = 0) : low_(low) {}

  uint64_t low() const { return low_; }
  // Begin and end of each range above low(), ascending, none touching another.
  const std::map<uint64_t, uint64_t>& above() const { return above_; }

  bool Contains(uint64_t ordinal) const;
  // The first ordinal at or after `from` that is not contained.
  uint64_t NextMissing(uint64_t from) const;
  // The first ordinal at or after `from` that is contained.
  std::optional<uint64_t> NextContained(uint64_t from) const;

  // How many of begin to end - 1 are not contained.
  uint64_t CountMissing(uint64_t begin, uint64_t end) const;

  // Adds begin to end - 1. False, and nothing is added, when that would make more than
  // `max_ranges` of them.
  bool Add(uint64_t begin, uint64_t end, size_t max_ranges);

  bool operator==(const AckRanges&) const = default;

 private:
  uint64_t low_;
  std::map<uint64_t, uint64_t> above_;
};

}  // namespace pgc
