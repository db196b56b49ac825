#include "gateway/dump_pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

namespace pgc {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""us;
using Duration = DumpPace::Duration;
using Time = DumpPace::Time;

// A consumer, the way to it and a gateway that always has rows, in a time of their own.
class Sim {
 public:
  struct Consumer {
    Duration way = 100us;  // to it, and back
    Duration each = 9us;   // row
    size_t row_bytes = 150;
    uint64_t rows_a_message = 1;
    uint64_t rows_an_answer = 1;  // 0: it never answers
    uint64_t rows_a_dump = 0;     // only the last of each is answered
  };
  explicit Sim(const Consumer& consumer) : consumer_(consumer) {}

  void Run(Duration time) {
    const Time until = now_ + time;
    while (now_ < until) {
      while (pace_.HasRoom(now_)) Send();
      // A session looks after an answer, and after a while.
      Time next = now_ + 20ms;
      if (!answers_.empty()) next = std::min(next, answers_.front().at);
      now_ = next;
      while (!answers_.empty() && answers_.front().at <= now_) {
        const Answer answer = answers_.front();
        answers_.pop_front();
        if (consumer_.rows_a_dump > 0) {
          pace_.AnsweredLast(answer.dump, now_);
        } else {
          pace_.Answered(answer.rows, now_);
        }
        taken_ += answer.rows;
      }
    }
  }
  // The consumer does nothing for so long.
  void Hang(Duration time) { free_at_ = std::max(free_at_, now_) + time; }
  void Change(const Consumer& consumer) { consumer_ = consumer; }

  // Answered since the last call, of what the consumer could do.
  double Share(Duration time) {
    const double could = std::chrono::duration<double>(time) / consumer_.each;
    const double share = static_cast<double>(taken_) / could;
    taken_ = 0;
    return share;
  }
  // How long something that is sent now waits for the rows before it.
  Duration Queue() const { return std::max(free_at_ - now_ - consumer_.way, Duration{0}); }
  // The longest that Queue would have said.
  Duration LongestQueue(Duration time) {
    Duration longest{0};
    for (const Time until = now_ + time; now_ < until; longest = std::max(longest, Queue())) {
      Run(1us);
    }
    return longest;
  }
  const DumpPace& pace() const { return pace_; }

 private:
  struct Answer {
    Time at;
    uint64_t rows = 0;
    uint32_t dump = 0;
  };

  void Send() {
    std::optional<uint32_t> ends;
    const uint64_t rows = consumer_.rows_a_message;
    if (consumer_.rows_a_dump > 0 && (sent_ + rows) / consumer_.rows_a_dump > dumps_) {
      ends = static_cast<uint32_t>(++dumps_);
    }
    sent_ += rows;
    pace_.Sent(rows, rows * consumer_.row_bytes, ends, now_);
    free_at_ = std::max(free_at_, now_ + consumer_.way) + consumer_.each * rows;
    open_ += rows;
    if (consumer_.rows_a_dump > 0
            ? ends.has_value()
            : consumer_.rows_an_answer > 0 && open_ >= consumer_.rows_an_answer) {
      answers_.push_back({.at = free_at_ + consumer_.way, .rows = open_, .dump = ends.value_or(0)});
      open_ = 0;
    }
  }

  Consumer consumer_;
  DumpPace pace_;
  Time now_{1h};
  Time free_at_;
  uint64_t sent_ = 0;
  uint64_t open_ = 0;
  uint64_t dumps_ = 0;
  uint64_t taken_ = 0;
  std::deque<Answer> answers_;
};

TEST(DumpPace, AConsumerAtItsLimitHasAShortQueueAndNeverNothingToDo) {
  Sim sim({});
  sim.Run(500ms);
  sim.Share(500ms);
  EXPECT_LT(sim.LongestQueue(3s), 2 * DumpPace::kMostQueue);
  EXPECT_GT(sim.Share(3s), 0.98);
}

TEST(DumpPace, SoHasOneThatTakesManyRowsAMessage) {
  Sim sim({.each = 1us, .rows_a_message = 400, .rows_an_answer = 400});
  sim.Run(500ms);
  sim.Share(500ms);
  EXPECT_LT(sim.LongestQueue(3s), 2 * DumpPace::kMostQueue);
  EXPECT_GT(sim.Share(3s), 0.98);
}

TEST(DumpPace, AConsumerFarAwayIsNotHeldBack) {
  Sim sim({.way = 40ms});
  sim.Run(10s);
  sim.Share(10s);
  sim.Run(20s);
  EXPECT_GT(sim.Share(20s), 0.9);
  EXPECT_LT(sim.Queue(), 10ms);
}

TEST(DumpPace, AConsumerThatAnswersForManyAtOnceIsSentThatMany) {
  Sim sim({.rows_an_answer = 10'000});
  sim.Run(1s);
  sim.Share(1s);
  sim.Run(30s);
  EXPECT_GT(sim.Share(30s), 0.9);
}

TEST(DumpPace, SoIsOneThatAnswersOnceASecond) {
  Sim sim({.rows_an_answer = 111'111});
  sim.Run(5s);
  sim.Share(5s);
  sim.Run(30s);
  EXPECT_GT(sim.Share(30s), 0.9);
}

TEST(DumpPace, AConsumerThatAnswersForTheLastRowsOnlyIsSentWholeDumps) {
  Sim sim({.rows_a_dump = 7'000});
  sim.Run(1s);
  sim.Share(1s);
  sim.Run(30s);
  EXPECT_GT(sim.Share(30s), 0.9);
}

TEST(DumpPace, AConsumerThatNeverAnswersIsSentMoreAndMore) {
  Sim sim({.rows_an_answer = 0});
  sim.Run(2s);
  EXPECT_GT(sim.pace().in_flight(), size_t{32} << 20);
}

TEST(DumpPace, ASlowConsumerThatAnswersForEachRowGetsNoLongQueue) {
  Sim sim({.each = 100ms});
  sim.Run(60s);
  EXPECT_LE(sim.pace().in_flight(), 2 * DumpPace::kFirstWindow);
  sim.Run(60s);
  EXPECT_LE(sim.pace().in_flight(), 2 * DumpPace::kLeastWindow);
}

TEST(DumpPace, AfterAConsumerHungForAWhileItsQueueIsShortAgain) {
  Sim sim({});
  sim.Run(1s);
  sim.Hang(300ms);
  sim.Run(15s);
  EXPECT_LT(sim.LongestQueue(3s), 2 * DumpPace::kMostQueue);
}

TEST(DumpPace, AConsumerThatBecomesSlowerIsSentLess) {
  Sim sim({.each = 1us});
  sim.Run(1s);
  sim.Change({.each = 50us});
  sim.Run(1s);
  EXPECT_LT(sim.LongestQueue(3s), 3 * DumpPace::kMostQueue);
}

TEST(DumpPace, AnAnswerForWhatWasNotSentChangesNothing) {
  DumpPace pace;
  const Time now{1h};
  pace.Answered(7, now);
  pace.AnsweredLast(7, now);
  EXPECT_TRUE(pace.HasRoom(now));
  pace.Sent(1, 100, 7, now);
  pace.Answered(2, now);
  EXPECT_EQ(pace.in_flight(), 0u);
}

}  // namespace
}  // namespace pgc
