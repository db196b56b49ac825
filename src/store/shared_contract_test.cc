// What every EventStore promises to consumers that share a subscription.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "store/delivery.h"
#include "store/store_contract.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

// --- several consumers

TEST_P(Contract, EachEventGoesToOneConsumer) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  auto two = OpenConsumer(*store_);
  writer.Append({3});
  EXPECT_EQ(Ordinals(TakeAll(*one)), UpTo(0, 3));
  EXPECT_THAT(TakeAll(*two), IsEmpty());
  writer.Append({3});
  EXPECT_EQ(Ordinals(TakeAll(*two)), UpTo(3, 6));
  EXPECT_THAT(TakeAll(*one), IsEmpty());
}

TEST_P(Contract, AConsumerKnowsWhatOthersWereHanded) {
  using Rest = StreamProgress::Rest;
  const auto others = [](EventConsumer& consumer) {
    const auto newest = consumer.HandedToOthers();
    EXPECT_TRUE(newest.ok()) << newest.status();
    return newest.value_or(Checkpoint{});
  };
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  writer.Append({2, 2});
  const Checkpoint fourth = one->progress().end;
  EXPECT_EQ(fourth.seq, 1U);
  EXPECT_EQ(one->progress().rest, Rest::kMore);
  TakeAll(*one);
  EXPECT_EQ(one->progress().rest, Rest::kNone);
  EXPECT_EQ(others(*one), Checkpoint{});
  auto two = OpenConsumer(*store_);
  EXPECT_EQ(others(*two), fourth);
  time_.Advance(Delivery::kJoinDelay);
  writer.Append({3});
  const Checkpoint seventh = two->progress().end;
  EXPECT_GT(seventh, fourth);
  TakeAll(*two);
  EXPECT_EQ(others(*two), fourth);
  EXPECT_EQ(others(*one), seventh);
  // One that comes later may have been one of them before.
  two = nullptr;
  one = nullptr;
  two = OpenConsumer(*store_);
  EXPECT_EQ(others(*two), seventh);
  ASSERT_TRUE(store_->Seek("topic", "s", FromBeginning{}).ok());
  EXPECT_EQ(two->progress().rest, Rest::kMore);
  EXPECT_EQ(others(*two), Checkpoint{});
  const auto reader = two->OpenReader(FromAfter{.checkpoint = {}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->position(), 0u);
}

TEST_P(Contract, OneOfSeveralConsumersTakesAModestSliceAtATime) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  writer.Append({10'000});
  const auto all = one->TryNext();
  ASSERT_TRUE(all.ok() && *all);
  EXPECT_EQ((*all)->end, 10'000u);
  auto two = OpenConsumer(*store_);
  time_.Advance(Delivery::kJoinDelay);
  writer.Append({10'000});
  uint64_t next = 10'000;
  for (int i = 0; next < 20'000; ++i) {
    const auto slice = (i % 2 == 0 ? one : two)->TryNext();
    ASSERT_TRUE(slice.ok() && *slice);
    EXPECT_EQ((*slice)->ordinal, next);
    EXPECT_LT((*slice)->end - (*slice)->begin, 4'000u);
    next += (*slice)->end - (*slice)->begin;
  }
}

TEST_P(Contract, WhatAConsumerLeftGoesToTheOthersInOrderBeforeAnythingNewer) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  auto two = OpenConsumer(*store_);
  writer.Append({4});
  EXPECT_EQ(Ordinals(TakeAll(*one)), UpTo(0, 4));
  writer.Append({4});
  EXPECT_EQ(Ordinals(TakeAll(*two)), UpTo(4, 8));
  writer.Append({4});
  EXPECT_EQ(Ordinals(TakeAll(*one)), UpTo(8, 12));
  ASSERT_TRUE(one->Ack(DataOf(1)).ok());
  ASSERT_TRUE(one->Requeue(DataOf(9)).ok());
  writer.Append({1});
  Signal ready;
  one = nullptr;
  two->NotifyWhenReady([&] { ready.Set(); });
  ASSERT_TRUE(ready.Wait());
  EXPECT_THAT(Ordinals(TakeAll(*two)), ElementsAre(0, 2, 3, 8, 9, 10, 11, 12));
}

TEST_P(Contract, WhatAConsumerLeftComesFirstAlsoToOneThatCameBeforeItWasGone) {
  TestWriter writer(*store_);
  auto gone = OpenConsumer(*store_);
  writer.Append({4});
  TakeAll(*gone);
  ASSERT_TRUE(gone->Ack(DataOf(1)).ok());
  auto back = OpenConsumer(*store_);
  writer.Append({2});
  EXPECT_THAT(TakeAll(*back), IsEmpty());
  Signal ready;
  back->NotifyWhenReady([&] { ready.Set(); });
  EXPECT_EQ(ready.count(), 0);
  gone = nullptr;
  ASSERT_TRUE(ready.Wait());
  EXPECT_THAT(Ordinals(TakeAll(*back)), ElementsAre(0, 2, 3, 4, 5));
}

TEST_P(Contract, AConsumerThatJoinsGoesOnOnceWhatTheOthersHeldIsAcknowledged) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  writer.Append({4});
  TakeAll(*one);
  ASSERT_TRUE(one->Requeue(DataOf(3)).ok());
  auto two = OpenConsumer(*store_);
  writer.Append({4});
  for (const uint64_t ordinal : {2, 0, 1}) {
    EXPECT_THAT(TakeAll(*two), IsEmpty());
    ASSERT_TRUE(one->Ack(DataOf(ordinal)).ok());
  }
  EXPECT_THAT(TakeAll(*two), IsEmpty()) << "one is requeued";
  Signal ready;
  two->NotifyWhenReady([&] { ready.Set(); });
  EXPECT_EQ(ready.count(), 0);
  ASSERT_TRUE(one->Ack(DataOf(3)).ok());
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(Ordinals(TakeAll(*two)), UpTo(4, 8));
}

TEST_P(Contract, AConsumerThatJoinsWaitsForTheOthersNoLongerThanASecond) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  writer.Append({4});
  TakeAll(*one);
  auto two = OpenConsumer(*store_);
  writer.Append({4});
  time_.Advance(milliseconds(999));
  EXPECT_THAT(TakeAll(*two), IsEmpty());
  Signal ready;
  two->NotifyWhenReady([&] { ready.Set(); });
  EXPECT_EQ(ready.count(), 0);
  time_.Advance(milliseconds(1));
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(Ordinals(TakeAll(*two)), UpTo(4, 8));
  // What comes late comes before anything that is newer then.
  writer.Append({1});
  one = nullptr;
  EXPECT_THAT(Ordinals(TakeAll(*two)), ElementsAre(0, 1, 2, 3, 8));
}

TEST_P(Contract, AMoveEndsTheWaitingOfAConsumerThatJoins) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  writer.Append({4});
  TakeAll(*one);
  auto two = OpenConsumer(*store_);
  ASSERT_TRUE(store_->Seek("topic", "s", FromBeginning{}).ok());
  EXPECT_EQ(Ordinals(TakeAll(*two)), UpTo(0, 4));
}

TEST_P(Contract, AConsumerIsWokenByWhatAnotherLeft) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  auto two = OpenConsumer(*store_);
  writer.Append({1});
  TakeAll(*one);
  Signal ready;
  two->NotifyWhenReady([&] { ready.Set(); });
  EXPECT_EQ(ready.count(), 0);
  one = nullptr;
  EXPECT_TRUE(ready.Wait());
}

TEST_P(Contract, AnEventMayBeAcknowledgedByAnotherConsumer) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  auto two = OpenConsumer(*store_);
  writer.Append({3});
  TakeAll(*one);
  EXPECT_TRUE(two->Ack(DataOf(1)).ok());
  EXPECT_TRUE(two->Requeue(DataOf(0)).ok()) << "which does nothing: the other has it";
  time_.Advance(seconds(2));
  EXPECT_THAT(TakeAll(*two), IsEmpty());
  one = nullptr;
  EXPECT_THAT(Ordinals(TakeAll(*two)), ElementsAre(0, 2));
}

TEST_P(Contract, ARequeuedEventGoesToWhoeverIsThere) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  auto two = OpenConsumer(*store_);
  writer.Append({3});
  TakeAll(*one);
  Signal ready;
  two->NotifyWhenReady([&] { ready.Set(); });
  ASSERT_TRUE(one->Requeue(DataOf(1)).ok());
  time_.Advance(seconds(1));
  ASSERT_TRUE(ready.Wait());
  EXPECT_THAT(Ordinals(TakeAll(*two)), ElementsAre(1));
  EXPECT_THAT(TakeAll(*one), IsEmpty());
}

TEST_P(Contract, AConsumerHoldsNoMoreThanItMay) {
  TestWriter writer(*store_);
  ConsumerOptions options;
  options.max_in_flight_bytes = 1'000;
  auto one = store_->OpenConsumer("topic", "s", options);
  ASSERT_TRUE(one.ok()) << one.status();
  writer.Append({1'000});
  const auto held = TakeAll(**one);
  size_t bytes = 0;
  for (const Seen& event : held) bytes += event.message.size();
  EXPECT_LE(bytes, 1'000u);
  EXPECT_GE(bytes, 900u);
  Signal ready;
  (*one)->NotifyWhenReady([&] { ready.Set(); });
  auto two = OpenConsumer(*store_);
  time_.Advance(Delivery::kJoinDelay);
  EXPECT_EQ(TakeAll(*two).size(), 1'000 - held.size());
  EXPECT_EQ(ready.count(), 0);
  writer.Append({1});
  for (const Seen& event : held) ASSERT_TRUE((*one)->Ack(DataOf(event.ordinal)).ok());
  EXPECT_TRUE(ready.Wait());
  EXPECT_EQ(Ordinals(TakeAll(**one)), UpTo(1'000, 1'001));
}

TEST_P(Contract, SeveralConsumersOnManyThreadsShareEverythingOnce) {
  constexpr uint64_t kEvents = 20'000;
  TestWriter writer(*store_);
  Mutex mutex;
  std::map<uint64_t, int> seen;
  Signal all;
  const auto consume = [&](EventConsumer& consumer, std::atomic<bool>& stop, uint64_t leave_after) {
    for (uint64_t taken = 0; !stop && taken < leave_after;) {
      const auto slice = consumer.TryNext();
      ASSERT_TRUE(slice.ok()) << slice.status();
      if (!*slice) {
        std::this_thread::yield();
        continue;
      }
      taken += (*slice)->end - (*slice)->begin;
      if (taken >= leave_after) return;
      consumer.AckRange(**slice, (*slice)->begin, (*slice)->end);
      MutexLock lock(mutex);
      for (uint32_t i = 0; i < (*slice)->end - (*slice)->begin; ++i) ++seen[(*slice)->ordinal + i];
      if (seen.size() == kEvents) all.Set();
    }
  };
  std::atomic<bool> stop = false;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        const auto consumer = OpenConsumer(*store_);
        consume(*consumer, stop, UINT64_MAX);
      });
    }
    // And one that comes and goes, leaving something each time.
    threads.emplace_back([&] {
      while (!stop) {
        const auto consumer = OpenConsumer(*store_);
        consume(*consumer, stop, 500);
      }
    });
    // Opened first: the subscription is there before the events.
    const auto keeper = OpenConsumer(*store_);
    for (uint64_t i = 0; i < kEvents / 100; ++i) writer.Append({30, 70});
    EXPECT_TRUE(all.Wait());
    stop = true;
  }
  ASSERT_EQ(seen.size(), kEvents);
  for (const auto& [ordinal, times] : seen) ASSERT_EQ(times, 1) << ordinal;
}

// --- many threads

TEST_P(Contract, ConsumersAndReadersOnManyThreadsMissNothing) {
  constexpr uint64_t kEvents = 2'000;
  TestWriter writer(*store_);
  constexpr int kConsumers = 3;
  std::vector<std::unique_ptr<EventConsumer>> consumers;
  std::vector<std::vector<Seen>> seen(kConsumers + 1);
  for (int i = 0; i < kConsumers; ++i) {
    consumers.push_back(OpenConsumer(*store_, std::to_string(i)));
  }
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kConsumers; ++i) {
      threads.emplace_back([&, i] {
        EventConsumer& consumer = *consumers[i];
        while (seen[i].size() < kEvents) {
          Signal ready;
          consumer.NotifyWhenReady([&] { ready.Set(); });
          ASSERT_TRUE(ready.Wait());
          const size_t before = seen[i].size();
          auto taken = TakeAll(consumer);
          seen[i].insert(seen[i].end(), taken.begin(), taken.end());
          for (size_t k = before; k < seen[i].size(); ++k) {
            ASSERT_TRUE(consumer.Ack(DataOf(seen[i][k].ordinal)).ok());
          }
        }
      });
    }
    threads.emplace_back([&] {
      const auto reader = store_->OpenReader("topic", {.start = FromBeginning{}});
      seen.back() = ReadCount(**reader, kEvents);
    });
    for (uint64_t i = 0; i < kEvents / 10; ++i) writer.Append({3, 7});
  }
  for (const auto& one : seen) EXPECT_EQ(Ordinals(one), UpTo(0, kEvents));
  for (int i = 0; i < kConsumers; ++i) {
    consumers[i] = nullptr;
    EXPECT_THAT(TakeAll(*OpenConsumer(*store_, std::to_string(i))), IsEmpty());
  }
}

}  // namespace
}  // namespace pgc
