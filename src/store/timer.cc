#include "store/timer.h"

#include <utility>

namespace pgc {

Timer::Timer(std::function<Time()> clock)
    : clock_(std::move(clock)), thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void Timer::CallAt(Time when, std::function<void()> call) {
  MutexLock lock(mutex_);
  calls_.emplace(when, std::move(call));
  changed_.NotifyAll();
}

void Timer::ClockChanged() {
  MutexLock lock(mutex_);
  clock_changed_ = true;
  changed_.NotifyAll();
}

void Timer::Run(const std::stop_token& stop) {
  while (true) {
    std::function<void()> call;
    {
      MutexLock lock(mutex_);
      while (!stop.stop_requested() && (calls_.empty() || calls_.begin()->first > Now())) {
        clock_changed_ = false;
        if (calls_.empty()) {
          changed_.Wait(mutex_, stop, [this]() PGC_REQUIRES(mutex_) { return !calls_.empty(); });
          continue;
        }
        const Time first = calls_.begin()->first;
        const Time deadline = std::chrono::steady_clock::now() + (first - Now());
        changed_.WaitUntil(mutex_, stop, deadline, [&]() PGC_REQUIRES(mutex_) {
          return clock_changed_ || calls_.begin()->first < first;
        });
      }
      if (stop.stop_requested()) return;
      call = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
    }
    call();
  }
}

}  // namespace pgc
