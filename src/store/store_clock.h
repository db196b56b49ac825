#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "store/timer.h"
#include "store/wall_clock.h"

namespace pgc {

// What time it is for a store: one for what it writes down, and one by which that is too old. Where
// the wall clock is wrong, things are removed late rather than early.
//
// Thread-safe.
class StoreClock {
 public:
  // A leap is more than that, and is believed when the wall clock has kept to it for as long.
  static constexpr int64_t kLeapUs = std::chrono::microseconds(std::chrono::hours(1)).count();

  // Microseconds since 1970-01-01 UTC, like all times here. `timer` has a clock that does not leap.
  StoreClock(WallClock wall, std::shared_ptr<Timer> timer)
      : wall_(std::move(wall)), timer_(std::move(timer)) {}

  // Goes on from the newest time that is stored. To be called before the others, or not at all.
  void GoOnFrom(int64_t newest_us);

  // The wall clock, but never before an earlier stamp: a search by time finds them in order.
  int64_t Stamp();
  // The wall clock, but for leaps ahead that are not believed yet. It may go back.
  int64_t Believed();

 private:
  const WallClock wall_;
  const std::shared_ptr<Timer> timer_;

  Mutex mutex_;
  int64_t stamp_us_ PGC_GUARDED_BY(mutex_) = INT64_MIN;
  std::optional<int64_t> believed_us_ PGC_GUARDED_BY(mutex_);
  Timer::Time believed_at_ PGC_GUARDED_BY(mutex_);
  std::optional<Timer::Time> leapt_ PGC_GUARDED_BY(mutex_);  // since when the wall clock is ahead
};

}  // namespace pgc
