#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
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

// A consumer of a subscription, as long as it is there.
using ConsumerId = uint64_t;

// What a subscription hands out next and to whom, given what was handed out, acknowledged and
// requeued.
//
// In this order: requeued events that are due, then what a consumer that went away left, then what
// is newer; each event to one consumer, which holds it until it is acknowledged or requeued. One
// that joins others gets nothing newer yet while they hold what they had when it came: it may be
// the client of one of them, back before that one was found to be gone. Knows ordinals only; the
// caller knows events, time and threads. Not thread-safe.
//
// What is held is kept as runs of events that were handed out together, so a consumer that never
// acknowledges costs nothing for each event. The bytes of a run are taken to be spread evenly.
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
  // What one of several consumers takes at a time, so that the others have something too.
  static constexpr size_t kSliceBytes = 64 << 10;
  // How long one that joins waits for what the others hold, at most.
  static constexpr std::chrono::seconds kJoinDelay{1};

  // Of the events of `range`, as many of the first as have at most `max_bytes` together.
  struct Portion {
    uint64_t end = 0;
    size_t bytes = 0;
  };
  using Measure = std::function<Portion(OrdinalRange range, size_t max_bytes)>;

  // `handed_out` is the end of what may have been handed out before.
  Delivery(AckRanges acked, uint64_t handed_out)
      : acked_(std::move(acked)),
        known_(handed_out),
        handed_out_(handed_out),
        position_(acked_.low()) {}

  // Its id is above that of every consumer before it.
  void Attach(ConsumerId consumer, size_t max_bytes, Timer::Time now);
  // What the consumer had is to be handed out again, at once.
  void Detach(ConsumerId consumer);
  size_t consumers() const { return consumers_.size(); }

  // The ordinal that is next for this consumer, of a log that ends at `end`.
  std::optional<uint64_t> Next(ConsumerId consumer, Timer::Time now, uint64_t end);
  // Hands out what is next, as much of it as lies in `block` and as the consumer may have; nothing
  // when it lies elsewhere, or when the consumer has as much as it may.
  std::optional<OrdinalRange> Take(ConsumerId consumer, Timer::Time now, uint64_t end,
                                   OrdinalRange block, const Measure& measure);
  // When the first requeued event is due, or the consumer has waited long enough for the others.
  std::optional<Timer::Time> NextDue(ConsumerId consumer, Timer::Time now) const;
  // Whether there are so many holes that nothing newer is handed out.
  bool paused() const { return acked_.above().size() >= kPauseRanges; }

  // From any consumer. InvalidArgument when the events were never handed out; ResourceExhausted at
  // kMaxRanges. Those of before a Seek that were not handed out since are left alone.
  absl::Status Ack(OrdinalRange range);
  // Of an event that this consumer holds; others are left alone. InvalidArgument when it was never
  // handed out; ResourceExhausted at kMaxRequeued.
  absl::Status Requeue(ConsumerId consumer, uint64_t ordinal, Timer::Time now);
  // Goes on at `to`: all before it is acknowledged, nothing from it on was handed out.
  void Seek(uint64_t to);

  // Whether a consumer that got nothing from Next may get something since the last call.
  bool TakeWakeUp() { return std::exchange(wake_up_, false); }

  const AckRanges& acked() const { return acked_; }
  // The end of what may ever have been handed out.
  uint64_t known() const { return known_; }
  size_t held_bytes(ConsumerId consumer) const { return consumers_.at(consumer).held_bytes; }

 private:
  struct Consumer {
    size_t max_bytes = 0;
    size_t held_bytes = 0;
    bool full = false;  // gets nothing until it has acknowledged some
  };
  // A run of events that a consumer holds, but for those of them that are acknowledged.
  struct Held {
    uint64_t end = 0;
    Consumer* consumer = nullptr;
    uint64_t unacknowledged = 0;
    size_t bytes = 0;  // of these
    size_t each = 0;   // of one of them; the last takes what is left
  };
  // A consumer that waits, and for what.
  struct Joining {
    uint64_t behind = 0;  // the events below it
    Timer::Time until;
  };
  struct Requeued {
    std::chrono::seconds next_delay;
    ConsumerId by = 0;
    std::optional<Timer::Time> due;  // until it is handed out again
  };
  using HeldRuns = std::map<uint64_t, Held>;

  void Restart();
  bool IsJoining(ConsumerId consumer, Timer::Time now) const;
  void EndJoining();
  void GiveBack(OrdinalRange range);
  void Hold(Consumer& consumer, OrdinalRange range, size_t bytes);
  // The run that has this event, if somebody holds it.
  HeldRuns::iterator FindHeld(uint64_t ordinal);
  void Release(Consumer& consumer, size_t bytes);
  void ReleaseAcknowledged(OrdinalRange range);
  void CutOut(HeldRuns::iterator run, uint64_t ordinal);
  // The first range that was given back, without what is acknowledged.
  std::optional<OrdinalRange> FirstReturned();
  std::optional<OrdinalRange> Fit(Consumer& consumer, OrdinalRange range, const Measure& measure,
                                  size_t& bytes) const;

  AckRanges acked_;
  uint64_t known_;       // end of what may ever have been handed out
  uint64_t handed_out_;  // of what may have been since the last Seek
  // Below it, each event that is not acknowledged is held, given back, or waiting to be due; from
  // it on, none is.
  uint64_t position_;
  HeldRuns held_;                                       // by first ordinal
  std::map<uint64_t, uint64_t> returned_;               // begin and end
  std::map<uint64_t, Requeued> requeued_;               // by ordinal; until acknowledged
  std::set<std::pair<Timer::Time, uint64_t>> waiting_;  // those of them that have a `due`
  std::map<ConsumerId, Consumer> consumers_;
  std::map<ConsumerId, Joining> joining_;
  bool wake_up_ = false;
};

}  // namespace pgc
