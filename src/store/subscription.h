#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "event/store.h"
#include "store/delivery.h"
#include "store/keyed_delivery.h"
#include "store/timer.h"
#include "store/wall_clock.h"

namespace pgc {

// A block and the ordinal of its first event.
struct StoredBlock {
  std::shared_ptr<const Block> block;
  uint64_t first = 0;

  OrdinalRange range() const { return {.begin = first, .end = first + block->size()}; }
};

// What is durable of a subscription.
struct SubscriptionRecord {
  AckRanges acked;
  int64_t last_used_us = 0;  // since 1970-01-01 UTC
  Checkpoint lost_after{};   // where it loses events, if it does
  bool cursor = false;       // of a reader; no range is acknowledged above the lowest

  bool operator==(const SubscriptionRecord&) const = default;
};

// One subscription of a topic: its delivery state, and the consumers that wait for it. Or the
// cursor of a reader, which shares all but the delivery: what is needed, saved, lost and forgotten.
//
// Thread-safe. Owned by its topic, and by its consumers.
class Subscription : public std::enable_shared_from_this<Subscription> {
 public:
  // Called, with no lock held, when there is something to save and nothing was since TakeRecord.
  using SaveSoon = std::function<void(std::shared_ptr<Subscription>)>;

  struct Options {
    std::string topic;
    std::string name;
    Timer* timer = nullptr;  // outlives every consumer
    WallClock clock;
    // Where the topic's readable events end.
    std::shared_ptr<const std::atomic<uint64_t>> end;
    std::shared_ptr<const std::atomic<uint64_t>> floor;  // and where they begin
    SaveSoon save_soon;                                  // empty: nothing is saved
  };

  // `handed_out`: the end of what may have been handed out before.
  Subscription(Options options, SubscriptionRecord record, uint64_t handed_out);

  const std::string& name() const { return options_.name; }
  bool is_cursor() const { return is_cursor_; }
  // For messages.
  const char* What() const { return is_cursor_ ? "cursor" : "subscription"; }

  // A consumer joins. FailedPrecondition when those that are there do not agree on key_shared.
  absl::StatusOr<ConsumerId> Open(const ConsumerOptions& options);
  // The reader of a cursor comes. FailedPrecondition while it has another.
  absl::StatusOr<ConsumerId> OpenReader();
  // Of a consumer or a reader. Waits for a call of `ready` that is under way.
  void Close(ConsumerId consumer);

  // What a consumer gets next, and its block if another has just read it.
  struct Upcoming {
    enum class What : uint8_t {
      kEvents,    // that Take hands out
      kDispatch,  // a block to be shared out by its keys first: Dispatch
      kLost,      // nothing, because retention has removed it
    };
    What what = What::kEvents;
    uint64_t ordinal = 0;
    std::optional<StoredBlock> block;
  };
  std::optional<Upcoming> Next(ConsumerId consumer);
  void Dispatch(const StoredBlock& block);
  std::optional<OrdinalRange> Take(ConsumerId consumer, const StoredBlock& from);
  // The end of what was handed out to any consumer, or acknowledged; and the same without what this
  // one was handed itself, since it is the only one to be.
  uint64_t handed_out() const;
  uint64_t HandedToOthers(ConsumerId consumer) const;
  void NotifyWhenReady(ConsumerId consumer, std::function<void()> ready);
  absl::Status Ack(OrdinalRange range);
  absl::Status Requeue(ConsumerId consumer, uint64_t ordinal);
  // What is before it is not needed by the reader of a cursor. Never goes back.
  void Release(uint64_t before);
  // The topic has grown, or an event may be due.
  void Wake();

  // Goes on at `to`; what consumers hold counts as never handed out.
  void Seek(uint64_t to);
  // Nothing of it is to be saved any more. FailedPrecondition while it has consumers.
  absl::Status Delete();
  // The same when nobody has used it since; false when somebody has.
  bool DeleteIfUnusedSince(int64_t time_us);
  bool deleted() const;
  // Saves that it is in use when what is saved of that is older.
  void SaveUseOlderThan(int64_t time_us);
  // Without the checkpoint.
  SubscriptionInfo Describe() const;

  // Whether retention has removed events that are not acknowledged, and after which event.
  bool is_lost() const;
  Checkpoint lost_after() const;
  void NoteLoss(const Checkpoint& after);
  // The first event that this subscription may need, also after a restart.
  uint64_t needed_from() const;

  // What is to be saved. SaveSoon is called again for what changes from here on.
  SubscriptionRecord TakeRecord();
  // The record with this lowest unacknowledged event is durable.
  void Saved(uint64_t low);
  uint64_t low() const;
  // Acknowledgements cannot be saved any more: each of them gives this error from now on.
  void Fail(absl::Status status);

 private:
  struct Consumer {
    std::function<void()> ready;
    int calls = 0;  // of `ready` that are under way
    size_t max_bytes = 0;
    // Of a key-shared one: the block that it was handed events of, which has others for it.
    std::optional<StoredBlock> current;
    // What was handed out before it began to be the only one that gets newer events, and up to
    // where it was.
    uint64_t others = 0;
    uint64_t alone_to = 0;
  };

  bool IsLost() const PGC_REQUIRES(mutex_);
  void NoteHandedOut(ConsumerId consumer, const std::optional<OrdinalRange>& taken)
      PGC_REQUIRES(mutex_);
  std::function<void()> TakeReady(ConsumerId consumer);
  void WakeOne(ConsumerId consumer);
  const AckRanges& Acked() const PGC_REQUIRES(mutex_);
  bool HasNext(ConsumerId consumer) PGC_REQUIRES(mutex_);
  bool AnyToWake() PGC_REQUIRES(mutex_);
  std::optional<Upcoming> NextKeyed(ConsumerId consumer) PGC_REQUIRES(mutex_);
  absl::Status AckKeyed(OrdinalRange range) PGC_REQUIRES(mutex_);
  void SetAlarm(ConsumerId consumer) PGC_REQUIRES(mutex_);
  void WarnWhenStalled(Timer::Time now) PGC_REQUIRES(mutex_);
  void SaveAndWake(bool save, bool wake);

  const Options options_;
  const bool is_cursor_;
  mutable Mutex mutex_;
  CondVar no_call_;
  Delivery delivery_ PGC_GUARDED_BY(mutex_);
  // Instead of delivery_, as long as there are consumers that are key-shared.
  std::optional<KeyedDelivery> keyed_ PGC_GUARDED_BY(mutex_);
  uint64_t keyed_known_ PGC_GUARDED_BY(mutex_) = 0;  // end of what was ever handed out
  uint64_t handed_out_ PGC_GUARDED_BY(mutex_);       // end of what was, or is acknowledged
  absl::Status save_status_ PGC_GUARDED_BY(mutex_);
  int64_t last_used_us_ PGC_GUARDED_BY(mutex_);
  Checkpoint lost_after_ PGC_GUARDED_BY(mutex_);
  uint64_t saved_low_ PGC_GUARDED_BY(mutex_);
  bool deleted_ PGC_GUARDED_BY(mutex_) = false;
  bool unsaved_ PGC_GUARDED_BY(mutex_) = false;
  std::optional<Timer::Time> warned_ PGC_GUARDED_BY(mutex_);
  std::map<ConsumerId, Consumer> consumers_ PGC_GUARDED_BY(mutex_);
  ConsumerId next_consumer_ PGC_GUARDED_BY(mutex_) = 0;
  ConsumerId woken_ PGC_GUARDED_BY(mutex_) = 0;  // the last to be woken: the next one is first
  std::optional<StoredBlock> current_ PGC_GUARDED_BY(mutex_);  // until all of it is out
  std::optional<Timer::Time> alarm_ PGC_GUARDED_BY(mutex_);    // when the timer calls Wake
};

}  // namespace pgc
