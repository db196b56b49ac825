#include "gateway/dump_pace.h"

#include <algorithm>
#include <utility>

namespace pgc {
namespace {

// Groups are at least this, and at least such a part of the window: there are never many.
constexpr size_t kLeastGroup = size_t{4} << 10;
constexpr size_t kGroupsPerWindow = 64;
constexpr size_t kMostWindow = size_t{1} << 30;
constexpr std::chrono::seconds kStays{1};
constexpr int kMeasuresPart = 100;
// Of the average of the silences, how much the newest counts.
constexpr int kNewestOf = 4;

}  // namespace

bool DumpPace::HasRoom(Time now) {
  if (is_draining_ && in_flight_ == 0) is_draining_ = false;
  if (SurelyHasRoom()) {
    full_since_.reset();
    return true;
  }
  was_full_ = true;
  if (!full_since_) full_since_ = now;
  const Time since = std::max(*full_since_, answered_);
  if (now - since >= kMostSilence + 4 * usual_silence_ + 2 * alone_.value_or(Duration{0})) {
    Widen(now);
    return SurelyHasRoom();
  }
  return false;
}

void DumpPace::Scale(double by) {
  window_ =
      std::clamp(static_cast<size_t>(static_cast<double>(window_) * by), kLeastWindow, kMostWindow);
}

// The consumer may be waiting for more.
void DumpPace::Widen(Time now) {
  window_ = std::min(2 * std::max(window_, in_flight_), kMostWindow);
  stays_until_ = now + kStays;
  // Nothing will come back for a message that is alone either.
  is_draining_ = false;
  measured_ = now;
  full_since_.reset();
}

void DumpPace::Sent(uint64_t count, size_t bytes, std::optional<uint32_t> ends, Time now) {
  const bool alone = in_flight_ == 0;
  const bool joins = !groups_.empty() && !groups_.back().alone &&
                     groups_.back().bytes < std::max(kLeastGroup, window_ / kGroupsPerWindow);
  if (!joins) groups_.push_back({.ends = {}, .sent = now, .alone = alone, .number = ++last_number_});
  Group& group = groups_.back();
  group.left += count;
  group.bytes += bytes;
  if (ends) group.ends = ends;
  in_flight_ += bytes;
  if (alone) answered_ = now;
}

void DumpPace::Answered(uint64_t count, Time now) {
  if (groups_.empty()) return;
  const Duration silence = now - std::exchange(answered_, now);
  while (count > 0 && !groups_.empty()) {
    const uint64_t of_first = std::min(count, groups_.front().left);
    count -= of_first;
    groups_.front().left -= of_first;
    if (groups_.front().left == 0) EndFirst(now);
  }
  // An answer for all that there was says nothing of how long the consumer needs for a part of it.
  if (in_flight_ >= window_ / 2) usual_silence_ += (silence - usual_silence_) / kNewestOf;
}

void DumpPace::AnsweredLast(uint32_t dump, Time now) {
  const auto found = std::find_if(groups_.begin(), groups_.end(),
                                  [dump](const Group& group) { return group.ends == dump; });
  if (found == groups_.end()) return;
  // Those of the same group that are behind it may be on their way.
  while (groups_.front().ends != dump) EndFirst(now);
}

// All of the first group is answered.
void DumpPace::EndFirst(Time now) {
  const Group first = groups_.front();
  groups_.pop_front();
  in_flight_ -= first.bytes;
  const Duration took = now - first.sent;
  shortest_ = std::min(shortest_.value_or(took), took);
  if (first.alone) {
    // One that was held up by something else says little.
    alone_ = alone_ ? std::min(took, *alone_ + *alone_ / 4) : took;
    measured_ = now;
  }
  if (first.number >= round_ends_) Adjust(now);
}

// Once in the time that a message needs, so that what is seen is what the last change made of it.
void DumpPace::Adjust(Time now) {
  if (alone_) {
    const Duration most = *alone_ + kMostQueue;
    const double spare = std::chrono::duration<double>(most - *shortest_) / most;
    if (spare < 0 && now >= stays_until_) {
      was_wide_ = true;
      Scale(std::max(0.5, std::chrono::duration<double>(most) / *shortest_));
    } else if (spare > 0 && was_full_) {
      Scale(was_wide_ ? 1 + std::min(0.25, spare) : 2);
    }
  }
  const Duration between =
      std::max<Duration>(kLeastBetweenMeasures, kMeasuresPart * alone_.value_or(Duration{0}));
  if (was_full_ && now - measured_ >= between) is_draining_ = true;
  round_ends_ = last_number_ + 1;
  shortest_.reset();
  was_full_ = false;
}

}  // namespace pgc
