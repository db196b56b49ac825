#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "event/block.h"
#include "store/ack_ranges.h"
#include "store/delivery.h"
#include "store/timer.h"

namespace pgc {

// What a subscription shared by key hands out to each of its consumers.
//
// Keys fall into slots, and each slot belongs to one consumer at a time. Events are dispatched in
// the order of the log: each becomes ready for the owner of its slot, at once or, in the order of
// the log, when what it has to wait for is acknowledged:
//
//   * a slot that moves, because a consumer came, changes its owner once the old one has
//     acknowledged what it was handed of it; nobody gets anything twice for that;
//   * what a consumer that went away had not acknowledged is ready for the new owners of its slots
//     before anything newer of the same slot;
//   * an UPDATE that moves a row to a key of another slot waits until all before it of the old
//     slot is acknowledged, and what comes after it in either slot waits for it: in the new one
//     until it is ready, in the old one until it is acknowledged;
//   * a barrier (TRUNCATE) waits until all before it is acknowledged, and all after it waits until
//     it is.
//
// Requeued events come again to the same consumer, and are no longer in order with what it was
// handed since. Bounded: with kMaxOpen events dispatched and not acknowledged, no more are, so a
// consumer that acknowledges nothing holds the others back in the end.
//
// Knows ordinals and keys only; the caller knows events, time and threads. Not thread-safe.
class KeyedDelivery {
 public:
  using ConsumerId = uint64_t;  // never 0
  static constexpr ConsumerId kNobody = 0;
  static constexpr uint32_t kSlots = 1'024;
  static constexpr size_t kMaxOpen = 65'536;

  // An event as far as it matters here.
  struct Item {
    enum class Kind : uint8_t {
      kKeyed,
      kFree,     // in no order with others: Begin, Commit, logical messages
      kBarrier,  // in order with all others
    };
    uint64_t ordinal = 0;
    Kind kind = Kind::kFree;
    EventKey key;
    size_t bytes = 0;
  };

  explicit KeyedDelivery(AckRanges acked, uint32_t slots = kSlots, size_t max_open = kMaxOpen);

  void Join(ConsumerId consumer, size_t max_in_flight_bytes);
  void Leave(ConsumerId consumer);
  size_t consumers() const { return consumers_.size(); }

  // The ordinal whose event is to be dispatched next, of a log that ends at `end`; nothing while
  // others have to be acknowledged first, or nobody is there.
  std::optional<uint64_t> Wanted(uint64_t end) const;
  // Dispatches the event that Wanted() names.
  void Dispatch(const Item& item);

  // Whether there are so many open events that no more are dispatched.
  bool stalled() const { return open_.size() >= max_open_; }

  // The ordinal that is next for `consumer`.
  std::optional<uint64_t> Next(ConsumerId consumer, Timer::Time now);
  // Hands it out, with those after it that are ready as well, as far as they lie in `block`.
  std::optional<OrdinalRange> Take(ConsumerId consumer, Timer::Time now, OrdinalRange block);
  // When the first requeued event of `consumer` is due.
  std::optional<Timer::Time> NextDue(ConsumerId consumer) const;

  // InvalidArgument when an event was not handed out.
  absl::Status Ack(OrdinalRange range);
  absl::Status Requeue(uint64_t ordinal, Timer::Time now);

  const AckRanges& acked() const { return acked_; }

 private:
  // An event that is dispatched and not acknowledged.
  struct Open {
    enum class State : uint8_t { kWaiting, kReady, kHanded, kRequeued };
    Item::Kind kind = Item::Kind::kFree;
    State state = State::kWaiting;
    uint32_t slot = 0;
    uint32_t before = 0;  // the slot it moves its row from; the same when it does not
    size_t bytes = 0;
    ConsumerId holder = kNobody;  // while ready, handed or requeued
    std::chrono::seconds next_delay = Delivery::kFirstDelay;
    Timer::Time due;  // while requeued

    bool moves() const { return slot != before; }
  };
  struct Slot {
    ConsumerId owner = kNobody;
    ConsumerId target = kNobody;       // differs from the owner while the slot moves
    std::set<uint64_t> open;           // ready, handed or requeued
    std::deque<uint64_t> waiting;      // ascending, after all of `open`
    std::optional<uint64_t> departed;  // a row of it moves to another slot with this event
  };
  struct Consumer {
    size_t max_in_flight_bytes = 0;
    size_t in_flight_bytes = 0;  // handed and requeued
    size_t slots = 0;            // of which it is the target
    std::set<uint64_t> ready;
    std::set<std::pair<Timer::Time, uint64_t>> requeued;
  };

  uint32_t SlotOf(uint32_t hash) const { return hash % static_cast<uint32_t>(slots_.size()); }
  ConsumerId LeastLoaded() const;
  void Retarget(Slot& slot, ConsumerId target);
  void TakeBackReady(Slot& slot);
  void Advance(uint32_t slot);
  bool CanStart(uint64_t ordinal, const Open& event) const;
  void MakeReady(uint64_t ordinal, Open& event, ConsumerId consumer);
  void Close(std::map<uint64_t, Open>::iterator at);
  void TakeBack(uint64_t ordinal, Open& event);
  void Forget();

  const size_t max_open_;
  AckRanges acked_;
  uint64_t position_;  // all below it is dispatched or acknowledged
  uint64_t handed_out_;
  std::optional<uint64_t> barrier_;  // dispatched and not acknowledged
  std::map<uint64_t, Open> open_;
  std::vector<Slot> slots_;
  std::map<ConsumerId, Consumer> consumers_;
};

}  // namespace pgc
