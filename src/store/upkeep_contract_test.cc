// What every EventStore promises of its subscriptions and topics: moved, deleted, described.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/store_contract.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

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
  reader = store_->OpenReader("topic", {.start = FromEnd{}});
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
  EXPECT_EQ(Ordinals(ReadCount(**store_->OpenReader("other", {.start = FromBeginning{}}), 2)),
            UpTo(0, 2));
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

}  // namespace
}  // namespace pgc
