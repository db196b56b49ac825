#pragma once

#include <cstdint>

#include "base/mutex.h"

namespace pgc {

// A mutex that lets threads in in the order in which they came: one that takes it again at once
// does not keep the others out.
class PGC_TSA(capability("mutex")) FairMutex {
 public:
  FairMutex() = default;
  FairMutex(const FairMutex&) = delete;
  FairMutex& operator=(const FairMutex&) = delete;

  void lock() PGC_TSA(acquire_capability()) PGC_NO_THREAD_SAFETY_ANALYSIS {
    MutexLock lock(mutex_);
    const uint64_t turn = next_++;
    while (turn != turn_) changed_.Wait(mutex_);
  }
  void unlock() PGC_TSA(release_capability()) PGC_NO_THREAD_SAFETY_ANALYSIS {
    MutexLock lock(mutex_);
    ++turn_;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t next_ PGC_GUARDED_BY(mutex_) = 0;  // who comes next
  uint64_t turn_ PGC_GUARDED_BY(mutex_) = 0;  // who is in
};

class PGC_TSA(scoped_lockable) FairLock {
 public:
  explicit FairLock(FairMutex& mutex) PGC_TSA(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~FairLock() PGC_TSA(release_capability()) { mutex_.unlock(); }
  FairLock(const FairLock&) = delete;
  FairLock& operator=(const FairLock&) = delete;

 private:
  FairMutex& mutex_;
};

}  // namespace pgc
