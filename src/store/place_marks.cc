#include "store/place_marks.h"

#include <algorithm>
#include <iterator>

namespace pgc {

void PlaceMarks::Add(const Checkpoint& checkpoint, const pulsar::MessageId& id) {
  const Mark mark{.checkpoint = checkpoint, .id = id};
  if (!oldest_) {
    oldest_ = mark;
    levels_.emplace_back();
  } else {
    const Mark& newest = levels_[0].back();
    if (checkpoint <= newest.checkpoint || newest.id.same_entry(id)) return;
  }
  levels_[0].push_back(mark);
  for (size_t level = 0; level < levels_.size() && levels_[level].size() > kPerLevel; ++level) {
    if (level + 1 == levels_.size() && levels_.size() < kMaxLevels) levels_.emplace_back();
    if (level + 1 < levels_.size()) levels_[level + 1].push_back(levels_[level].front());
    levels_[level].pop_front();
    levels_[level].pop_front();
  }
}

void PlaceMarks::SetAhead(const Checkpoint& checkpoint, const pulsar::MessageId& id) {
  ahead_ = {.checkpoint = checkpoint, .id = id};
}

std::optional<pulsar::MessageId> PlaceMarks::NewestUpTo(const Checkpoint& checkpoint) const {
  std::optional<Mark> best;
  const auto consider = [&](const Mark& mark) {
    if (mark.checkpoint > checkpoint) return;
    if (!best || mark.checkpoint > best->checkpoint) best = mark;
  };
  for (const std::deque<Mark>& level : levels_) {
    const auto after = std::upper_bound(
        level.begin(), level.end(), checkpoint,
        [](const Checkpoint& of, const Mark& mark) { return of < mark.checkpoint; });
    if (after != level.begin()) consider(*std::prev(after));
  }
  if (oldest_) consider(*oldest_);
  if (ahead_) consider(*ahead_);
  if (!best) return std::nullopt;
  return best->id;
}

}  // namespace pgc
