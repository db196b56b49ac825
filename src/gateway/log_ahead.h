#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "event/store.h"

namespace pgc {

// The events of a consumer's log from a place on, for who must not wait. Where the store's readers
// read at once, so does this; else a thread of its own opens one and reads ahead, kMaxBytes and one
// slice more at most.
//
// Not thread-safe, but for that thread.
class LogAhead {
 public:
  static constexpr size_t kMaxBytes = size_t{1} << 20;

  // The consumer outlives it. `ready` is called from any thread, when what the calls below said
  // was not known, or not there, may be now; not after destruction, which waits for a call under
  // way and for the store to be done with what it was asked.
  LogAhead(const EventConsumer& consumer, FromAfter start, std::function<void()> ready);

  // Whether the place was found. Errors as OpenReader.
  absl::StatusOr<bool> IsOpen();
  // The next events; to be called only when there are some, because where the store reads at once
  // this waits for them. Nothing while they are not here. Errors as EventReader::Next.
  absl::StatusOr<std::optional<EventSlice>> TryNext();

 private:
  void ReadAhead(const EventConsumer& consumer, const FromAfter& start,
                 const std::stop_token& stop);

  const std::function<void()> ready_;
  // Where it reads at once.
  absl::StatusOr<std::unique_ptr<EventReader>> reader_ = nullptr;

  Mutex mutex_;
  CondVar changed_;
  bool is_open_ PGC_GUARDED_BY(mutex_) = false;
  absl::Status failure_ PGC_GUARDED_BY(mutex_);
  std::deque<EventSlice> slices_ PGC_GUARDED_BY(mutex_);
  size_t bytes_ PGC_GUARDED_BY(mutex_) = 0;
  std::jthread thread_;
};

}  // namespace pgc
