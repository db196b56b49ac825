#include "base/background.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>

namespace pgc {
namespace {

// Ends when it is asked to, and says so.
class Waiter {
 public:
  std::function<void(const std::stop_token&)> work() {
    return [this](const std::stop_token& stop) {
      MutexLock lock(mutex_);
      changed_.Wait(mutex_, stop, [] { return false; });
      ended_ = true;
      changed_.NotifyAll();
    };
  }
  bool ended() {
    MutexLock lock(mutex_);
    return ended_;
  }
  bool WaitEnded() {
    MutexLock lock(mutex_);
    return changed_.WaitUntil(mutex_, {},
                              std::chrono::steady_clock::now() + std::chrono::seconds(60),
                              [this]() PGC_REQUIRES(mutex_) { return ended_; });
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool ended_ PGC_GUARDED_BY(mutex_) = false;
};

TEST(Background, WorkEndsWithItsHandleAndNobodyWaitsForIt) {
  Waiter one;
  Waiter two;
  Background background;
  auto kept = background.Start(two.work());
  {
    const auto dropped = background.Start(one.work());
    EXPECT_FALSE(one.ended());
  }
  EXPECT_TRUE(one.WaitEnded());
  EXPECT_FALSE(two.ended());
  kept = Background::Work();
  EXPECT_TRUE(two.WaitEnded());
}

TEST(Background, ItsEndWaitsForAll) {
  Waiter one;
  Background::Work work;
  {
    Background background;
    work = background.Start(one.work());
    for (int i = 0; i < 100; ++i) (void)background.Start([](const std::stop_token&) {});
  }
  EXPECT_TRUE(one.ended());
}

}  // namespace
}  // namespace pgc
