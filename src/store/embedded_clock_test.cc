// A wall clock that leaps back and forth: nothing is removed early, and nothing waits for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/embedded_testing.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kTenDaysUs = 10 * ManualTime::kDayUs;

class ClockLeaps : public testing::Test {
 protected:
  uint64_t Events() const { return store_->Describe("topic")->events; }
  std::vector<std::string> Subscriptions() const {
    std::vector<std::string> names;
    const auto info = store_->Describe("topic");
    EXPECT_TRUE(info.ok()) << info.status();
    for (const auto& one : info->subscriptions) names.push_back(one.name);
    return names;
  }
  void WaitForEvents(uint64_t events) const {
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (Events() != events) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << Events();
      std::this_thread::yield();
    }
  }
  EmbeddedStoreOptions Options() {
    EmbeddedStoreOptions options{.ack_interval = milliseconds(1),
                                 .subscription_ttl = hours(7 * 24),
                                 .retention_age = hours(7 * 24),
                                 .upkeep_interval = milliseconds(1)};
    time_.SetIn(options);
    return options;
  }
  void Reopen() {
    writer_.reset();
    store_.reset();
    store_ = Open(temp_.path() / "data", options_);
    writer_ = std::make_unique<TestWriter>(*store_);
  }

  ManualTime time_;
  EmbeddedStoreOptions options_ = Options();
  TempDir temp_;
  std::unique_ptr<EventStore> store_ = Open(temp_.path() / "data", options_);
  std::unique_ptr<TestWriter> writer_ = std::make_unique<TestWriter>(*store_);
};

TEST_F(ClockLeaps, ALeapAheadRemovesNothingUnlessItLasts) {
  writer_->Append({10});
  OpenConsumer(*store_, "unused");
  writer_->Append({10});
  time_.WaitForUpkeep();
  time_.Leap(kTenDaysUs);
  time_.WaitForUpkeep();
  time_.Leap(-kTenDaysUs);
  time_.WaitForUpkeep();
  time_.Leap(kTenDaysUs);
  time_.WaitForUpkeep();
  time_.Pass(hours(1) - milliseconds(1));
  time_.WaitForUpkeep();
  EXPECT_EQ(Events(), 20u);
  EXPECT_THAT(Subscriptions(), ElementsAre("unused"));
  time_.Pass(milliseconds(1));
  WaitForEvents(10);
  EXPECT_THAT(Subscriptions(), IsEmpty());  // they are looked at before the events
}

TEST_F(ClockLeaps, AClockThatIsAheadAtTheStartRemovesNothingInItsFirstHour) {
  writer_->Append({10});
  writer_->Append({10});
  OpenConsumer(*store_, "unused");
  time_.Leap(kTenDaysUs);
  Reopen();
  time_.Pass(hours(1) - milliseconds(1));
  time_.WaitForUpkeep();
  time_.Leap(-kTenDaysUs);
  Reopen();
  time_.Pass(hours(1));
  time_.WaitForUpkeep();
  EXPECT_EQ(Events(), 20u);
  EXPECT_THAT(Subscriptions(), ElementsAre("unused"));
}

TEST_F(ClockLeaps, WhatIsStoredWhileTheClockIsBackIsNotTooOldAfterwards) {
  writer_->Append({10});
  time_.WaitForUpkeep();
  time_.Leap(-kTenDaysUs);
  OpenConsumer(*store_, "unused");
  writer_->Append({10});
  Reopen();
  writer_->Append({10});
  time_.Pass(hours(2));
  time_.Leap(kTenDaysUs);
  time_.Pass(hours(2));
  time_.WaitForUpkeep();
  writer_->Append({10});
  EXPECT_EQ(Events(), 40u);
  EXPECT_THAT(Subscriptions(), ElementsAre("unused"));
  // And their time comes: of all but the newest block.
  time_.Pass(hours(7 * 24) + milliseconds(1));
  WaitForEvents(10);
  EXPECT_THAT(Subscriptions(), IsEmpty());
}

TEST_F(ClockLeaps, RequeuedEventsComeInTheirTime) {
  const auto consumer = OpenConsumer(*store_);
  writer_->Append({3});
  TakeAll(*consumer);
  for (const int64_t us : {kTenDaysUs, -2 * kTenDaysUs, kTenDaysUs}) {
    ASSERT_TRUE(consumer->Requeue(DataOf(1)).ok());
    time_.Leap(us);
    EXPECT_THAT(TakeAll(*consumer), IsEmpty());
    Signal ready;
    consumer->NotifyWhenReady([&] { ready.Set(); });
    time_.Pass(seconds(60));
    ASSERT_TRUE(ready.Wait());
    EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(1));
  }
}

TEST_F(ClockLeaps, TheHardLimitHoldsWhateverTheClockSays) {
  options_.hard_limit_bytes = 1;
  Reopen();
  writer_->Append({10});
  time_.Leap(kTenDaysUs);
  writer_->Append({10});
  time_.Leap(-2 * kTenDaysUs);
  writer_->Append({10});
  WaitForEvents(10);
}

}  // namespace
}  // namespace pgc
