#include "store/delivery.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgc {
namespace {

absl::Status NotHandedOut(uint64_t ordinal) {
  return absl::InvalidArgumentError(
      fmt::format("event {} was not handed out by this subscription", ordinal));
}

}  // namespace

void Delivery::Restart() {
  position_ = acked_.low();
  waiting_.clear();
  for (auto& [ordinal, requeued] : requeued_) requeued.due.reset();
}

std::optional<uint64_t> Delivery::Next(Timer::Time now, uint64_t end) const {
  if (!waiting_.empty() && waiting_.begin()->first <= now) return waiting_.begin()->second;
  const uint64_t next = acked_.NextMissing(position_);
  if (next >= end || (next >= handed_out_ && paused())) return std::nullopt;
  return next;
}

std::optional<OrdinalRange> Delivery::Take(Timer::Time now, uint64_t end, OrdinalRange block) {
  const std::optional<uint64_t> next = Next(now, end);
  if (!next || *next < block.begin || *next >= block.end) return std::nullopt;
  OrdinalRange taken{.begin = *next, .end = *next};
  if (!waiting_.empty() && waiting_.begin()->second == *next && waiting_.begin()->first <= now) {
    // The ones after it go along when they are due as well.
    for (auto it = requeued_.find(*next);
         it != requeued_.end() && it->first == taken.end && taken.end < block.end &&
         it->second.due && *it->second.due <= now;
         ++it, ++taken.end) {
      waiting_.erase({*it->second.due, it->first});
      it->second.due.reset();
    }
    return taken;
  }
  taken.end = std::min(block.end, end);
  if (const auto acked = acked_.NextContained(*next)) taken.end = std::min(taken.end, *acked);
  if (paused()) taken.end = std::min(taken.end, handed_out_);
  position_ = taken.end;
  handed_out_ = std::max(handed_out_, taken.end);
  return taken;
}

std::optional<Timer::Time> Delivery::NextDue() const {
  return waiting_.empty() ? std::nullopt : std::optional(waiting_.begin()->first);
}

absl::Status Delivery::Ack(OrdinalRange range) {
  if (range.end > handed_out_) return NotHandedOut(range.end - 1);
  if (!acked_.Add(range.begin, range.end, kMaxRanges)) {
    return absl::ResourceExhaustedError(
        fmt::format("the subscription has {} holes: acknowledge event {} and those after it",
                    kMaxRanges, acked_.low()));
  }
  auto it = requeued_.lower_bound(range.begin);
  while (it != requeued_.end() && it->first < range.end) {
    if (it->second.due) waiting_.erase({*it->second.due, it->first});
    it = requeued_.erase(it);
  }
  return absl::OkStatus();
}

absl::Status Delivery::Requeue(uint64_t ordinal, Timer::Time now) {
  if (ordinal >= handed_out_) return NotHandedOut(ordinal);
  // One from before Restart is still to come to this consumer anyway.
  if (acked_.Contains(ordinal) || ordinal >= position_) return absl::OkStatus();
  auto it = requeued_.find(ordinal);
  if (it == requeued_.end()) {
    if (requeued_.size() >= kMaxRequeued) {
      return absl::ResourceExhaustedError(fmt::format(
          "{} requeued events are unacknowledged, no further one can be requeued", kMaxRequeued));
    }
    it = requeued_.emplace(ordinal, Requeued{.next_delay = kFirstDelay, .due = {}}).first;
  }
  Requeued& requeued = it->second;
  if (requeued.due) return absl::OkStatus();
  requeued.due = now + requeued.next_delay;
  requeued.next_delay = std::min<std::chrono::seconds>(2 * requeued.next_delay, kMaxDelay);
  waiting_.emplace(*requeued.due, ordinal);
  return absl::OkStatus();
}

}  // namespace pgc
