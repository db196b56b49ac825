#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "base/mutex.h"

namespace pgc {

// Runs calls when their time has come, one after the other, on a thread of its own.
//
// Thread-safe. Calls that are not due at destruction are dropped; one under way is waited for. The
// owner of what a call touches sees to it that it is still there (a weak_ptr).
class Timer {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // For CallAt: as soon as possible.
  static constexpr Time kNow = Time::min();

  // `clock` says what time it is, from any thread.
  explicit Timer(std::function<Time()> clock = std::chrono::steady_clock::now);

  Time Now() const { return clock_(); }
  // Never calls within this call.
  void CallAt(Time when, std::function<void()> call);
  // To be called when `clock` has jumped.
  void ClockChanged();

 private:
  void Run(const std::stop_token& stop);

  const std::function<Time()> clock_;
  Mutex mutex_;
  CondVar changed_;
  bool clock_changed_ PGC_GUARDED_BY(mutex_) = false;
  std::multimap<Time, std::function<void()>> calls_ PGC_GUARDED_BY(mutex_);
  std::jthread thread_;  // last: it uses the others
};

}  // namespace pgc
