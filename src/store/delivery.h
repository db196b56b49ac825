#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "store/ack_ranges.h"
#include "store/timer.h"

namespace pgc {

// A run of ordinals: begin to end - 1.
struct OrdinalRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  bool operator==(const OrdinalRange&) const = default;
};

// What a subscription hands out next, given what was handed out, acknowledged and requeued.
//
// In this order: requeued events that are due, then what is not acknowledged from the lowest such
// event on, so what an earlier consumer left comes before anything newer. Knows ordinals only; the
// caller knows events, time and threads. Not thread-safe.
class Delivery {
 public:
  // With this many ranges of acknowledged events above the lowest missing one, nothing newer is
  // handed out until lower ones are acknowledged, so the state stays bounded.
  static constexpr size_t kPauseRanges = 65'536;
  // What events already handed out can make of it; Ack refuses more.
  static constexpr size_t kMaxRanges = 2 * kPauseRanges;
  // Events that were requeued and are not acknowledged yet.
  static constexpr size_t kMaxRequeued = 65'536;
  static constexpr std::chrono::seconds kFirstDelay{1};
  static constexpr std::chrono::seconds kMaxDelay{60};

  // `handed_out` is the end of what may have been handed out before.
  Delivery(AckRanges acked, uint64_t handed_out)
      : acked_(std::move(acked)), handed_out_(handed_out), position_(acked_.low()) {}

  // Another consumer takes over: all that is unacknowledged is to be handed out again, at once.
  void Restart();

  // The ordinal that is next, of a log that ends at `end`.
  std::optional<uint64_t> Next(Timer::Time now, uint64_t end) const;
  // Hands out what is next, as much of it as lies in `block`; nothing when it lies elsewhere.
  std::optional<OrdinalRange> Take(Timer::Time now, uint64_t end, OrdinalRange block);
  // When the first requeued event is due.
  std::optional<Timer::Time> NextDue() const;
  // Whether there are so many holes that nothing newer is handed out.
  bool paused() const { return acked_.above().size() >= kPauseRanges; }

  // InvalidArgument when the events were not handed out; ResourceExhausted at kMaxRanges.
  absl::Status Ack(OrdinalRange range);
  // InvalidArgument when the event was not handed out; ResourceExhausted at kMaxRequeued.
  absl::Status Requeue(uint64_t ordinal, Timer::Time now);

  const AckRanges& acked() const { return acked_; }

 private:
  struct Requeued {
    std::chrono::seconds next_delay;
    std::optional<Timer::Time> due;  // until it is handed out again
  };

  AckRanges acked_;
  uint64_t handed_out_;
  uint64_t position_;                      // all below it was handed out to this consumer
  std::map<uint64_t, Requeued> requeued_;  // by ordinal; until acknowledged
  std::set<std::pair<Timer::Time, uint64_t>> waiting_;  // those of them that have a `due`
};

}  // namespace pgc
