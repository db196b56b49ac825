// A randomized comparison of Delivery with a model that keeps one record for each event.
#include "store/delivery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Model {
 public:
  void Grow(size_t by) { events_.resize(events_.size() + by); }
  size_t end() const { return events_.size(); }

  void Restart() {
    for (Event& event : events_) {
      event.here = false;
      event.due.reset();
    }
  }
  // The event that comes next.
  std::optional<size_t> Next(Timer::Time now) const {
    std::optional<size_t> best;
    for (size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].due && *events_[i].due <= now &&
          (!best || *events_[i].due < *events_[*best].due)) {
        best = i;
      }
    }
    for (size_t i = 0; !best && i < events_.size(); ++i) {
      if (!events_[i].acked && !events_[i].here) best = i;
    }
    return best;
  }
  void HandOut(size_t i) { events_[i] = {events_[i].acked, true, true, events_[i].requeues, {}}; }
  bool Ack(size_t i) {
    if (i >= events_.size() || !Ever(i)) return false;
    events_[i].acked = true;
    events_[i].due.reset();
    return true;
  }
  bool Requeue(size_t i, Timer::Time now) {
    if (i >= events_.size() || !Ever(i)) return false;
    Event& event = events_[i];
    if (event.acked || !event.here || event.due) return true;
    event.due = now + seconds(std::min(1 << std::min(event.requeues, 10), 60));
    ++event.requeues;
    return true;
  }
  bool acked(size_t i) const { return events_[i].acked; }

 private:
  struct Event {
    bool acked = false;
    bool here = false;  // handed out to this consumer
    bool ever = false;  // to any
    int requeues = 0;
    std::optional<Timer::Time> due;
  };
  bool Ever(size_t i) const { return events_[i].ever || events_[i].acked; }

  std::vector<Event> events_;
};

class RandomRun {
 public:
  explicit RandomRun(uint32_t seed) : random_(seed) {}

  void Step() {
    switch (random_() % 10) {
      case 0:
        return model_.Grow(random_() % 30);
      case 1:
        now_ += milliseconds(random_() % 3'000);
        return;
      case 2:
        if (random_() % 8 != 0) return;
        model_.Restart();
        delivery_.Restart();
        return;
      case 3:
      case 4:
        return Requeue(Any());
      case 5:
        return AckSome();
      case 6:
        return Ack(Any());
      default:
        return Take();
    }
  }
  void CompareAcked() {
    for (size_t i = 0; i < model_.end(); ++i) {
      ASSERT_EQ(delivery_.acked().Contains(i), model_.acked(i)) << i;
    }
  }

 private:
  uint64_t Any() { return model_.end() == 0 ? 0 : random_() % (model_.end() + 2); }

  void Take() {
    const auto expected = model_.Next(now_);
    const auto next = delivery_.Next(now_, model_.end());
    ASSERT_EQ(next, expected ? std::optional<uint64_t>(*expected) : std::nullopt);
    if (!next) return;
    // Blocks of 16 events.
    const OrdinalRange block{.begin = *next / 16 * 16, .end = *next / 16 * 16 + 16};
    ASSERT_FALSE(delivery_.Take(now_, model_.end(), {.begin = block.end, .end = block.end + 16}));
    const auto taken = delivery_.Take(now_, model_.end(), block);
    ASSERT_TRUE(taken);
    ASSERT_EQ(taken->begin, *next);
    ASSERT_GT(taken->end, taken->begin);
    ASSERT_LE(taken->end, block.end);
    for (uint64_t i = taken->begin; i < taken->end; ++i) {
      ASSERT_FALSE(model_.acked(i));
      model_.HandOut(i);
    }
  }
  void Ack(uint64_t i) {
    ASSERT_EQ(delivery_.Ack({.begin = i, .end = i + 1}).ok(), model_.Ack(i)) << i;
  }
  void AckSome() {
    const uint64_t begin = Any();
    const uint64_t end = begin + random_() % 20;
    if (begin == end || !delivery_.Ack({.begin = begin, .end = end}).ok()) return;
    for (uint64_t i = begin; i < end; ++i) ASSERT_TRUE(model_.Ack(i)) << i;
  }
  void Requeue(uint64_t i) {
    ASSERT_EQ(delivery_.Requeue(i, now_).ok(), model_.Requeue(i, now_)) << i;
  }

  std::mt19937 random_;
  Timer::Time now_{seconds(1'000)};
  Model model_;
  Delivery delivery_{AckRanges(0), 0};
};

TEST(Delivery, AgreesWithAModelThatKeepsARecordOfEachEvent) {
  const uint32_t first = std::random_device()();
  for (uint32_t seed = first; seed != first + 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRun run(seed);
    for (int step = 0; step < 2'000; ++step) {
      run.Step();
      if (testing::Test::HasFatalFailure()) return;
    }
    run.CompareAcked();
  }
}

TEST(Delivery, AcksBeyondTheLimitOfRangesAreRefused) {
  const uint64_t end = 2 * Delivery::kMaxRanges + 10;
  Delivery delivery(AckRanges(0), end);
  for (uint64_t i = 0; i < Delivery::kMaxRanges; ++i) {
    ASSERT_TRUE(delivery.Ack({.begin = 2 * i + 1, .end = 2 * i + 2}).ok());
  }
  const absl::Status status = delivery.Ack({.begin = end - 1, .end = end});
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(delivery.Ack({.begin = 0, .end = 1}).ok());
  EXPECT_TRUE(delivery.Ack({.begin = end - 1, .end = end}).ok());
}

TEST(Delivery, WhatWasHandedOutBeforeComesAgainAlsoWhenPaused) {
  const uint64_t handed_out = 2 * Delivery::kPauseRanges + 2;
  Delivery delivery(AckRanges(0), handed_out);
  for (uint64_t i = 1; i < handed_out; i += 2) {
    ASSERT_TRUE(delivery.Ack({.begin = i, .end = i + 1}).ok());
  }
  ASSERT_TRUE(delivery.paused());
  const Timer::Time now{};
  const uint64_t end = handed_out + 5;
  for (uint64_t i = 0; i < handed_out; i += 2) {
    ASSERT_EQ(delivery.Take(now, end, {.begin = 0, .end = end}),
              (OrdinalRange{.begin = i, .end = i + 1}));
  }
  EXPECT_EQ(delivery.Next(now, end), std::nullopt);
}

}  // namespace
}  // namespace pgc
