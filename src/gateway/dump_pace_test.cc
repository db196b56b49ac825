#include "gateway/dump_pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

namespace pgc {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Duration = DumpPace::Duration;
using Time = DumpPace::Time;

// A consumer at the end of a wire, which takes its time for each row. Time is made up.
struct Consumer {
  Duration per_row = microseconds(10);
  Duration way = microseconds(100);  // to it, and the same back
  uint64_t rows_per_ack = 1;         // it acknowledges so many at once
};

struct Sent {
  uint64_t acknowledged = 0;
  Duration longest_queue{0};  // from leaving to having been worked on, without the way
};

// Messages of so many rows, as fast as the pace lets them go; what it was like behind `settles`.
Sent Simulate(DumpPace& pace, const Consumer& consumer, Duration settles, Duration most,
              uint64_t rows_per_message = 1) {
  constexpr Duration kStep = microseconds(50);
  Sent sent;
  Time now{hours(1)};
  const Time begin = now;
  Time free = now;  // when the consumer has done all
  uint64_t unacknowledged = 0;
  std::deque<std::pair<Time, uint64_t>> acks;
  while (now - begin < most) {
    for (; !acks.empty() && acks.front().first <= now; acks.pop_front()) {
      pace.Answered(acks.front().second, now);
      if (now - begin >= settles) sent.acknowledged += acks.front().second;
    }
    while (pace.HasRoomAt(now)) {
      pace.Sent(rows_per_message, std::nullopt, now);
      if (now - begin >= settles) {
        sent.longest_queue = std::max(sent.longest_queue, free - now - consumer.way);
      }
      for (uint64_t i = 0; i < rows_per_message; ++i) {
        free = std::max(free, now + consumer.way) + consumer.per_row;
        if (++unacknowledged < consumer.rows_per_ack) continue;
        acks.emplace_back(free + consumer.way, std::exchange(unacknowledged, 0));
      }
    }
    now += kStep;
  }
  return sent;
}

double Speed(const Sent& sent, Duration time) {
  return static_cast<double>(sent.acknowledged) / std::chrono::duration<double>(time).count();
}

TEST(DumpPace, AConsumerAtItsLimitHasLittleAheadOfAChangeAndIsNeverIdle) {
  for (const Duration per_row :
       {microseconds(1), microseconds(10), microseconds(100), microseconds(1'000)}) {
    DumpPace pace;
    const Sent sent = Simulate(pace, {.per_row = per_row}, seconds(2), seconds(4));
    EXPECT_LE(sent.longest_queue, 2 * DumpPace::kMostQueue) << per_row.count();
    EXPECT_GE(Speed(sent, seconds(2)), 0.95 / std::chrono::duration<double>(per_row).count())
        << per_row.count();
  }
}

TEST(DumpPace, SoItIsWithMessagesOfManyRows) {
  DumpPace pace(DumpPace::kMostQueueBatched);
  const Sent sent = Simulate(pace, {.per_row = microseconds(1)}, seconds(2), seconds(4), 600);
  EXPECT_LE(sent.longest_queue, 2 * DumpPace::kMostQueueBatched);
  EXPECT_GE(Speed(sent, seconds(2)), 950'000);
}

TEST(DumpPace, AConsumerFarAwayIsNotKeptWaitingForMostOfTheTime) {
  DumpPace pace;
  const Sent sent = Simulate(pace, {.per_row = microseconds(10), .way = milliseconds(50)},
                             seconds(10), seconds(20));
  EXPECT_GE(Speed(sent, seconds(10)), 40'000);
}

TEST(DumpPace, AConsumerThatAcknowledgesManyAtOnceIsNotHeldUpAndHasFewMoreAheadThanThat) {
  for (const uint64_t rows : {100U, 10'000U}) {
    DumpPace pace;
    const Sent sent = Simulate(pace, {.per_row = microseconds(10), .rows_per_ack = rows},
                               seconds(5), seconds(10));
    EXPECT_GE(Speed(sent, seconds(5)), 90'000) << rows;
    EXPECT_LE(pace.bound_rows(), std::max<uint64_t>(4 * rows, 2'000)) << rows;
  }
}

TEST(DumpPace, ASlowConsumerHasAFewRowsAhead) {
  DumpPace pace;
  const Sent sent = Simulate(pace, {.per_row = milliseconds(200)}, seconds(600), seconds(1'200));
  EXPECT_LE(pace.bound_rows(), 8U);
  EXPECT_GE(Speed(sent, seconds(600)), 4.9);
}

TEST(DumpPace, WithoutAnyAnswerItGoesOnMoreAndMore) {
  DumpPace pace;
  Time now{};
  uint64_t sent = 0;
  for (int i = 0; i < 2'000; ++i, now += milliseconds(1)) {
    while (pace.HasRoomAt(now) && sent < 100'000) {
      pace.Sent(1, std::nullopt, now);
      ++sent;
    }
  }
  EXPECT_EQ(sent, 100'000U);
}

TEST(DumpPace, OnceThereIsNoRoomThereIsNoneBeforeAQuarterOfItIsFree) {
  DumpPace pace;
  const Time now{};
  for (uint64_t i = 0; i < DumpPace::kFirstRows; ++i) {
    ASSERT_TRUE(pace.HasRoom());
    pace.Sent(1, std::nullopt, now);
  }
  EXPECT_FALSE(pace.HasRoom());
  pace.Answered(DumpPace::kFirstRows / 4 - 1, now);
  EXPECT_FALSE(pace.HasRoom());
  pace.Answered(1, now);
  EXPECT_TRUE(pace.HasRoom());
}

TEST(DumpPace, TheAnswerToTheLastRowOfADumpIsOneToAllBeforeIt) {
  DumpPace pace;
  const Time now{};
  pace.Sent(DumpPace::kFirstRows - 1, 7, now);
  pace.Sent(1, 8, now);
  EXPECT_FALSE(pace.HasRoom());
  pace.AnsweredLast(9, now);
  EXPECT_FALSE(pace.HasRoom());
  pace.AnsweredLast(7, now);
  EXPECT_TRUE(pace.HasRoom());
  // What is answered late says nothing any more.
  pace.Answered(DumpPace::kFirstRows, now);
  pace.AnsweredLast(8, now);
  EXPECT_TRUE(pace.HasRoom());
}

TEST(DumpPace, RowsThatWillNotBeAnsweredTakeNoRoom) {
  DumpPace pace;
  pace.Sent(10 * DumpPace::kFirstRows, 7, Time{});
  EXPECT_FALSE(pace.HasRoom());
  pace.Forget();
  EXPECT_TRUE(pace.HasRoom());
}

}  // namespace
}  // namespace pgc
