#pragma once

#include <chrono>
#include <stop_token>

#include "base/mutex.h"

namespace pgc {

// Waits until `time`, or until `stop` is requested.
inline void PauseUntil(std::chrono::steady_clock::time_point time, const std::stop_token& stop) {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  never.WaitUntil(mutex, stop, time, [] { return false; });
}

inline void Pause(std::chrono::steady_clock::duration time, const std::stop_token& stop) {
  PauseUntil(std::chrono::steady_clock::now() + time, stop);
}

}  // namespace pgc
