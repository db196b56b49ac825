#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/mutex.h"

namespace pgc {

// Threads for work that may wait, for owners that must not wait for its end.
//
// Thread-safe.
class Background {
 public:
  // Destroying it, or Stop, asks the work to end.
  class Work {
   public:
    Work() = default;
    explicit Work(std::stop_source stop) : stop_(std::move(stop)) {}
    ~Work() { stop_.request_stop(); }
    Work(Work&& other) noexcept : stop_(std::exchange(other.stop_, NoState())) {}
    Work& operator=(Work&& other) noexcept {
      std::swap(stop_, other.stop_);
      return *this;
    }

   private:
    static std::stop_source NoState() { return std::stop_source(std::nostopstate); }

    std::stop_source stop_ = NoState();
  };

  Background() = default;
  // Asks all to end, and waits for them.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Runs it on a thread of its own. What it uses is there until it returns: it may be called for
  // longer than there is a Work.
  [[nodiscard]] Work Start(std::function<void(const std::stop_token&)> work);

 private:
  struct Running {
    std::jthread thread;
    std::shared_ptr<const std::atomic<bool>> is_done;
  };

  Mutex mutex_;
  std::list<Running> running_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
