#include "store/store_clock.h"

#include <algorithm>
#include <string>

#include "base/log.h"

namespace pgc {

void StoreClock::GoOnFrom(int64_t newest_us) {
  MutexLock lock(mutex_);
  stamp_us_ = newest_us;
  believed_us_ = newest_us;
  believed_at_ = timer_->Now();
  // That time has passed since is usual and not logged.
  leapt_ = believed_at_;
}

int64_t StoreClock::Stamp() {
  const int64_t wall_us = wall_();
  MutexLock lock(mutex_);
  return stamp_us_ = std::max(stamp_us_, wall_us);
}

int64_t StoreClock::Believed() {
  const int64_t wall_us = wall_();
  MutexLock lock(mutex_);
  const Timer::Time now = timer_->Now();
  int64_t expected_us = wall_us;
  if (believed_us_) {
    expected_us = *believed_us_ +
                  std::chrono::duration_cast<std::chrono::microseconds>(now - believed_at_).count();
  }
  believed_at_ = now;
  if (wall_us - expected_us > kLeapUs) {
    if (!leapt_) {
      leapt_ = now;
      log::Warning("the clock has leapt ahead: for an hour nothing is removed for its age by that",
                   {{"ahead_s", std::to_string((wall_us - expected_us) / 1'000'000)}});
    }
    if (now - *leapt_ < std::chrono::microseconds(kLeapUs)) {
      believed_us_ = expected_us;
      return expected_us;
    }
  }
  leapt_.reset();
  believed_us_ = wall_us;
  return wall_us;
}

}  // namespace pgc
