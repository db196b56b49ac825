// What every EventStore promises to a consumer that has its subscription alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "store/delivery.h"
#include "store/store_contract.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// --- consumers

TEST_P(Contract, ANewSubscriptionStartsAtTheEnd) {
  TestWriter writer(*store_);
  writer.AppendAndWait(MakeBatch({MakeBlock(7, 0, 3)}, 8));
  auto consumer = OpenConsumer(*store_);
  EXPECT_EQ(consumer->start(), (Checkpoint{.lsn = Lsn{7}, .seq = 2}));
  EXPECT_THAT(TakeAll(*consumer), IsEmpty());
  writer.AppendAndWait(MakeBatch({MakeBlock(9, 0, 2)}, 10));
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(3, 5));
}

TEST_P(Contract, OfAnEmptyTopicEverythingIsNew) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  EXPECT_EQ(consumer->start(), Checkpoint{});
  writer.Append({2, 1});
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 3));
}

TEST_P(Contract, AppendsTheOrdinalAsData) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({300});
  const auto slice = consumer->TryNext();
  ASSERT_TRUE(slice.ok() && *slice);
  std::string data = "before";
  consumer->AppendData(**slice, (*slice)->begin + 258, data);
  EXPECT_EQ(data, std::string("before\0\0\0\0\0\0\1\2", 14));
}

TEST_P(Contract, WhatAConsumerLeftComesFirstAndInOrder) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({4, 4, 4});
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 12));
  for (const uint64_t ordinal : {0, 5, 6, 2, 11, 1}) {
    EXPECT_TRUE(consumer->Ack(DataOf(ordinal)).ok());
  }
  writer.Append({2});
  consumer = nullptr;
  consumer = OpenConsumer(*store_);
  EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(3, 4, 7, 8, 9, 10, 12, 13));
  consumer = nullptr;
  consumer = OpenConsumer(*store_);
  EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(3, 4, 7, 8, 9, 10, 12, 13));
}

TEST_P(Contract, StartIsTheEventBeforeTheLowestUnacknowledged) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.AppendAndWait(MakeBatch({MakeBlock(1, 0, 2), MakeBlock(2, 0, 2)}, 3));
  TakeAll(*consumer);
  for (const uint64_t ordinal : {0, 1, 3}) EXPECT_TRUE(consumer->Ack(DataOf(ordinal)).ok());
  consumer = nullptr;
  EXPECT_EQ(OpenConsumer(*store_)->start(), (Checkpoint{.lsn = Lsn{1}, .seq = 1}));
  consumer = OpenConsumer(*store_);
  EXPECT_TRUE(consumer->Ack(DataOf(2)).ok());
  consumer = nullptr;
  EXPECT_EQ(OpenConsumer(*store_)->start(), (Checkpoint{.lsn = Lsn{2}, .seq = 1}));
}

TEST_P(Contract, RangesOfASliceAreAcknowledgedTogether) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({5, 10});
  auto slice = consumer->TryNext();
  slice = consumer->TryNext();
  ASSERT_TRUE(slice.ok() && *slice);
  EXPECT_EQ((*slice)->ordinal, 5u);
  consumer->AckRange(**slice, 3, 4);
  consumer->AckRange(**slice, 6, 8);
  consumer = nullptr;
  consumer = OpenConsumer(*store_);
  EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 13, 14));
  consumer = nullptr;
  consumer = OpenConsumer(*store_);
  std::vector<EventSlice> slices;
  for (auto next = consumer->TryNext(); next.ok() && *next; next = consumer->TryNext()) {
    slices.push_back(**next);
  }
  ASSERT_THAT(slices, SizeIs(4));
  EXPECT_EQ(slices[2].begin, 4u);
  consumer->AckRange(slices[2], 5, 6);
  consumer = nullptr;
  consumer = OpenConsumer(*store_);
  EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 9, 13, 14));
}

TEST_P(Contract, AnEphemeralConsumerIsGoneWithItsState) {
  TestWriter writer(*store_);
  writer.Append({2});
  auto one = store_->OpenConsumer("topic", "s", {.ephemeral = true});
  auto two = store_->OpenConsumer("topic", "s", {.ephemeral = true});
  auto named = OpenConsumer(*store_, "s");
  ASSERT_TRUE(one.ok() && two.ok() && named != nullptr);
  writer.Append({2});
  EXPECT_EQ(Ordinals(TakeAll(**one)), UpTo(2, 4));
  EXPECT_EQ(Ordinals(TakeAll(**two)), UpTo(2, 4));
  EXPECT_TRUE((*one)->Ack(DataOf(2)).ok());
  one->reset();
  one = store_->OpenConsumer("topic", "s", {.ephemeral = true});
  ASSERT_TRUE(one.ok());
  EXPECT_THAT(TakeAll(**one), IsEmpty());
  EXPECT_EQ(Ordinals(TakeAll(*named)), UpTo(2, 4));
}

// --- where a new subscription starts

TEST_P(Contract, ANewSubscriptionStartsWhereItIsTold) {
  TestWriter writer(*store_);
  // Events 0 to 9 are Begin and Commit of the transactions with lsn 10 to 14, in three blocks.
  writer.AppendAndWait(
      MakeBatch({MakeTransactions(10, {{100}, {300}}), MakeTransactions(12, {{200}, {250}}),
                 MakeTransactions(14, {{400}})},
                20));
  int opened = 0;
  const auto first = [&](const SubscriptionStart& start) {
    std::vector<uint64_t> firsts;
    for (const bool ephemeral : {false, true}) {
      ConsumerOptions options;
      options.ephemeral = ephemeral;
      options.start = start;
      const auto consumer = store_->OpenConsumer("topic", std::to_string(++opened), options);
      EXPECT_TRUE(consumer.ok()) << consumer.status();
      const auto slice = (*consumer)->TryNext();
      firsts.push_back(slice.ok() && *slice ? (*slice)->ordinal : 10);
    }
    EXPECT_EQ(firsts[0], firsts[1]);
    return firsts[0];
  };
  EXPECT_EQ(first(FromBeginning{}), 0u);
  EXPECT_EQ(first(FromEnd{}), 10u);
  EXPECT_EQ(first(FromAfterLsn{Lsn{0}}), 0u);
  EXPECT_EQ(first(FromAfterLsn{Lsn{10}}), 2u);
  EXPECT_EQ(first(FromAfterLsn{Lsn{11}}), 4u);
  EXPECT_EQ(first(FromAfterLsn{Lsn{13}}), 8u);
  EXPECT_EQ(first(FromAfterLsn{Lsn{14}}), 10u);
  EXPECT_EQ(first(FromTime{{0}}), 0u);
  EXPECT_EQ(first(FromTime{{100}}), 0u);
  EXPECT_EQ(first(FromTime{{101}}), 2u);
  EXPECT_EQ(first(FromTime{{250}}), 2u) << "the first that is not before it";
  EXPECT_EQ(first(FromTime{{301}}), 8u);
  EXPECT_EQ(first(FromTime{{401}}), 10u);
}

TEST_P(Contract, ASubscriptionThatExistsGoesOnWhereItIs) {
  TestWriter writer(*store_);
  writer.AppendAndWait(MakeBatch({MakeTransactions(10, {{100}, {300}})}, 20));
  OpenConsumer(*store_);
  ConsumerOptions options;
  options.start = FromBeginning{};
  const auto consumer = store_->OpenConsumer("topic", "s", options);
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  EXPECT_FALSE(*(*consumer)->TryNext());
}

// --- requeue

TEST_P(Contract, ARequeuedEventComesAgainLaterAndLaterUpToAMinute) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({3});
  TakeAll(*consumer);
  for (const int delay_s : {1, 2, 4, 8, 16, 32, 60, 60}) {
    ASSERT_TRUE(consumer->Requeue(DataOf(1)).ok());
    time_.Advance(seconds(delay_s) - milliseconds(1));
    EXPECT_THAT(TakeAll(*consumer), IsEmpty()) << delay_s;
    time_.Advance(milliseconds(1));
    EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(1)) << delay_s;
    time_.Advance(seconds(100));
    EXPECT_THAT(TakeAll(*consumer), IsEmpty()) << "once is enough";
  }
}

TEST_P(Contract, AnAcknowledgedEventIsNotRequeued) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({3});
  TakeAll(*consumer);
  ASSERT_TRUE(consumer->Ack(DataOf(0)).ok());
  ASSERT_TRUE(consumer->Requeue(DataOf(0)).ok());
  ASSERT_TRUE(consumer->Requeue(DataOf(1)).ok());
  ASSERT_TRUE(consumer->Ack(DataOf(1)).ok());
  time_.Advance(seconds(100));
  EXPECT_THAT(TakeAll(*consumer), IsEmpty());
}

TEST_P(Contract, RequeuedEventsThatAreDueComeBeforeNewerOnes) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({3, 3});
  TakeAll(*consumer);
  for (const uint64_t ordinal : {4, 1, 3, 2}) {
    ASSERT_TRUE(consumer->Requeue(DataOf(ordinal)).ok());
  }
  writer.Append({2});
  time_.Advance(seconds(1));
  EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(1, 2, 3, 4, 6, 7));
}

TEST_P(Contract, TheNextConsumerDoesNotWaitForRequeuedEvents) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({3});
  TakeAll(*consumer);
  ASSERT_TRUE(consumer->Requeue(DataOf(1)).ok());
  ASSERT_TRUE(consumer->Ack(DataOf(0)).ok());
  consumer = nullptr;
  consumer = OpenConsumer(*store_);
  EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(1, 2));
  time_.Advance(seconds(100));
  EXPECT_THAT(TakeAll(*consumer), IsEmpty());
}

// --- notification

TEST_P(Contract, NotifiesAtOnceWhenThereIsSomething) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({1});
  Signal ready;
  consumer->NotifyWhenReady([&] { ready.Set(); });
  EXPECT_TRUE(ready.Wait());
}

TEST_P(Contract, NotifiesOnceWhenEventsCome) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  Signal replaced;
  Signal ready;
  consumer->NotifyWhenReady([&] { replaced.Set(); });
  consumer->NotifyWhenReady([&] { ready.Set(); });
  EXPECT_EQ(ready.count(), 0);
  writer.Append({1});
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 1));
  writer.Append({1});
  Signal next;
  consumer->NotifyWhenReady([&] { next.Set(); });
  ASSERT_TRUE(next.Wait());
  EXPECT_EQ(ready.count(), 1);
  EXPECT_EQ(replaced.count(), 0);
}

TEST_P(Contract, NotifiesWhenARequeuedEventIsDue) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({2});
  TakeAll(*consumer);
  Signal ready;
  ASSERT_TRUE(consumer->Requeue(DataOf(0)).ok());
  consumer->NotifyWhenReady([&] { ready.Set(); });
  time_.Advance(seconds(1));
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 1));
  // The other way round, and earlier than one that waits already.
  ASSERT_TRUE(consumer->Requeue(DataOf(0)).ok());
  consumer->NotifyWhenReady([&] { ready.Set(); });
  ASSERT_TRUE(consumer->Requeue(DataOf(1)).ok());
  time_.Advance(seconds(1));
  ASSERT_TRUE(ready.Wait(2));
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(1, 2));
  consumer->NotifyWhenReady([&] { ready.Set(); });
  time_.Advance(seconds(1));
  ASSERT_TRUE(ready.Wait(3));
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 1));
}

TEST_P(Contract, DoesNotNotifyAfterTheConsumerIsGone) {
  TestWriter writer(*store_);
  Signal first;
  auto consumer = OpenConsumer(*store_, "first");
  auto other = OpenConsumer(*store_, "other");
  std::atomic<bool> gone = false;
  std::atomic<bool> too_late = false;
  for (int i = 0; i < 50; ++i) {
    gone = false;
    consumer->NotifyWhenReady([&] { too_late = too_late || gone; });
    Signal woken;
    TakeAll(*other);
    other->NotifyWhenReady([&] { woken.Set(); });
    std::jthread append([&] { writer.Append({1}); });
    consumer = nullptr;
    gone = true;
    append.join();
    ASSERT_TRUE(woken.Wait());
    consumer = OpenConsumer(*store_, "first");
    TakeAll(*consumer);
  }
  EXPECT_FALSE(too_late);
}

TEST_P(Contract, ACallbackMayTakeAndAskAgain) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  Mutex mutex;
  std::vector<Seen> seen;
  Signal all;
  EventConsumer& hold = *consumer;
  std::function<void()> ready = [&] {
    auto taken = TakeAll(hold);
    {
      MutexLock lock(mutex);
      seen.insert(seen.end(), taken.begin(), taken.end());
      if (seen.size() == 100) all.Set();
    }
    hold.NotifyWhenReady(ready);
  };
  hold.NotifyWhenReady(ready);
  for (int i = 0; i < 50; ++i) writer.Append({2});
  EXPECT_TRUE(all.Wait());
  consumer = nullptr;
  EXPECT_EQ(Ordinals(seen), UpTo(0, 100));
}

// --- limits

TEST_P(Contract, AConsumerThatLeavesHolesGetsNothingNewerUntilItFillsThem) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  const uint32_t events = 2 * Delivery::kPauseRanges + 100;
  writer.Append({events / 2, events / 2});
  writer.Append({10});
  std::vector<EventSlice> slices;
  for (int i = 0; i < 2; ++i) slices.push_back(**consumer->TryNext());
  for (uint64_t ordinal = 1; ordinal < events; ordinal += 2) {
    ASSERT_TRUE(consumer->Ack(DataOf(ordinal)).ok());
  }
  EXPECT_THAT(TakeAll(*consumer), IsEmpty());
  Signal ready;
  consumer->NotifyWhenReady([&] { ready.Set(); });
  EXPECT_EQ(ready.count(), 0);
  for (uint64_t ordinal = 0; ordinal < 110; ordinal += 2) {
    ASSERT_TRUE(consumer->Ack(DataOf(ordinal)).ok());
  }
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(events, events + 10));
}

TEST_P(Contract, RequeuedEventsHaveALimit) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({Delivery::kMaxRequeued + 1});
  ASSERT_TRUE(consumer->TryNext().ok());
  for (uint64_t ordinal = 0; ordinal < Delivery::kMaxRequeued; ++ordinal) {
    ASSERT_TRUE(consumer->Requeue(DataOf(ordinal)).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(consumer->Requeue(DataOf(Delivery::kMaxRequeued))));
  EXPECT_TRUE(consumer->Requeue(DataOf(0)).ok());
  ASSERT_TRUE(consumer->Ack(DataOf(0)).ok());
  EXPECT_TRUE(consumer->Requeue(DataOf(Delivery::kMaxRequeued)).ok());
}

}  // namespace
}  // namespace pgc
