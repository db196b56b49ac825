#include "store/delivery.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <vector>

namespace pgc {
namespace {

absl::Status NotHandedOut(uint64_t ordinal) {
  return absl::InvalidArgumentError(
      fmt::format("event {} was not handed out by this subscription", ordinal));
}

}  // namespace

void Delivery::Attach(ConsumerId consumer, size_t max_bytes, Timer::Time now) {
  uint64_t behind = held_.empty() ? 0 : held_.rbegin()->second.end;
  for (const auto& [due, ordinal] : waiting_) behind = std::max(behind, ordinal + 1);
  if (acked_.low() < behind) joining_[consumer] = {.behind = behind, .until = now + kJoinDelay};
  consumers_[consumer] = {.max_bytes = max_bytes, .held_bytes = 0, .full = false};
}

void Delivery::Detach(ConsumerId consumer) {
  const auto gone = consumers_.find(consumer);
  wake_up_ = true;
  if (consumers_.size() == 1) {
    consumers_.clear();
    return Restart();
  }
  for (auto it = held_.begin(); it != held_.end();) {
    if (it->second.consumer != &gone->second) {
      ++it;
      continue;
    }
    GiveBack({.begin = it->first, .end = it->second.end});
    it = held_.erase(it);
  }
  for (auto& [ordinal, requeued] : requeued_) {
    if (!requeued.due || requeued.by != consumer) continue;
    waiting_.erase({*requeued.due, ordinal});
    requeued.due.reset();
    GiveBack({.begin = ordinal, .end = ordinal + 1});
  }
  consumers_.erase(gone);
  joining_.erase(consumer);
  EndJoining();
}

bool Delivery::IsJoining(ConsumerId consumer, Timer::Time now) const {
  const auto found = joining_.find(consumer);
  return found != joining_.end() && now < found->second.until;
}

// Of those that need not wait any more: what they waited for is acknowledged, or was given back.
void Delivery::EndJoining() {
  for (auto it = joining_.begin(); it != joining_.end();) {
    const bool others_are_gone = consumers_.begin()->first == it->first;
    if (!others_are_gone && acked_.low() < it->second.behind) {
      ++it;
      continue;
    }
    it = joining_.erase(it);
    wake_up_ = true;
  }
}

// With nobody there, all that is unacknowledged is to be handed out.
void Delivery::Restart() {
  position_ = acked_.low();
  held_.clear();
  returned_.clear();
  waiting_.clear();
  joining_.clear();
  for (auto& [ordinal, requeued] : requeued_) requeued.due.reset();
}

void Delivery::Seek(uint64_t to) {
  acked_ = AckRanges(to);
  handed_out_ = to;
  known_ = std::max(known_, to);
  requeued_.clear();
  Restart();
  for (auto& [id, consumer] : consumers_) {
    consumer.held_bytes = 0;
    consumer.full = false;
  }
  wake_up_ = true;
}

void Delivery::GiveBack(OrdinalRange range) {
  auto after = returned_.upper_bound(range.begin);
  if (after != returned_.end() && after->first == range.end) {
    range.end = after->second;
    after = returned_.erase(after);
  }
  if (after != returned_.begin() && std::prev(after)->second == range.begin) {
    std::prev(after)->second = range.end;
  } else {
    returned_.emplace_hint(after, range.begin, range.end);
  }
}

std::optional<OrdinalRange> Delivery::FirstReturned() {
  while (!returned_.empty()) {
    const auto [begin, end] = *returned_.begin();
    const uint64_t next = acked_.NextMissing(begin);
    if (next < end) return OrdinalRange{.begin = next, .end = end};
    returned_.erase(returned_.begin());
  }
  return std::nullopt;
}

std::optional<uint64_t> Delivery::Next(ConsumerId consumer, Timer::Time now, uint64_t end) {
  if (consumers_.at(consumer).full) return std::nullopt;
  if (!waiting_.empty() && waiting_.begin()->first <= now) return waiting_.begin()->second;
  if (const auto returned = FirstReturned()) return returned->begin;
  const uint64_t next = acked_.NextMissing(position_);
  if (next >= end || (next >= handed_out_ && paused()) || IsJoining(consumer, now)) {
    return std::nullopt;
  }
  return next;
}

// As much of `range` as the consumer may have, and the bytes of it.
std::optional<OrdinalRange> Delivery::Fit(Consumer& consumer, OrdinalRange range,
                                          const Measure& measure, size_t& bytes) const {
  const size_t room = consumer.max_bytes - std::min(consumer.max_bytes, consumer.held_bytes);
  Portion fits = measure(range, consumers_.size() > 1 ? std::min(room, kSliceBytes) : room);
  if (fits.end == range.begin) {
    fits = measure({.begin = range.begin, .end = range.begin + 1}, SIZE_MAX);
    if (consumer.held_bytes > 0 && fits.bytes > room) {
      consumer.full = true;
      return std::nullopt;
    }
  }
  bytes = fits.bytes;
  return OrdinalRange{.begin = range.begin, .end = fits.end};
}

std::optional<OrdinalRange> Delivery::Take(ConsumerId id, Timer::Time now, uint64_t end,
                                           OrdinalRange block, const Measure& measure) {
  const std::optional<uint64_t> next = Next(id, now, end);
  if (!next || *next < block.begin || *next >= block.end) return std::nullopt;
  const bool is_due =
      !waiting_.empty() && waiting_.begin()->second == *next && waiting_.begin()->first <= now;
  const bool is_returned = !is_due && !returned_.empty();
  OrdinalRange range{.begin = *next, .end = block.end};
  if (is_due) {
    // The ones after it go along when they are due as well.
    uint64_t last = *next;
    for (auto it = requeued_.find(*next);
         it != requeued_.end() && it->first == last && it->second.due && *it->second.due <= now;
         ++it) {
      ++last;
    }
    range.end = std::min(range.end, last);
  } else {
    range.end = std::min(range.end, is_returned ? returned_.begin()->second : end);
    if (const auto acked = acked_.NextContained(*next)) range.end = std::min(range.end, *acked);
    if (!is_returned && paused()) range.end = std::min(range.end, handed_out_);
  }
  size_t bytes = 0;
  Consumer& consumer = consumers_.at(id);
  const auto taken = Fit(consumer, range, measure, bytes);
  if (!taken) return std::nullopt;
  if (is_due) {
    for (auto it = requeued_.find(taken->begin); it != requeued_.end() && it->first < taken->end;
         ++it) {
      waiting_.erase({*it->second.due, it->first});
      it->second.due.reset();
    }
  } else if (is_returned) {
    const uint64_t rest = returned_.begin()->second;
    returned_.erase(returned_.begin());
    if (taken->end < rest) returned_.emplace(taken->end, rest);
  } else {
    position_ = taken->end;
    handed_out_ = std::max(handed_out_, taken->end);
    known_ = std::max(known_, handed_out_);
  }
  Hold(consumer, *taken, bytes);
  return taken;
}

void Delivery::Hold(Consumer& consumer, OrdinalRange range, size_t bytes) {
  consumer.held_bytes += bytes;
  consumer.full = consumer.held_bytes >= consumer.max_bytes;
  const uint64_t events = range.end - range.begin;
  const auto after = held_.upper_bound(range.begin);
  if (after != held_.begin()) {
    Held& before = std::prev(after)->second;
    if (before.end == range.begin && before.consumer == &consumer &&
        before.bytes + bytes <= kSliceBytes) {
      before.end = range.end;
      before.unacknowledged += events;
      before.bytes += bytes;
      before.each = before.bytes / before.unacknowledged;
      return;
    }
  }
  held_.emplace_hint(after, range.begin,
                     Held{.end = range.end,
                          .consumer = &consumer,
                          .unacknowledged = events,
                          .bytes = bytes,
                          .each = bytes / events});
}

Delivery::HeldRuns::iterator Delivery::FindHeld(uint64_t ordinal) {
  const auto after = held_.upper_bound(ordinal);
  if (after == held_.begin() || std::prev(after)->second.end <= ordinal) return held_.end();
  return std::prev(after);
}

void Delivery::Release(Consumer& consumer, size_t bytes) {
  consumer.held_bytes -= bytes;
  if (!consumer.full) return;
  // Not for each event that is acknowledged: the next slice is to be worth it.
  const size_t room = consumer.max_bytes - std::min(consumer.max_bytes, consumer.held_bytes);
  if (consumer.held_bytes > 0 && room < std::min(consumer.max_bytes / 8 + 1, kSliceBytes)) return;
  consumer.full = false;
  wake_up_ = true;
}

// All of `range` is about to be acknowledged, and none of it was.
void Delivery::ReleaseAcknowledged(OrdinalRange range) {
  auto it = FindHeld(range.begin);
  if (it == held_.end()) it = held_.lower_bound(range.begin);
  while (it != held_.end() && it->first < range.end) {
    Held& run = it->second;
    const uint64_t events = std::min(range.end, run.end) - std::max(range.begin, it->first);
    const size_t bytes = events == run.unacknowledged ? run.bytes : run.each * events;
    run.bytes -= bytes;
    run.unacknowledged -= events;
    Release(*run.consumer, bytes);
    it = run.unacknowledged == 0 ? held_.erase(it) : std::next(it);
  }
}

std::optional<Timer::Time> Delivery::NextDue(ConsumerId consumer, Timer::Time now) const {
  std::optional<Timer::Time> due;
  if (!waiting_.empty()) due = waiting_.begin()->first;
  if (!IsJoining(consumer, now)) return due;
  const Timer::Time joined = joining_.at(consumer).until;
  return due ? std::min(*due, joined) : joined;
}

absl::Status Delivery::Ack(OrdinalRange range) {
  if (range.end > known_) return NotHandedOut(range.end - 1);
  range.end = std::min(range.end, handed_out_);
  if (range.begin >= range.end) return absl::OkStatus();
  const bool was_paused = paused();
  // Adding is refused only where nothing of the range is there: then this is all of it.
  const uint64_t first = acked_.NextMissing(range.begin);
  const uint64_t first_end = std::min(range.end, acked_.NextContained(first).value_or(range.end));
  std::vector<OrdinalRange> further;
  for (uint64_t at = acked_.NextMissing(first_end); at < range.end;) {
    const uint64_t to = std::min(range.end, acked_.NextContained(at).value_or(range.end));
    further.push_back({.begin = at, .end = to});
    at = acked_.NextMissing(to);
  }
  if (!acked_.Add(range.begin, range.end, kMaxRanges)) {
    return absl::ResourceExhaustedError(
        fmt::format("the subscription has {} holes: acknowledge event {} and those after it",
                    kMaxRanges, acked_.low()));
  }
  if (first < first_end) ReleaseAcknowledged({.begin = first, .end = first_end});
  for (const OrdinalRange& one : further) ReleaseAcknowledged(one);
  for (auto it = requeued_.lower_bound(range.begin);
       it != requeued_.end() && it->first < range.end;) {
    if (it->second.due) waiting_.erase({*it->second.due, it->first});
    it = requeued_.erase(it);
  }
  if (was_paused && !paused()) wake_up_ = true;
  if (!joining_.empty()) EndJoining();
  return absl::OkStatus();
}

// Takes an event that is not acknowledged out of a run.
void Delivery::CutOut(HeldRuns::iterator it, uint64_t ordinal) {
  const Held run = it->second;
  const uint64_t begin = it->first;
  const auto after = held_.erase(it);
  const uint64_t below = acked_.CountMissing(begin, ordinal);
  const uint64_t above = run.unacknowledged - below - 1;
  if (above > 0) {
    held_.emplace_hint(after, ordinal + 1,
                       Held{.end = run.end,
                            .consumer = run.consumer,
                            .unacknowledged = above,
                            .bytes = run.each * above,
                            .each = run.each});
  }
  if (below > 0) {
    held_.emplace(begin, Held{.end = ordinal,
                              .consumer = run.consumer,
                              .unacknowledged = below,
                              .bytes = run.each * below,
                              .each = run.each});
  }
  Release(*run.consumer, run.bytes - run.each * (above + below));
}

absl::Status Delivery::Requeue(ConsumerId consumer, uint64_t ordinal, Timer::Time now) {
  if (ordinal >= known_) return NotHandedOut(ordinal);
  if (acked_.Contains(ordinal)) return absl::OkStatus();
  // One that is not held comes anyway: again, or for the first time since a Seek.
  const auto held = FindHeld(ordinal);
  if (held == held_.end() || held->second.consumer != &consumers_.at(consumer))
    return absl::OkStatus();
  auto it = requeued_.find(ordinal);
  if (it == requeued_.end()) {
    if (requeued_.size() >= kMaxRequeued) {
      return absl::ResourceExhaustedError(fmt::format(
          "{} requeued events are unacknowledged, no further one can be requeued", kMaxRequeued));
    }
    it = requeued_.emplace(ordinal, Requeued{.next_delay = kFirstDelay, .by = 0, .due = {}}).first;
  }
  CutOut(held, ordinal);
  Requeued& requeued = it->second;
  requeued.by = consumer;
  requeued.due = now + requeued.next_delay;
  requeued.next_delay = std::min<std::chrono::seconds>(2 * requeued.next_delay, kMaxDelay);
  waiting_.emplace(*requeued.due, ordinal);
  return absl::OkStatus();
}

}  // namespace pgc
