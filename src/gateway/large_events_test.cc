#include "gateway/large_events.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace pgc {
namespace {

using std::chrono::milliseconds;

const Checkpoint kEvent{.lsn = Lsn{0x1000}, .seq = 1};

class LargeEventsTest : public testing::Test {
 protected:
  milliseconds Refused() { return events_.RefusedFor("a", kEvent, now_); }

  LargeEvents events_;
  LargeEvents::Time now_ = std::chrono::steady_clock::now();
};

TEST_F(LargeEventsTest, AnEventIsRefusedOnlyOnceTwoStreamsBrokeAtIt) {
  EXPECT_EQ(Refused(), milliseconds(0));
  events_.Broke("a", kEvent);
  EXPECT_EQ(Refused(), milliseconds(0));
  events_.Broke("a", kEvent);
  EXPECT_EQ(Refused(), milliseconds(1'000));
}

TEST_F(LargeEventsTest, ItIsSentAgainAfterADelayThatDoublesUpToAMinute) {
  events_.Broke("a", kEvent);
  events_.Broke("a", kEvent);
  for (const int delay_s : {1, 2, 4, 8, 16, 32, 60, 60}) {
    EXPECT_EQ(Refused(), milliseconds(1'000 * delay_s));
    now_ += milliseconds(1'000 * delay_s - 1);
    EXPECT_EQ(Refused(), milliseconds(1)) << "asking does not make it longer";
    now_ += milliseconds(1);
    EXPECT_EQ(Refused(), milliseconds(0));
    events_.Broke("a", kEvent);
  }
}

TEST_F(LargeEventsTest, WhatPassedIsForgotten) {
  events_.Broke("a", kEvent);
  events_.Broke("a", kEvent);
  EXPECT_GT(Refused(), milliseconds(0));
  events_.Passed("a", kEvent);
  EXPECT_EQ(Refused(), milliseconds(0));
  events_.Broke("a", kEvent);
  EXPECT_EQ(Refused(), milliseconds(0));
}

TEST_F(LargeEventsTest, OtherSubscriptionsAndOtherEventsAreTheirOwn) {
  events_.Broke("a", kEvent);
  events_.Broke("a", kEvent);
  EXPECT_EQ(events_.RefusedFor("b", kEvent, now_), milliseconds(0));
  EXPECT_EQ(events_.RefusedFor("a", {.lsn = kEvent.lsn, .seq = 2}, now_), milliseconds(0));
}

TEST_F(LargeEventsTest, RemembersABoundedNumberAndTheNewestAmongThem) {
  for (size_t i = 0; i < 2 * LargeEvents::kMaxEvents; ++i) {
    const std::string uri = fmt::format("{:08}", i);
    events_.Broke(uri, kEvent);
    events_.Broke(uri, kEvent);
    ASSERT_GT(events_.RefusedFor(uri, kEvent, now_), milliseconds(0));
  }
  EXPECT_EQ(events_.RefusedFor("00000000", kEvent, now_), milliseconds(0));
}

}  // namespace
}  // namespace pgc
