#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "store/delivery.h"
#include "store/timer.h"

namespace pgc {

// One subscription of a topic: its delivery state, and the consumer that waits for it.
//
// Thread-safe. Owned by its topic, and by its consumer.
class Subscription : public std::enable_shared_from_this<Subscription> {
 public:
  // Called, with no lock held, when there is something to save and nothing was since TakeAcked.
  using SaveSoon = std::function<void(std::shared_ptr<Subscription>)>;

  struct Options {
    std::string topic;
    std::string name;
    Timer* timer = nullptr;  // outlives every consumer
    // Where the topic's readable events end.
    std::shared_ptr<const std::atomic<uint64_t>> end;
    SaveSoon save_soon;  // empty: nothing is saved
  };

  Subscription(Options options, Delivery delivery);

  const std::string& name() const { return options_.name; }

  // A consumer takes hold. Unavailable while another has.
  absl::Status Open();
  // Waits for a call of `ready` that is under way.
  void Close();

  std::optional<uint64_t> Next();
  std::optional<OrdinalRange> Take(OrdinalRange block);
  void NotifyWhenReady(std::function<void()> ready);
  absl::Status Ack(OrdinalRange range);
  absl::Status Requeue(uint64_t ordinal);
  // The topic has grown, or an event may be due.
  void Wake();

  // What is to be saved. SaveSoon is called again for what changes from here on.
  AckRanges TakeAcked();
  uint64_t low() const;
  // Acknowledgements cannot be saved any more: each of them gives this error from now on.
  void Fail(absl::Status status);

 private:
  void WarnWhenPaused() PGC_REQUIRES(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  CondVar no_call_;
  Delivery delivery_ PGC_GUARDED_BY(mutex_);
  absl::Status save_status_ PGC_GUARDED_BY(mutex_);
  bool open_ PGC_GUARDED_BY(mutex_) = false;
  bool unsaved_ PGC_GUARDED_BY(mutex_) = false;
  bool warned_ PGC_GUARDED_BY(mutex_) = false;
  std::function<void()> ready_ PGC_GUARDED_BY(mutex_);
  int calls_ PGC_GUARDED_BY(mutex_) = 0;                     // of `ready` that are under way
  std::optional<Timer::Time> alarm_ PGC_GUARDED_BY(mutex_);  // when the timer calls Wake
};

}  // namespace pgc
