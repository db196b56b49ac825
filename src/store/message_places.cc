#include "store/message_places.h"

#include <iterator>

namespace pgc {

bool MessagePlaces::Add(uint64_t ordinal, const pulsar::MessageId& id) {
  if (!runs_.empty()) {
    auto& [begin, run] = *runs_.rbegin();
    const auto next = run.first.batch_index + static_cast<int64_t>(run.count);
    if (begin + run.count == ordinal && run.first.same_entry(id) && id.batch_index == next) {
      ++run.count;
      return false;
    }
  }
  runs_.emplace_hint(runs_.end(), ordinal, Run{.first = id, .count = 1});
  return true;
}

std::optional<pulsar::MessageId> MessagePlaces::Find(uint64_t ordinal) const {
  const auto after = runs_.upper_bound(ordinal);
  if (after == runs_.begin()) return std::nullopt;
  const auto& [begin, run] = *std::prev(after);
  const uint64_t behind = ordinal - begin;
  if (behind >= run.count) return std::nullopt;
  pulsar::MessageId id = run.first;
  if (behind > 0) id.batch_index += static_cast<int32_t>(behind);
  return id;
}

void MessagePlaces::EraseBefore(uint64_t ordinal) {
  while (!runs_.empty() && runs_.begin()->first + runs_.begin()->second.count < ordinal) {
    runs_.erase(runs_.begin());
  }
}

void MessagePlaces::Shorten(size_t runs) {
  while (runs_.size() > runs) runs_.erase(runs_.begin());
}

}  // namespace pgc
