// What stores that keep the log themselves promise besides: captured positions and their origins, a
// list of topics, ordinals, and subscriptions that are all theirs. docs/decisions/pulsar.md says
// why Pulsar does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/store_contract.h"

namespace pgc {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

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

TEST_P(Contract, AnUnknownTopicIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(store_->OpenReader("topic", {.start = FromBeginning{}}).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->OpenConsumer("topic", "s", {}).status()));
  EXPECT_THAT(store_->Topics(), IsEmpty());
}

TEST_P(Contract, NamesHaveALimit) {
  const std::string longest(EventStore::kMaxNameBytes, 'n');
  TestWriter writer(*store_, longest);
  EXPECT_TRUE(store_->OpenConsumer(longest, longest, {}).ok());
  for (const std::string& bad : {std::string(), longest + "n"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenWriter(bad).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenReader(bad, {.start = FromEnd{}}).status()));
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

TEST_P(Contract, AsManySubscriptionsAsATopicHasEachGetEverything) {
  TestWriter writer(*store_);
  std::vector<std::unique_ptr<EventConsumer>> consumers;
  Signal ready;
  for (size_t i = 0; i < EventStore::kMaxSubscriptions; ++i) {
    consumers.push_back(OpenConsumer(*store_, std::to_string(i)));
    consumers.back()->NotifyWhenReady([&] { ready.Set(); });
  }
  writer.Append({20, 30});
  ASSERT_TRUE(ready.Wait(EventStore::kMaxSubscriptions));
  for (const auto& consumer : consumers) {
    const auto seen = TakeAll(*consumer);
    ASSERT_EQ(Ordinals(seen), UpTo(0, 50));
    for (const Seen& event : seen) ASSERT_TRUE(consumer->Ack(DataOf(event.ordinal)).ok());
  }
  const auto info = store_->Describe("topic");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->subscriptions.size(), EventStore::kMaxSubscriptions);
  for (const SubscriptionInfo& one : info->subscriptions) EXPECT_EQ(one.backlog_events, 0u);
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

TEST_P(Contract, AReaderStartsAtATimeAlsoWhereCommitTimesGoBack) {
  TestWriter writer(*store_);
  writer.AppendAndWait(MakeBatch(
      {MakeTransactions(10, {{100}, {300}, {200}}), MakeTransactions(20, {{250}, {400}})}, 2000));
  const auto first = [&](int64_t time) {
    const auto reader = store_->OpenReader("topic", {.start = FromTime{{time}}});
    EXPECT_TRUE(reader.ok()) << reader.status();
    const auto slice = (*reader)->Next({});
    return slice.ok() ? slice->ordinal : 999;
  };
  EXPECT_EQ(first(0), 0U);
  EXPECT_EQ(first(101), 2U);
  EXPECT_EQ(first(250), 2U) << "the first that is not before it";
  EXPECT_EQ(first(301), 8U);
  const auto later = store_->OpenReader("topic", {.start = FromTime{{401}}});
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_EQ((*later)->start(), (Checkpoint{.lsn = Lsn{21}, .seq = 1}));
}

}  // namespace
}  // namespace pgc
