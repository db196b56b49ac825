#include "store/ack_ranges.h"

#include <algorithm>
#include <iterator>

namespace pgc {

bool AckRanges::Contains(uint64_t ordinal) const { return NextMissing(ordinal) != ordinal; }

uint64_t AckRanges::NextMissing(uint64_t from) const {
  if (from < low_) return low_;
  const auto after = above_.upper_bound(from);
  if (after == above_.begin()) return from;
  return std::max(from, std::prev(after)->second);
}

std::optional<uint64_t> AckRanges::NextContained(uint64_t from) const {
  if (Contains(from)) return from;
  const auto after = above_.upper_bound(from);
  return after == above_.end() ? std::nullopt : std::optional(after->first);
}

uint64_t AckRanges::CountMissing(uint64_t begin, uint64_t end) const {
  uint64_t missing = 0;
  for (uint64_t at = NextMissing(begin); at < end;) {
    const uint64_t to = std::min(end, NextContained(at).value_or(end));
    missing += to - at;
    at = NextMissing(to);
  }
  return missing;
}

bool AckRanges::Add(uint64_t begin, uint64_t end, size_t max_ranges) {
  begin = std::max(begin, low_);
  if (begin >= end) return true;
  // The ranges that the new one overlaps or touches become one with it.
  auto first = above_.upper_bound(begin);
  if (first != above_.begin() && std::prev(first)->second >= begin) --first;
  auto last = first;
  for (; last != above_.end() && last->first <= end; ++last) {
    begin = std::min(begin, last->first);
    end = std::max(end, last->second);
  }
  if (begin == low_) {
    low_ = end;
    above_.erase(first, last);
    return true;
  }
  if (first == last && above_.size() >= max_ranges) return false;
  above_.emplace_hint(above_.erase(first, last), begin, end);
  return true;
}

}  // namespace pgc
