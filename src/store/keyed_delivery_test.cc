#include "store/keyed_delivery.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace pgc {
namespace {

using Item = KeyedDelivery::Item;
using std::chrono::seconds;

constexpr size_t kPlenty = 1 << 30;

// A log of events and what reads it; a slot for each key, so that keys are what is tested.
class Log {
 public:
  explicit Log(uint32_t slots = 16, size_t max_open = 1000)
      : delivery(AckRanges(), slots, max_open) {}

  uint64_t Keyed(uint32_t key) { return Moving(key, key); }
  uint64_t Moving(uint32_t before, uint32_t key) {
    return Add({.ordinal = items.size(),
                .kind = Item::Kind::kKeyed,
                .key = {.hash = key, .before = before},
                .bytes = 1});
  }
  uint64_t Barrier() {
    return Add({.ordinal = items.size(), .kind = Item::Kind::kBarrier, .key = {}, .bytes = 1});
  }
  uint64_t Free() {
    return Add({.ordinal = items.size(), .kind = Item::Kind::kFree, .key = {}, .bytes = 1});
  }

  void DispatchAll() {
    while (const auto next = delivery.Wanted(items.size())) delivery.Dispatch(items[*next]);
  }
  // All that `consumer` gets now.
  std::vector<uint64_t> Take(KeyedDelivery::ConsumerId consumer) {
    DispatchAll();
    std::vector<uint64_t> taken;
    while (const auto range = delivery.Take(consumer, now, {.begin = 0, .end = items.size()})) {
      for (uint64_t i = range->begin; i < range->end; ++i) taken.push_back(i);
    }
    return taken;
  }
  void Ack(uint64_t ordinal) {
    const absl::Status status = delivery.Ack({.begin = ordinal, .end = ordinal + 1});
    EXPECT_TRUE(status.ok()) << status;
  }

  std::vector<Item> items;
  KeyedDelivery delivery;
  Timer::Time now;

 private:
  uint64_t Add(Item item) {
    items.push_back(item);
    return item.ordinal;
  }
};

using Ordinals = std::vector<uint64_t>;

TEST(KeyedDelivery, OneConsumerGetsAllInOrder) {
  Log log;
  log.delivery.Join(1, kPlenty);
  log.Free();
  log.Keyed(3);
  log.Keyed(5);
  log.Keyed(3);
  EXPECT_EQ(log.Take(1), (Ordinals{0, 1, 2, 3}));
}

TEST(KeyedDelivery, AKeyMovesToANewConsumerOnceTheOldOneHasAcknowledgedIt) {
  Log log(2);
  log.delivery.Join(1, kPlenty);
  log.Keyed(0);
  log.Keyed(1);
  EXPECT_EQ(log.Take(1), (Ordinals{0, 1}));
  log.delivery.Join(2, kPlenty);
  log.Keyed(0);
  log.Keyed(1);
  const Ordinals first = log.Take(1);
  ASSERT_EQ(first.size(), 1u) << "one of the keys is kept";
  EXPECT_EQ(log.Take(2), Ordinals()) << "a join causes no redelivery, and no overtaking";
  const uint64_t moved = 2 + (1 - (first[0] - 2));
  log.Ack(moved - 2);
  EXPECT_EQ(log.Take(2), (Ordinals{moved}));
}

TEST(KeyedDelivery, WhatAConsumerLeavesGoesToTheOthersBeforeAnythingNewer) {
  Log log(2);
  log.delivery.Join(1, kPlenty);
  log.delivery.Join(2, kPlenty);
  for (int i = 0; i < 3; ++i) log.Keyed(0);
  log.Keyed(1);
  const bool first_has_0 = log.Take(1) == (Ordinals{0, 1, 2});
  (void)log.Take(2);
  log.Ack(1);
  log.delivery.Leave(first_has_0 ? 1 : 2);
  log.Keyed(0);
  EXPECT_EQ(log.Take(first_has_0 ? 2 : 1), (Ordinals{0, 2, 4}));
}

TEST(KeyedDelivery, ARowThatMovesWaitsForItsOldKeyAndHoldsBackBoth) {
  Log log(2);
  log.delivery.Join(1, kPlenty);
  log.delivery.Join(2, kPlenty);
  log.Keyed(0);
  log.Moving(0, 1);
  log.Keyed(1);
  log.Keyed(0);
  const auto owner_of_0 = log.Take(1) == (Ordinals{0}) ? 1 : 2;
  const auto owner_of_1 = 3 - owner_of_0;
  if (owner_of_0 == 2) {
    EXPECT_EQ(log.Take(2), (Ordinals{0}));
  }
  EXPECT_EQ(log.Take(owner_of_1), Ordinals()) << "the old key is not acknowledged";
  log.Ack(0);
  EXPECT_EQ(log.Take(owner_of_1), (Ordinals{1, 2}));
  EXPECT_EQ(log.Take(owner_of_0), Ordinals()) << "the old key again, before the row has left it";
  log.Ack(1);
  EXPECT_EQ(log.Take(owner_of_0), (Ordinals{3}));
}

TEST(KeyedDelivery, ABarrierWaitsForAllBeforeItAndHoldsBackAllAfterIt) {
  Log log;
  log.delivery.Join(1, kPlenty);
  log.Keyed(0);
  log.Barrier();
  log.Keyed(1);
  EXPECT_EQ(log.Take(1), (Ordinals{0}));
  log.Ack(0);
  EXPECT_EQ(log.Take(1), (Ordinals{1}));
  log.Ack(1);
  EXPECT_EQ(log.Take(1), (Ordinals{2}));
}

TEST(KeyedDelivery, ARequeuedEventComesAgainLaterToTheSameConsumer) {
  Log log;
  log.delivery.Join(1, kPlenty);
  log.Keyed(0);
  EXPECT_EQ(log.Take(1), (Ordinals{0}));
  for (const int delay : {1, 2, 4}) {
    ASSERT_TRUE(log.delivery.Requeue(0, log.now).ok());
    EXPECT_EQ(log.delivery.NextDue(1), log.now + seconds(delay));
    EXPECT_EQ(log.Take(1), Ordinals());
    log.now += seconds(delay);
    EXPECT_EQ(log.Take(1), (Ordinals{0}));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(log.delivery.Requeue(1, log.now)));
}

TEST(KeyedDelivery, NothingIsLostWhenTheLastConsumerGoes) {
  Log log;
  log.delivery.Join(1, kPlenty);
  for (int i = 0; i < 4; ++i) log.Keyed(static_cast<uint32_t>(i));
  EXPECT_EQ(log.Take(1).size(), 4u);
  log.Ack(2);
  log.delivery.Leave(1);
  EXPECT_EQ(log.delivery.Wanted(4), std::nullopt);
  log.delivery.Join(2, kPlenty);
  EXPECT_EQ(log.Take(2), (Ordinals{0, 1, 3}));
}

TEST(KeyedDelivery, IsBoundedByEventsAndByBytesInFlight) {
  Log log(16, 10);
  log.delivery.Join(1, 3);
  for (int i = 0; i < 20; ++i) log.Keyed(static_cast<uint32_t>(i));
  EXPECT_EQ(log.Take(1), (Ordinals{0, 1, 2}));
  EXPECT_EQ(log.delivery.Wanted(20), std::nullopt) << "10 are dispatched";
  log.Ack(1);
  EXPECT_EQ(log.Take(1), (Ordinals{3}));
}

// Random consumers, keys and acknowledgements, held to the promises of the class.
class Model {
 public:
  explicit Model(uint32_t seed) : random_(seed), log_(kKeys, 40) {}

  void Run() {
    for (int step = 0; step < 3000 && !testing::Test::HasFatalFailure(); ++step) Step();
    // To the end: everybody acknowledges everything.
    if (held_.empty()) Join();
    for (int round = 0; round < 10'000 && !testing::Test::HasFatalFailure(); ++round) {
      log_.now += seconds(60);
      for (const auto& [id, events] : std::map(held_)) Deliver(id);
      for (const auto& [id, events] : std::map(held_)) {
        for (const uint64_t ordinal : events) Ack(id, ordinal);
      }
      if (log_.delivery.acked().low() == log_.items.size()) return;
    }
    FAIL() << "stuck at " << log_.delivery.acked().low() << " of " << log_.items.size();
  }

 private:
  static constexpr uint32_t kKeys = 6;
  uint32_t Pick(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  void Step() {
    switch (Pick(12)) {
      case 0:
        if (held_.size() < 4) Join();
        break;
      case 1:
        if (Pick(3) == 0 && !held_.empty()) Leave(AnyConsumer());
        break;
      case 2:
        log_.Moving(Pick(kKeys), Pick(kKeys));
        break;
      case 3:
        if (Pick(6) == 0) log_.Barrier();
        break;
      case 4:
        log_.Free();
        break;
      case 5:
      case 6:
        log_.Keyed(Pick(kKeys));
        break;
      case 7:
      case 8:
        if (!held_.empty()) Deliver(AnyConsumer());
        break;
      default:
        if (!held_.empty()) AckOrRequeue(AnyConsumer());
    }
  }

  KeyedDelivery::ConsumerId AnyConsumer() {
    auto at = held_.begin();
    std::advance(at, Pick(static_cast<uint32_t>(held_.size())));
    return at->first;
  }
  void Join() {
    held_[++last_id_];
    log_.delivery.Join(last_id_, 1 + Pick(20));
  }
  void Leave(KeyedDelivery::ConsumerId id) {
    log_.delivery.Leave(id);
    for (const uint64_t ordinal : held_[id]) given_back_.insert(ordinal);
    held_.erase(id);
  }

  void Deliver(KeyedDelivery::ConsumerId id) {
    for (const uint64_t ordinal : log_.Take(id)) {
      for (const auto& [other, events] : held_) {
        if (other == id) continue;
        ASSERT_FALSE(events.contains(ordinal)) << ordinal << " is handed out twice";
      }
      ASSERT_FALSE(acked_.contains(ordinal)) << ordinal << " is acknowledged";
      const bool again = requeued_.erase(ordinal) + given_back_.erase(ordinal) > 0;
      ASSERT_TRUE(again || !seen_.contains(ordinal)) << ordinal << " again, and nobody asked";
      seen_.insert(ordinal);
      // What was requeued lost its place by that.
      if (!ever_requeued_.contains(ordinal)) CheckOrder(id, ordinal);
      held_[id].insert(ordinal);
    }
  }

  bool Holds(KeyedDelivery::ConsumerId id, uint64_t ordinal) { return held_[id].contains(ordinal); }

  void CheckOrder(KeyedDelivery::ConsumerId id, uint64_t ordinal) {
    const Item& item = log_.items[ordinal];
    if (item.kind == Item::Kind::kFree) return;
    for (uint64_t i = 0; i < log_.items.size(); ++i) {
      const Item& other = log_.items[i];
      if (i == ordinal || other.kind == Item::Kind::kFree) continue;
      const bool barrier = item.kind == Item::Kind::kBarrier || other.kind == Item::Kind::kBarrier;
      const bool done = acked_.contains(i);
      if (i > ordinal) {
        // Nothing newer of its key is out, anywhere, unless it was taken back from someone.
        if (done || given_back_.contains(i) || !seen_.contains(i)) continue;
        ASSERT_FALSE(barrier) << i << " overtook " << ordinal;
        ASSERT_FALSE(item.key.hash == other.key.hash) << i << " overtook " << ordinal;
        continue;
      }
      if (barrier) {
        ASSERT_TRUE(done) << ordinal << " came before " << i << " was acknowledged";
        continue;
      }
      if (other.key.hash == item.key.hash) {
        ASSERT_TRUE(done || Holds(id, i)) << ordinal << " came elsewhere than " << i;
      }
      if (item.key.moved() && other.key.hash == item.key.before) {
        ASSERT_TRUE(done) << ordinal << " left a key with " << i << " unacknowledged";
      }
      if (other.key.moved() && other.key.before == item.key.hash) {
        ASSERT_TRUE(done || other.key.hash == item.key.hash)
            << ordinal << " came before the row of " << i << " had left";
      }
    }
  }

  void AckOrRequeue(KeyedDelivery::ConsumerId id) {
    auto& events = held_[id];
    if (events.empty()) return;
    auto at = events.begin();
    std::advance(at, Pick(static_cast<uint32_t>(events.size())));
    const uint64_t ordinal = *at;
    if (Pick(10) == 0) {
      ASSERT_TRUE(log_.delivery.Requeue(ordinal, log_.now).ok());
      requeued_.insert(ordinal);
      ever_requeued_.insert(ordinal);
      log_.now += seconds(Pick(3));
    } else {
      Ack(id, ordinal);
    }
  }
  void Ack(KeyedDelivery::ConsumerId id, uint64_t ordinal) {
    log_.Ack(ordinal);
    held_[id].erase(ordinal);
    acked_.insert(ordinal);
    requeued_.erase(ordinal);
  }

  std::mt19937 random_;
  Log log_;
  KeyedDelivery::ConsumerId last_id_ = 0;
  std::map<KeyedDelivery::ConsumerId, std::set<uint64_t>> held_;
  std::set<uint64_t> seen_, acked_, requeued_, ever_requeued_, given_back_;
};

TEST(KeyedDelivery, RandomConsumersNeverSeeAKeyOutOfOrder) {
  const uint32_t seed = std::random_device()();
  for (uint32_t i = 0; i < 40; ++i) {
    SCOPED_TRACE(fmt::format("seed {}", seed + i));
    Model(seed + i).Run();
    if (testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace pgc
