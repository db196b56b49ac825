#include "store/store_clock.h"

#include <gtest/gtest.h>

#include <atomic>

#include "store/store_testing.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kHourUs = 3'600 * kSecondUs;
constexpr int64_t kDayUs = 24 * kHourUs;
constexpr int64_t kStartUs = 1'800'000'000 * kSecondUs;

class StoreClockTest : public testing::Test {
 protected:
  void Pass(int64_t us) {
    wall_us_ += us;
    time_.Advance(milliseconds(us / 1'000));
  }

  std::atomic<int64_t> wall_us_ = kStartUs;
  ManualTimer time_;
  StoreClock clock_{[this] { return wall_us_.load(); }, time_.timer()};
};

TEST_F(StoreClockTest, IsTheWallClockAsLongAsThatGoesOn) {
  for (const int64_t us : {int64_t{0}, kSecondUs, kHourUs, 30 * kDayUs, int64_t{1'000}}) {
    Pass(us);
    EXPECT_EQ(clock_.Stamp(), wall_us_);
    EXPECT_EQ(clock_.Believed(), wall_us_);
  }
}

TEST_F(StoreClockTest, ALeapAheadIsBelievedAfterAnHourAndStampedAtOnce) {
  clock_.Believed();
  wall_us_ += 10 * kDayUs;
  EXPECT_EQ(clock_.Believed(), kStartUs);
  EXPECT_EQ(clock_.Stamp(), kStartUs + 10 * kDayUs);
  Pass(kHourUs - 1'000);
  EXPECT_EQ(clock_.Believed(), kStartUs + kHourUs - 1'000);
  Pass(1'000);
  EXPECT_EQ(clock_.Believed(), wall_us_);
}

TEST_F(StoreClockTest, ALeapAheadThatIsTakenBackWasNone) {
  clock_.Believed();
  for (int i = 0; i < 3; ++i) {
    wall_us_ += 10 * kDayUs;
    EXPECT_LT(clock_.Believed(), kStartUs + 3 * kHourUs);
    Pass(kHourUs / 2);
    EXPECT_LT(clock_.Believed(), kStartUs + 3 * kHourUs);
    wall_us_ -= 10 * kDayUs;
    EXPECT_EQ(clock_.Believed(), wall_us_);
    Pass(kHourUs / 2);
    EXPECT_EQ(clock_.Believed(), wall_us_);
  }
}

TEST_F(StoreClockTest, SmallLeapsAreFollowedAtOnce) {
  clock_.Believed();
  wall_us_ += kHourUs;
  EXPECT_EQ(clock_.Believed(), wall_us_);
  wall_us_ -= 2 * kHourUs;
  EXPECT_EQ(clock_.Believed(), wall_us_);
}

TEST_F(StoreClockTest, StampsNeverGoBackAndAgesDoNotGrowByIt) {
  clock_.Believed();
  clock_.Stamp();
  wall_us_ -= 10 * kDayUs;
  EXPECT_EQ(clock_.Stamp(), kStartUs);
  EXPECT_EQ(clock_.Believed(), wall_us_);
  Pass(kHourUs);
  wall_us_ += 10 * kDayUs;
  EXPECT_EQ(clock_.Stamp(), kStartUs + kHourUs);
  EXPECT_LE(clock_.Believed(), clock_.Stamp());
}

TEST_F(StoreClockTest, GoesOnFromWhatIsStored) {
  clock_.GoOnFrom(kStartUs - 3 * kDayUs);
  EXPECT_EQ(clock_.Stamp(), kStartUs);
  EXPECT_EQ(clock_.Believed(), kStartUs - 3 * kDayUs) << "it may be wrong now";
  Pass(kHourUs);
  EXPECT_EQ(clock_.Believed(), wall_us_);
}

TEST_F(StoreClockTest, WhatIsStoredMayBeAheadOfTheClock) {
  clock_.GoOnFrom(kStartUs + 3 * kDayUs);
  EXPECT_EQ(clock_.Stamp(), kStartUs + 3 * kDayUs);
  EXPECT_EQ(clock_.Believed(), kStartUs);
  Pass(4 * kDayUs);
  EXPECT_EQ(clock_.Stamp(), wall_us_);
  EXPECT_EQ(clock_.Believed(), wall_us_);
}

}  // namespace
}  // namespace pgc
