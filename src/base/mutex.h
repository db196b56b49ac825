// A std::mutex that clang's -Wthread-safety can check, and a condition variable for it.
//
// absl::Mutex as packaged gives ThreadSanitizer false reports; std::mutex does not.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

#if defined(__clang__)
#define PGC_TSA(x) __attribute__((x))
#else
#define PGC_TSA(x)
#endif
#define PGC_GUARDED_BY(mutex) PGC_TSA(guarded_by(mutex))
#define PGC_REQUIRES(mutex) PGC_TSA(requires_capability(mutex))
#define PGC_NO_THREAD_SAFETY_ANALYSIS PGC_TSA(no_thread_safety_analysis)

namespace pgc {

class PGC_TSA(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() PGC_TSA(acquire_capability()) { mutex_.lock(); }
  void unlock() PGC_TSA(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class PGC_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) PGC_TSA(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() PGC_TSA(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits re-check nothing themselves: callers loop over their condition.
class CondVar {
 public:
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

  void Wait(Mutex& mutex) PGC_REQUIRES(mutex) PGC_NO_THREAD_SAFETY_ANALYSIS { cv_.wait(mutex); }

  // False when `deadline` has passed.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      PGC_REQUIRES(mutex) PGC_NO_THREAD_SAFETY_ANALYSIS {
    return cv_.wait_until(mutex, deadline) == std::cv_status::no_timeout;
  }

  // Waits until `ready()` is true, `stop` is requested or `deadline` has passed; returns ready().
  // `ready` is called with `mutex` held.
  template <typename Ready>
  bool WaitUntil(Mutex& mutex, std::stop_token stop, std::chrono::steady_clock::time_point deadline,
                 Ready ready) PGC_REQUIRES(mutex) PGC_NO_THREAD_SAFETY_ANALYSIS {
    return cv_.wait_until(mutex, std::move(stop), deadline, ready);
  }
  template <typename Ready>
  bool Wait(Mutex& mutex, std::stop_token stop, Ready ready)
      PGC_REQUIRES(mutex) PGC_NO_THREAD_SAFETY_ANALYSIS {
    return cv_.wait(mutex, std::move(stop), ready);
  }

 private:
  std::condition_variable_any cv_;
};

}  // namespace pgc
