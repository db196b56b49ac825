// What every EventStore promises (event/store.h, event/pipeline.h), over every backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <thread>

#include "store/delivery.h"
#include "store/embedded_store.h"
#include "store/memory_store.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Backend {
  std::string name;
  std::function<std::unique_ptr<EventStore>(const std::filesystem::path&, std::shared_ptr<Timer>)>
      open;
};

class Contract : public testing::TestWithParam<Backend> {
 protected:
  TempDir dir_;
  ManualTimer time_;
  std::unique_ptr<EventStore> store_ = GetParam().open(dir_.path(), time_.timer());
};

std::vector<uint64_t> UpTo(uint64_t begin, uint64_t end) {
  std::vector<uint64_t> ordinals(end - begin);
  std::iota(ordinals.begin(), ordinals.end(), begin);
  return ordinals;
}

// --- writing

TEST_P(Contract, ANewTopicHasNothing) {
  TestWriter writer(*store_);
  EXPECT_EQ(writer.resume().last, Checkpoint{});
  EXPECT_EQ(writer.resume().captured, Lsn{});
  EXPECT_EQ(writer.resume().origin, "");
  EXPECT_THAT(store_->Topics(), ElementsAre("topic"));
}

TEST_P(Contract, AWriterResumesWhereTheOneBeforeStopped) {
  TestWriter(*store_).AppendAndWait(MakeBatch({MakeBlock(7, 0, 3)}, 9));
  TestWriter writer(*store_);
  EXPECT_EQ(writer.resume().last, (Checkpoint{.lsn = Lsn{7}, .seq = 2}));
  EXPECT_EQ(writer.resume().captured, Lsn{9});
  EXPECT_EQ(writer.resume().origin, "origin");
}

TEST_P(Contract, ATopicHasOneWriterAtATime) {
  auto writer = store_->OpenWriter("topic");
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->OpenWriter("topic").status()));
  EXPECT_TRUE(store_->OpenWriter("another").ok());
  writer->reset();
  EXPECT_TRUE(store_->OpenWriter("topic").ok());
}

TEST_P(Contract, DropsEventsThatAreNotAfterTheNewest) {
  TestWriter writer(*store_);
  writer.AppendAndWait(MakeBatch({MakeBlock(5, 0, 4)}, 1));
  // A block before it, one that overlaps it, and it again.
  writer.AppendAndWait(MakeBatch({MakeBlock(4, 0, 9), MakeBlock(5, 2, 4), MakeBlock(5, 0, 4)}, 2));
  writer.AppendAndWait(MakeBatch({MakeBlock(5, 5, 1), MakeBlock(6, 0, 1)}, 3));
  const auto reader = store_->OpenReader("topic", FromBeginning{});
  ASSERT_TRUE(reader.ok());
  const auto seen = ReadCount(**reader, 7);
  EXPECT_EQ(Ordinals(seen), UpTo(0, 7));
  for (uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(seen[i].checkpoint, (Checkpoint{.lsn = Lsn{5}, .seq = i}));
  }
  EXPECT_EQ(seen[6].checkpoint, (Checkpoint{.lsn = Lsn{6}, .seq = 0}));
}

TEST_P(Contract, DropsAlsoWhatAnEarlierWriterStored) {
  TestWriter(*store_).AppendAndWait(MakeBatch({MakeBlock(5, 0, 4)}, 1));
  TestWriter writer(*store_);
  writer.AppendAndWait(MakeBatch({MakeBlock(5, 0, 6)}, 2));
  const auto reader = store_->OpenReader("topic", FromBeginning{});
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(Ordinals(ReadCount(**reader, 6)), UpTo(0, 6));
}

TEST_P(Contract, TheCapturedPositionMovesWithoutEventsAndNeverBack) {
  {
    TestWriter writer(*store_);
    writer.AppendAndWait(MakeBatch({}, 20));
    ASSERT_TRUE(writer.sink().Append(MakeBatch({}, 10)).ok());
    writer.AppendAndWait(MakeBatch({}, 30));
    EXPECT_THAT(writer.durable(), ElementsAre(Lsn{20}, Lsn{30}));
    ASSERT_TRUE(writer.sink().Append(MakeBatch({MakeBlock(40, 0, 1)}, 5)).ok());
    writer.AppendAndWait(MakeBatch({}, 31));
  }
  EXPECT_EQ(TestWriter(*store_).resume().captured, Lsn{31});
}

TEST_P(Contract, KeepsTheOriginOfTheCapturedPosition) {
  {
    TestWriter writer(*store_);
    writer.AppendAndWait({.blocks = {}, .captured = Lsn{5}, .origin = "first"});
    ASSERT_TRUE(writer.sink().Append({.blocks = {}, .captured = Lsn{4}, .origin = "first"}).ok());
    writer.AppendAndWait({.blocks = {}, .captured = Lsn{6}, .origin = ""});
  }
  EXPECT_EQ(TestWriter(*store_).resume().origin, "first");
}

// A standby that was promoted may not have the WAL of the last positions, which were of nothing.
TEST_P(Contract, AnotherOriginMayBeginBeforeTheCapturedPosition) {
  TestWriter(*store_).AppendAndWait({.blocks = {}, .captured = Lsn{50}, .origin = "first"});
  {
    TestWriter writer(*store_);
    ASSERT_TRUE(writer.sink().Append({.blocks = {}, .captured = Lsn{40}, .origin = "next"}).ok());
    writer.AppendAndWait({.blocks = {MakeBlock(42, 0, 1)}, .captured = Lsn{43}, .origin = "next"});
    EXPECT_EQ(writer.durable().back(), Lsn{43});
  }
  const TestWriter writer(*store_);
  EXPECT_EQ(writer.resume().captured, Lsn{43});
  EXPECT_EQ(writer.resume().origin, "next");
  EXPECT_EQ(writer.resume().last.lsn, Lsn{42});
}

TEST_P(Contract, CallsBackOnlyWhenReadersSeeTheEvents) {
  Signal called;
  auto sink = store_->OpenWriter("topic");
  ASSERT_TRUE(sink.ok());
  auto consumer = OpenConsumer(*store_);
  std::vector<uint64_t> seen;
  ASSERT_TRUE((*sink)
                  ->Open([&](Lsn) {
                    seen = Ordinals(TakeAll(*consumer));
                    called.Set();
                  })
                  .ok());
  ASSERT_TRUE((*sink)->Append(MakeBatch({MakeBlock(1, 0, 3)}, 2)).ok());
  ASSERT_TRUE(called.Wait());
  EXPECT_EQ(seen, UpTo(0, 3));
}

TEST_P(Contract, TopicsDoNotMix) {
  TestWriter one(*store_, "one");
  TestWriter two(*store_, "two");
  auto consumer = OpenConsumer(*store_, "s", "two");
  one.Append({3});
  two.Append({2});
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 2));
  EXPECT_THAT(store_->Topics(), testing::UnorderedElementsAre("one", "two"));
}

// --- errors

TEST_P(Contract, AnUnknownTopicIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(store_->OpenReader("topic", FromBeginning{}).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->OpenConsumer("topic", "s", {}).status()));
  EXPECT_THAT(store_->Topics(), IsEmpty());
}

TEST_P(Contract, NamesHaveALimit) {
  const std::string longest(EventStore::kMaxNameBytes, 'n');
  TestWriter writer(*store_, longest);
  EXPECT_TRUE(store_->OpenConsumer(longest, longest, {}).ok());
  for (const std::string& bad : {std::string(), longest + "n"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenWriter(bad).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenReader(bad, FromEnd{}).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenConsumer(bad, "s", {}).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenConsumer(longest, bad, {}).status()));
  }
}

TEST_P(Contract, ATopicHasALimitOfSubscriptions) {
  TestWriter writer(*store_);
  for (size_t i = 0; i < EventStore::kMaxSubscriptions; ++i) {
    ASSERT_TRUE(OpenConsumer(*store_, std::to_string(i)) != nullptr);
  }
  const auto more = store_->OpenConsumer("topic", "one more", {});
  EXPECT_TRUE(absl::IsResourceExhausted(more.status())) << more.status();
  EXPECT_TRUE(store_->OpenConsumer("topic", "7", {}).ok());
  EXPECT_TRUE(store_->OpenConsumer("topic", "one more", {.ephemeral = true}).ok());
}

TEST_P(Contract, DataThatWasNeverHandedOutIsRefused) {
  TestWriter writer(*store_);
  writer.Append({5});
  auto consumer = OpenConsumer(*store_);
  writer.Append({5});
  for (const std::string& bad : {std::string(), std::string("1234567"), std::string("123456789"),
                                 DataOf(5), DataOf(UINT64_MAX), DataOf(UINT64_MAX - 1)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(consumer->Ack(bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(consumer->Requeue(bad)));
  }
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(5, 10));
  EXPECT_TRUE(consumer->Ack(DataOf(5)).ok());
  EXPECT_TRUE(consumer->Ack(DataOf(5)).ok()) << "once more is harmless";
  EXPECT_TRUE(consumer->Requeue(DataOf(5)).ok());
  EXPECT_TRUE(consumer->Ack(DataOf(9)).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(consumer->Ack(DataOf(10))));
}

// --- readers

TEST_P(Contract, AReaderStartsWhereItIsTold) {
  TestWriter writer(*store_);
  // lsn 10, 20, … 990, of three events each
  std::vector<std::shared_ptr<const Block>> blocks;
  for (uint64_t lsn = 10; lsn < 1000; lsn += 10) blocks.push_back(MakeBlock(lsn, 0, 3));
  writer.AppendAndWait(MakeBatch(blocks, 2000));
  const auto first = [&](const ReaderStart& start) {
    const auto reader = store_->OpenReader("topic", start);
    EXPECT_TRUE(reader.ok()) << reader.status();
    const auto seen = ReadCount(**reader, 1);
    return seen.empty() ? Checkpoint{} : seen.front().checkpoint;
  };
  const auto at = [](uint64_t lsn, uint32_t seq) {
    return Checkpoint{.lsn = Lsn{lsn}, .seq = seq};
  };
  EXPECT_EQ(first(FromBeginning{}), at(10, 0));
  EXPECT_EQ(first(FromAfter{}), at(10, 0));
  EXPECT_EQ(first(FromAfter{at(10, 0)}), at(10, 1));
  EXPECT_EQ(first(FromAfter{at(10, 2)}), at(20, 0));
  EXPECT_EQ(first(FromAfter{at(15, 0)}), at(20, 0));
  EXPECT_EQ(first(FromAfter{at(500, 7)}), at(510, 0));
  EXPECT_EQ(first(FromAfter{at(980, 2)}), at(990, 0));
  EXPECT_EQ(first(FromAfter{at(990, 1)}), at(990, 2));
  const auto after_all = store_->OpenReader("topic", FromAfter{at(990, 2)});
  const auto end = store_->OpenReader("topic", FromEnd{});
  writer.AppendAndWait(MakeBatch({MakeBlock(5000, 0, 1)}, 5001));
  EXPECT_EQ(ReadCount(**after_all, 1).front().checkpoint, at(5000, 0));
  EXPECT_EQ(ReadCount(**end, 1).front().checkpoint, at(5000, 0));
}

TEST_P(Contract, AReaderWaitsForEventsAndIsCancelled) {
  TestWriter writer(*store_);
  auto reader = store_->OpenReader("topic", FromEnd{});
  ASSERT_TRUE(reader.ok());
  std::vector<Seen> seen;
  absl::Status end;
  std::stop_source stop;
  Signal got;
  std::jthread thread([&] {
    const auto slice = (*reader)->Next(stop.get_token());
    ASSERT_TRUE(slice.ok());
    AppendSeen(*slice, seen);
    got.Set();
    end = (*reader)->Next(stop.get_token()).status();
  });
  writer.Append({2});
  ASSERT_TRUE(got.Wait());
  stop.request_stop();
  thread.join();
  EXPECT_EQ(Ordinals(seen), UpTo(0, 2));
  EXPECT_TRUE(absl::IsCancelled(end)) << end;
}

TEST_P(Contract, AReaderLeavesNothingBehind) {
  TestWriter writer(*store_);
  writer.Append({2});
  for (int i = 0; i < 2; ++i) {
    const auto reader = store_->OpenReader("topic", FromBeginning{});
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(Ordinals(ReadCount(**reader, 2)), UpTo(0, 2));
  }
}

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

TEST_P(Contract, OneOfSeveralConsumersTakesAModestSliceAtATime) {
  TestWriter writer(*store_);
  auto one = OpenConsumer(*store_);
  writer.Append({10'000});
  const auto all = one->TryNext();
  ASSERT_TRUE(all.ok() && *all);
  EXPECT_EQ((*all)->end, 10'000u);
  auto two = OpenConsumer(*store_);
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

// --- consumers that share by key

std::unique_ptr<EventConsumer> OpenKeyed(EventStore& store) {
  ConsumerOptions options;
  options.key_shared = true;
  auto consumer = store.OpenConsumer("topic", "s", options);
  EXPECT_TRUE(consumer.ok()) << consumer.status();
  return consumer.ok() ? *std::move(consumer) : nullptr;
}

// Changes of these keys, one transaction each.
std::shared_ptr<const Block> MakeKeyed(uint64_t lsn, const std::vector<uint32_t>& keys) {
  BlockBuilder builder;
  const uint32_t table = builder.AddTable({.schema = "public", .name = "t"});
  for (const uint32_t key : keys) {
    const Checkpoint checkpoint{.lsn = Lsn{lsn++}, .seq = 1};
    const std::string message = MessageOf(checkpoint);
    std::memcpy(builder.Add(EventKind::kChange, table, checkpoint, message.size(),
                            {.hash = key * 2'654'435'761U, .before = key * 2'654'435'761U}),
                message.data(), message.size());
  }
  return builder.Finish();
}

TEST_P(Contract, ConsumersOfASubscriptionAgreeOnSharingByKey) {
  TestWriter writer(*store_);
  ConsumerOptions keyed;
  keyed.key_shared = true;
  auto one = OpenKeyed(*store_);
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->OpenConsumer("topic", "s", {}).status()));
  EXPECT_TRUE(store_->Describe("topic")->subscriptions[0].key_shared);
  one = nullptr;
  auto other = OpenConsumer(*store_);
  EXPECT_FALSE(store_->Describe("topic")->subscriptions[0].key_shared);
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->OpenConsumer("topic", "s", keyed).status()));
}

TEST_P(Contract, AllEventsOfAKeyGoToOneConsumerInOrder) {
  TestWriter writer(*store_);
  std::vector<std::unique_ptr<EventConsumer>> consumers;
  for (int i = 0; i < 3; ++i) consumers.push_back(OpenKeyed(*store_));
  std::vector<uint32_t> keys;
  for (uint32_t i = 0; i < 3'000; ++i) keys.push_back(i * 7 % 100);
  writer.AppendAndWait(MakeBatch({MakeKeyed(1, {keys.begin(), keys.begin() + 1'000}),
                                  MakeKeyed(1'001, {keys.begin() + 1'000, keys.end()})},
                                 5'000));
  std::map<uint32_t, size_t> owner;
  std::map<uint32_t, uint64_t> newest;
  size_t seen = 0;
  for (size_t i = 0; i < consumers.size(); ++i) {
    const auto events = TakeAll(*consumers[i]);
    EXPECT_GT(events.size(), 500u);
    seen += events.size();
    for (const Seen& event : events) {
      const uint32_t key = keys[event.ordinal];
      EXPECT_EQ(owner.emplace(key, i).first->second, i);
      if (newest.contains(key)) {
        EXPECT_GT(event.ordinal, newest[key]);
      }
      newest[key] = event.ordinal;
      ASSERT_TRUE(consumers[i]->Ack(DataOf(event.ordinal)).ok());
    }
  }
  EXPECT_EQ(seen, keys.size());
  consumers.clear();
  EXPECT_THAT(TakeAll(*OpenConsumer(*store_)), IsEmpty()) << "all is acknowledged";
}

TEST_P(Contract, WhatAKeySharedConsumerLeftGoesToTheOthersFirst) {
  TestWriter writer(*store_);
  auto one = OpenKeyed(*store_);
  auto two = OpenKeyed(*store_);
  std::vector<uint32_t> keys(200);
  std::iota(keys.begin(), keys.end(), 0);
  writer.AppendAndWait(MakeBatch({MakeKeyed(1, keys)}, 200));
  const auto left = TakeAll(*one);
  const auto kept = TakeAll(*two);
  EXPECT_EQ(left.size() + kept.size(), 200u);
  writer.AppendAndWait(MakeBatch({MakeKeyed(201, keys)}, 500));
  ASSERT_TRUE(one->Ack(DataOf(left[3].ordinal)).ok());
  Signal ready;
  TakeAll(*two);
  two->NotifyWhenReady([&] { ready.Set(); });
  one = nullptr;
  ASSERT_TRUE(ready.Wait());
  std::vector<uint64_t> expected;
  for (const Seen& event : left) expected.push_back(event.ordinal);
  for (const Seen& event : left) expected.push_back(event.ordinal + 200);
  expected.erase(expected.begin() + 3);
  EXPECT_EQ(Ordinals(TakeAll(*two)), expected);
}

TEST_P(Contract, AMoveAppliesToKeySharedConsumersToo) {
  TestWriter writer(*store_);
  auto one = OpenKeyed(*store_);
  writer.AppendAndWait(MakeBatch({MakeKeyed(1, {1, 2, 3, 4})}, 10));
  EXPECT_EQ(Ordinals(TakeAll(*one)), UpTo(0, 4));
  ASSERT_TRUE(one->Requeue(DataOf(2)).ok());
  ASSERT_TRUE(store_->Seek("topic", "s", FromAfterLsn{Lsn{1}}).ok());
  EXPECT_TRUE(one->Ack(DataOf(3)).ok()) << "ignored";
  EXPECT_TRUE(one->Requeue(DataOf(3)).ok()) << "ignored";
  EXPECT_TRUE(absl::IsInvalidArgument(one->Ack(DataOf(4)))) << "never handed out";
  EXPECT_EQ(Ordinals(TakeAll(*one)), UpTo(1, 4));
  ASSERT_TRUE(one->Requeue(DataOf(2)).ok());
  Signal ready;
  one->NotifyWhenReady([&] { ready.Set(); });
  time_.Advance(seconds(1));
  ASSERT_TRUE(ready.Wait());
  EXPECT_THAT(Ordinals(TakeAll(*one)), ElementsAre(2));
}

TEST_P(Contract, KeySharedConsumersOnManyThreadsGetEachKeyInOrder) {
  constexpr uint32_t kKeys = 50;
  constexpr uint64_t kEvents = 10'000;
  TestWriter writer(*store_);
  Mutex mutex;
  std::map<uint64_t, uint64_t> newest;  // by key: the newest event that was acknowledged
  size_t acknowledged = 0;
  std::atomic<bool> stop = false;
  Signal all;
  const auto consume = [&](EventConsumer& consumer, uint64_t leave_after) {
    for (uint64_t taken = 0; !stop;) {
      const auto slice = consumer.TryNext();
      ASSERT_TRUE(slice.ok()) << slice.status();
      if (!*slice) {
        std::this_thread::yield();
        continue;
      }
      for (uint32_t i = (*slice)->begin; i < (*slice)->end; ++i) {
        if (++taken > leave_after) return;
        const uint64_t ordinal = (*slice)->ordinal + i - (*slice)->begin;
        {
          MutexLock lock(mutex);
          const auto [at, first] = newest.emplace(ordinal % kKeys, ordinal);
          ASSERT_TRUE(first || at->second < ordinal);
          at->second = ordinal;
          if (++acknowledged == kEvents) all.Set();
        }
        consumer.AckRange(**slice, i, i + 1);
      }
    }
  };
  const auto keeper = OpenKeyed(*store_);
  {
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { consume(*keeper, UINT64_MAX); });
    threads.emplace_back([&] {
      const auto consumer = OpenKeyed(*store_);
      consume(*consumer, UINT64_MAX);
    });
    threads.emplace_back([&] {
      while (!stop) {
        const auto consumer = OpenKeyed(*store_);
        consume(*consumer, 100);
      }
    });
    std::vector<uint32_t> keys(100);
    for (uint32_t i = 0; i < 100; ++i) keys[i] = i % kKeys;
    for (uint64_t i = 0; i < kEvents / 100; ++i) {
      writer.AppendAndWait(MakeBatch({MakeKeyed(1 + 100 * i, keys)}, 100 * i + 100));
    }
    EXPECT_TRUE(all.Wait());
    stop = true;
  }
  EXPECT_EQ(acknowledged, kEvents);
}

// --- moving, deleting and describing

TEST_P(Contract, ASubscriptionIsMovedBackAndForward) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.AppendAndWait(MakeBatch({MakeBlock(10, 0, 4), MakeBlock(20, 0, 4)}, 30));
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 8));
  ASSERT_TRUE(consumer->Ack(DataOf(0)).ok());
  Signal ready;
  consumer->NotifyWhenReady([&] { ready.Set(); });
  ASSERT_TRUE(store_->Seek("topic", "s", FromBeginning{}).ok());
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 8));
  ASSERT_TRUE(store_->Seek("topic", "s", FromAfterLsn{Lsn{10}}).ok());
  consumer = nullptr;
  consumer = OpenConsumer(*store_);
  EXPECT_EQ(consumer->start(), (Checkpoint{.lsn = Lsn{10}, .seq = 3}));
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(4, 8));
  ASSERT_TRUE(store_->Seek("topic", "s", FromEnd{}).ok());
  writer.AppendAndWait(MakeBatch({MakeBlock(40, 0, 1)}, 50));
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(8, 9));
}

TEST_P(Contract, AcksOfWhatWasHeldBeforeAMoveChangeNothing) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({4, 4});
  const auto slice = consumer->TryNext();
  ASSERT_TRUE(slice.ok() && *slice);
  TakeAll(*consumer);
  ASSERT_TRUE(store_->Seek("topic", "s", FromBeginning{}).ok());
  EXPECT_TRUE(consumer->Ack(DataOf(5)).ok());
  EXPECT_TRUE(consumer->Requeue(DataOf(6)).ok());
  consumer->AckRange(**slice, 0, 4);
  EXPECT_TRUE(absl::IsInvalidArgument(consumer->Ack(DataOf(8)))) << "never handed out";
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 8));
  EXPECT_TRUE(consumer->Ack(DataOf(5)).ok());
  consumer = nullptr;
  EXPECT_THAT(Ordinals(TakeAll(*OpenConsumer(*store_))), ElementsAre(0, 1, 2, 3, 4, 6, 7));
}

TEST_P(Contract, ADeletedSubscriptionStartsAnew) {
  TestWriter writer(*store_);
  auto consumer = OpenConsumer(*store_);
  writer.Append({4});
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->DeleteSubscription("topic", "s")));
  consumer = nullptr;
  ASSERT_TRUE(store_->DeleteSubscription("topic", "s").ok());
  EXPECT_TRUE(absl::IsNotFound(store_->DeleteSubscription("topic", "s")));
  EXPECT_TRUE(absl::IsNotFound(store_->Seek("topic", "s", FromEnd{})));
  EXPECT_THAT(store_->Describe("topic")->subscriptions, IsEmpty());
  consumer = OpenConsumer(*store_);
  EXPECT_THAT(TakeAll(*consumer), IsEmpty());
}

TEST_P(Contract, ADeletedTopicIsGoneWithAllThatItHas) {
  auto reader = absl::StatusOr<std::unique_ptr<EventReader>>();
  {
    TestWriter writer(*store_);
    writer.Append({4});
    EXPECT_TRUE(absl::IsFailedPrecondition(store_->DeleteTopic("topic")));
  }
  {
    const auto consumer = OpenConsumer(*store_);
    EXPECT_TRUE(absl::IsFailedPrecondition(store_->DeleteTopic("topic")));
  }
  TestWriter other(*store_, "other");
  other.Append({2});
  reader = store_->OpenReader("topic", FromEnd{});
  absl::Status status;
  std::jthread waiting([&] { status = (*reader)->Next({}).status(); });
  ASSERT_TRUE(store_->DeleteTopic("topic").ok());
  waiting.join();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_TRUE(absl::IsNotFound(store_->DeleteTopic("topic")));
  EXPECT_TRUE(absl::IsNotFound(store_->Describe("topic").status()));
  EXPECT_THAT(store_->Topics(), ElementsAre("other"));
  TestWriter writer(*store_);
  EXPECT_EQ(writer.resume().last, Checkpoint{});
  EXPECT_EQ(writer.resume().captured, Lsn{});
  auto consumer = OpenConsumer(*store_);
  EXPECT_EQ(consumer->start(), Checkpoint{});
  writer.Append({3});
  EXPECT_EQ(Ordinals(TakeAll(*consumer)), UpTo(0, 3));
  EXPECT_EQ(Ordinals(ReadCount(**store_->OpenReader("other", FromBeginning{}), 2)), UpTo(0, 2));
}

TEST_P(Contract, ATopicIsDescribedWithItsSubscriptions) {
  TestWriter writer(*store_);
  auto info = store_->Describe("topic");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->name, "topic");
  EXPECT_EQ(info->events, 0u);
  EXPECT_EQ(info->oldest, Checkpoint{});
  EXPECT_THAT(info->subscriptions, IsEmpty());
  const auto before = std::chrono::system_clock::now() - seconds(1);
  auto a = OpenConsumer(*store_, "a");
  auto b = OpenConsumer(*store_, "b");
  auto also_b = OpenConsumer(*store_, "b");
  writer.AppendAndWait(MakeBatch({MakeBlock(10, 0, 4), MakeBlock(20, 0, 4)}, 30));
  TakeAll(*b);
  for (const uint64_t ordinal : {0, 1, 2, 5, 7}) ASSERT_TRUE(b->Ack(DataOf(ordinal)).ok());
  a = nullptr;
  info = store_->Describe("topic");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_GT(info->bytes, 0u);
  EXPECT_EQ(info->events, 8u);
  EXPECT_EQ(info->oldest, (Checkpoint{.lsn = Lsn{10}, .seq = 0}));
  EXPECT_EQ(info->newest, (Checkpoint{.lsn = Lsn{20}, .seq = 3}));
  EXPECT_GE(info->oldest_stored, before);
  EXPECT_GE(info->newest_stored, info->oldest_stored);
  EXPECT_LE(info->newest_stored, std::chrono::system_clock::now() + seconds(1));
  EXPECT_EQ(info->captured, Lsn{30});
  ASSERT_THAT(info->subscriptions, SizeIs(2));
  EXPECT_EQ(info->subscriptions[0].name, "a");
  EXPECT_EQ(info->subscriptions[0].acknowledged, Checkpoint{});
  EXPECT_EQ(info->subscriptions[0].backlog_events, 8u);
  EXPECT_EQ(info->subscriptions[0].consumers, 0u);
  EXPECT_EQ(info->subscriptions[1].name, "b");
  EXPECT_EQ(info->subscriptions[1].acknowledged, (Checkpoint{.lsn = Lsn{10}, .seq = 2}));
  EXPECT_EQ(info->subscriptions[1].backlog_events, 3u);
  EXPECT_EQ(info->subscriptions[1].consumers, 2u);
  EXPECT_FALSE(info->subscriptions[1].key_shared);
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
      const auto reader = store_->OpenReader("topic", FromBeginning{});
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

INSTANTIATE_TEST_SUITE_P(
    Store, Contract,
    testing::Values(Backend{"Memory",
                            [](const auto&, const std::shared_ptr<Timer>& timer) {
                              return NewMemoryStore(timer);
                            }},
                    Backend{"Embedded",
                            [](const auto& dir, const std::shared_ptr<Timer>& timer) {
                              auto store = OpenEmbeddedStore(dir, {.timer = timer});
                              EXPECT_TRUE(store.ok()) << store.status();
                              return store.ok() ? *std::move(store) : nullptr;
                            }}),
    [](const auto& backend) { return backend.param.name; });

}  // namespace
}  // namespace pgc
