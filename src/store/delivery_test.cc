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

// Each event takes so many bytes.
size_t BytesOf(uint64_t ordinal) { return 1 + ordinal * 7 % 50; }

Delivery::Portion Measure(OrdinalRange range, size_t max_bytes) {
  Delivery::Portion portion{.end = range.begin, .bytes = 0};
  while (portion.end < range.end && BytesOf(portion.end) <= max_bytes - portion.bytes) {
    portion.bytes += BytesOf(portion.end++);
  }
  return portion;
}

class Model {
 public:
  void Grow(size_t by) { events_.resize(events_.size() + by); }
  size_t end() const { return events_.size(); }
  size_t consumers() const { return consumers_.size(); }
  ConsumerId consumer(size_t i) const { return consumers_[i].id; }

  void Attach(ConsumerId id, Timer::Time now) {
    Consumer joined{.id = id, .behind = 0, .until = now + Delivery::kJoinDelay};
    for (size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].consumer != 0 && !events_[i].acked) joined.behind = i + 1;
    }
    consumers_.push_back(joined);
  }
  void Detach(ConsumerId id) {
    consumers_.erase(std::find_if(consumers_.begin(), consumers_.end(),
                                  [id](const Consumer& one) { return one.id == id; }));
    for (Event& event : events_) {
      if (event.consumer == id) {
        event.consumer = 0;
        event.due.reset();
      }
      if (consumers_.empty()) event.passed = false;
    }
  }
  void Seek(size_t to) {
    for (size_t i = 0; i < events_.size(); ++i) {
      Event moved;
      moved.acked = i < to;
      moved.ever = Ever(i);
      events_[i] = moved;
    }
    for (Consumer& one : consumers_) one.behind = 0;
  }
  // The event that comes next for a consumer.
  std::optional<size_t> Next(ConsumerId id, Timer::Time now) const {
    std::optional<size_t> best;
    for (size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].due && *events_[i].due <= now &&
          (!best || *events_[i].due < *events_[*best].due)) {
        best = i;
      }
    }
    for (size_t i = 0; !best && i < events_.size(); ++i) {
      if (!events_[i].acked && events_[i].consumer == 0 && events_[i].passed) best = i;
    }
    for (size_t i = 0; !best && !MustWait(id, now) && i < events_.size(); ++i) {
      if (!events_[i].acked && events_[i].consumer == 0) best = i;
    }
    return best;
  }
  // Whether nobody has it and nothing keeps it back.
  bool Available(size_t i, Timer::Time now) const {
    const Event& event = events_[i];
    return event.due ? *event.due <= now : !event.acked && event.consumer == 0;
  }
  void HandOut(size_t i, ConsumerId to) {
    events_[i].consumer = to;
    events_[i].since_seek = events_[i].ever = events_[i].passed = true;
    events_[i].due.reset();
  }
  bool Ack(size_t i) {
    if (i >= events_.size() || !Ever(i)) return false;
    if (!events_[i].since_seek) return true;
    events_[i].acked = true;
    events_[i].due.reset();
    return true;
  }
  bool Requeue(size_t i, ConsumerId by, Timer::Time now) {
    if (i >= events_.size() || !Ever(i)) return false;
    Event& event = events_[i];
    if (event.acked || event.consumer != by || event.due) return true;
    event.due = now + seconds(std::min(1 << std::min(event.requeues, 10), 60));
    ++event.requeues;
    return true;
  }
  bool acked(size_t i) const { return events_[i].acked; }
  // What the consumer has not acknowledged.
  size_t HeldBytes(ConsumerId id) const {
    size_t bytes = 0;
    for (size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].consumer == id && !events_[i].acked && !events_[i].due) bytes += BytesOf(i);
    }
    return bytes;
  }

 private:
  struct Event {
    bool acked = false;
    ConsumerId consumer = 0;  // that holds it, or has requeued it
    bool passed = false;      // handed out to one that is there, or given back
    bool since_seek = false;  // handed out to any
    bool ever = false;
    int requeues = 0;
    std::optional<Timer::Time> due;
  };
  struct Consumer {
    ConsumerId id = 0;
    size_t behind = 0;  // of what others held when it came
    Timer::Time until;
  };
  bool Ever(size_t i) const { return events_[i].ever || events_[i].acked; }
  // Whether one that was there before may still have what this one is to come after.
  bool MustWait(ConsumerId id, Timer::Time now) const {
    for (size_t at = 1; at < consumers_.size(); ++at) {
      const Consumer& one = consumers_[at];
      if (one.id != id || now >= one.until) continue;
      for (size_t i = 0; i < one.behind; ++i) {
        if (!events_[i].acked) return true;
      }
    }
    return false;
  }

  std::vector<Event> events_;
  std::vector<Consumer> consumers_;  // in the order in which they came
};

class RandomRun {
 public:
  RandomRun(uint32_t seed, size_t max_bytes) : random_(seed), max_bytes_(max_bytes) { Attach(); }

  void Step() {
    switch (random_() % 12) {
      case 0:
        return model_.Grow(random_() % 30);
      case 1:
        now_ += milliseconds(random_() % 3'000);
        return;
      case 2:
        return Rare();
      case 3:
      case 4:
        return Requeue(Any());
      case 5:
      case 6:
        return AckSome();
      case 7:
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
  ConsumerId AnyConsumer() { return model_.consumer(random_() % model_.consumers()); }

  void Attach() {
    model_.Attach(++last_id_, now_);
    delivery_.Attach(last_id_, max_bytes_, now_);
  }
  void Rare() {
    switch (random_() % 16) {
      case 0:
      case 1:
        if (model_.consumers() < 4) Attach();
        return;
      case 2: {
        const ConsumerId id = AnyConsumer();
        model_.Detach(id);
        delivery_.Detach(id);
        if (model_.consumers() == 0) Attach();
        return;
      }
      case 3: {
        if (random_() % 4 != 0) return;
        const uint64_t to = random_() % (model_.end() + 1);
        model_.Seek(to);
        delivery_.Seek(to);
        return;
      }
      default:
        return;
    }
  }
  void Take() {
    const ConsumerId id = AnyConsumer();
    const auto expected = model_.Next(id, now_);
    const auto next = delivery_.Next(id, now_, model_.end());
    if (!next && expected) {
      // It has as much as it may, or the next event was too much.
      ASSERT_NE(max_bytes_, SIZE_MAX);
      ASSERT_GT(delivery_.held_bytes(id), 0u);
      ASSERT_GT(model_.HeldBytes(id), 0u);
      return;
    }
    ASSERT_EQ(next, expected ? std::optional<uint64_t>(*expected) : std::nullopt);
    if (!next) return;
    // Blocks of 16 events.
    const OrdinalRange block{.begin = *next / 16 * 16, .end = *next / 16 * 16 + 16};
    ASSERT_FALSE(delivery_.Take(id, now_, model_.end(), {.begin = block.end, .end = block.end + 16},
                                Measure));
    const size_t held = delivery_.held_bytes(id);
    const auto taken = delivery_.Take(id, now_, model_.end(), block, Measure);
    if (!taken) {
      ASSERT_GT(held, 0u);
      ASSERT_GT(BytesOf(*next), max_bytes_ - held);
      return;
    }
    ASSERT_EQ(taken->begin, *next);
    ASSERT_GT(taken->end, taken->begin);
    ASSERT_LE(taken->end, block.end);
    size_t bytes = 0;
    for (uint64_t i = taken->begin; i < taken->end; ++i) {
      ASSERT_FALSE(model_.acked(i));
      ASSERT_TRUE(model_.Available(i, now_)) << i;
      model_.HandOut(i, id);
      bytes += BytesOf(i);
    }
    ASSERT_EQ(delivery_.held_bytes(id), held + bytes);
    if (held > 0) {
      ASSERT_LE(held + bytes, max_bytes_);
    }
  }
  void Ack(uint64_t i) {
    ASSERT_EQ(delivery_.Ack({.begin = i, .end = i + 1}).ok(), model_.Ack(i)) << i;
    CompareHeld();
  }
  void AckSome() {
    const uint64_t begin = Any();
    const uint64_t end = begin + random_() % 60;
    if (begin == end || !delivery_.Ack({.begin = begin, .end = end}).ok()) return;
    for (uint64_t i = begin; i < end; ++i) ASSERT_TRUE(model_.Ack(i)) << i;
    CompareHeld();
  }
  void Requeue(uint64_t i) {
    const ConsumerId id = AnyConsumer();
    ASSERT_EQ(delivery_.Requeue(id, i, now_).ok(), model_.Requeue(i, id, now_)) << i;
    CompareHeld();
  }
  // The bytes of what is left of a run are only about right, but none is none.
  void CompareHeld() {
    for (size_t i = 0; i < model_.consumers(); ++i) {
      const ConsumerId id = model_.consumer(i);
      ASSERT_EQ(delivery_.held_bytes(id) == 0, model_.HeldBytes(id) == 0);
    }
  }

  std::mt19937 random_;
  const size_t max_bytes_;
  ConsumerId last_id_ = 0;
  Timer::Time now_{seconds(1'000)};
  Model model_;
  Delivery delivery_{AckRanges(0), 0};
};

TEST(Delivery, AgreesWithAModelThatKeepsARecordOfEachEvent) {
  const uint32_t first = std::random_device()();
  for (uint32_t seed = first; seed != first + 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRun run(seed, seed % 2 == 0 ? SIZE_MAX : 1 + seed % 1'000);
    for (int step = 0; step < 1'500; ++step) {
      run.Step();
      if (testing::Test::HasFatalFailure()) return;
    }
    run.CompareAcked();
  }
}

TEST(Delivery, AConsumerThatNeverAcksGetsNoMoreThanItMayHold) {
  Delivery delivery(AckRanges(0), 0);
  delivery.Attach(1, 1'000, {});
  delivery.Attach(2, 1'000, {});
  const OrdinalRange block{.begin = 0, .end = 1'000};
  while (delivery.Take(1, {}, 1'000, block, Measure)) {
  }
  EXPECT_LE(delivery.held_bytes(1), 1'000u);
  EXPECT_GT(delivery.held_bytes(1), 950u);
  const auto next = delivery.Next(2, {}, 1'000);
  ASSERT_TRUE(next);
  ASSERT_TRUE(delivery.Take(2, {}, 1'000, block, Measure));
  delivery.TakeWakeUp();
  // Room is worth a call when it is worth a slice.
  ASSERT_TRUE(delivery.Ack({.begin = 0, .end = 1}).ok());
  EXPECT_FALSE(delivery.TakeWakeUp());
  EXPECT_FALSE(delivery.Next(1, {}, 1'000));
  ASSERT_TRUE(delivery.Ack({.begin = 0, .end = *next}).ok());
  EXPECT_TRUE(delivery.TakeWakeUp());
  EXPECT_EQ(delivery.held_bytes(1), 0u);
  EXPECT_TRUE(delivery.Next(1, {}, 1'000));
}

TEST(Delivery, AnEventThatIsLargerThanTheLimitComesAlone) {
  Delivery delivery(AckRanges(0), 0);
  delivery.Attach(1, 3, {});
  for (uint64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(delivery.Take(1, {}, 10, {.begin = 0, .end = 10}, Measure),
              (OrdinalRange{.begin = i, .end = i + 1}));
    EXPECT_EQ(delivery.Next(1, {}, 10), i == 0 ? std::optional<uint64_t>(1) : std::nullopt);
    EXPECT_EQ(delivery.Take(1, {}, 10, {.begin = 0, .end = 10}, Measure), std::nullopt);
    ASSERT_TRUE(delivery.Ack({.begin = i, .end = i + 1}).ok());
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
  delivery.Attach(1, SIZE_MAX, {});
  for (uint64_t i = 1; i < handed_out; i += 2) {
    ASSERT_TRUE(delivery.Ack({.begin = i, .end = i + 1}).ok());
  }
  ASSERT_TRUE(delivery.paused());
  const Timer::Time now{};
  const uint64_t end = handed_out + 5;
  for (uint64_t i = 0; i < handed_out; i += 2) {
    ASSERT_EQ(delivery.Take(1, now, end, {.begin = 0, .end = end}, Measure),
              (OrdinalRange{.begin = i, .end = i + 1}));
  }
  EXPECT_EQ(delivery.Next(1, now, end), std::nullopt);
}

}  // namespace
}  // namespace pgc
