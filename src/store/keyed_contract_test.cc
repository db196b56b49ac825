// What every EventStore promises to consumers that share a subscription by key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "store/keyed_delivery.h"
#include "store/store_contract.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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

TEST_P(Contract, AKeySharedConsumerAcknowledgesOnlyWhatWasHandedOutAndOnceIsEnough) {
  TestWriter writer(*store_);
  auto one = OpenKeyed(*store_);
  writer.AppendAndWait(MakeBatch({MakeKeyed(1, {1, 2, 3, 4})}, 10));
  for (const std::string& bad : {std::string(), DataOf(0), DataOf(4), DataOf(UINT64_MAX)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(one->Ack(bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(one->Requeue(bad)));
  }
  EXPECT_EQ(Ordinals(TakeAll(*one)), UpTo(0, 4));
  EXPECT_TRUE(one->Ack(DataOf(2)).ok());
  EXPECT_TRUE(one->Ack(DataOf(2)).ok()) << "once more is harmless";
  EXPECT_TRUE(one->Requeue(DataOf(2)).ok()) << "acknowledged already";
  EXPECT_TRUE(absl::IsInvalidArgument(one->Ack(DataOf(4))));
  time_.Advance(seconds(100));
  EXPECT_THAT(TakeAll(*one), IsEmpty());
  one = nullptr;
  EXPECT_THAT(Ordinals(TakeAll(*OpenKeyed(*store_))), ElementsAre(0, 1, 3));
}

TEST_P(Contract, AKeySharedSubscriptionThatStallsSaysSoOnceAMinute) {
  TestWriter writer(*store_);
  auto never_acks = OpenKeyed(*store_);
  auto other = OpenKeyed(*store_);
  std::vector<uint32_t> keys(1'024);
  std::iota(keys.begin(), keys.end(), 0);
  std::vector<std::shared_ptr<const Block>> blocks;
  uint64_t lsn = 1;
  for (; lsn <= KeyedDelivery::kMaxOpen; lsn += keys.size()) {
    blocks.push_back(MakeKeyed(lsn, keys));
  }
  blocks.push_back(MakeKeyed(lsn, {keys.begin(), keys.begin() + 10}));
  writer.AppendAndWait(MakeBatch(blocks, lsn + 10));
  testing::internal::CaptureStderr();
  std::vector<Seen> held = TakeAll(*never_acks);
  for (int i = 0; i < 3; ++i) {
    for (const Seen& event : TakeAll(*other)) held.push_back(event);
  }
  EXPECT_EQ(held.size(), KeyedDelivery::kMaxOpen);
  time_.Advance(seconds(59));
  TakeAll(*other);
  std::string logged = testing::internal::GetCapturedStderr();
  const std::string line = "a subscription gets nothing newer until it acknowledges older events";
  const size_t found = logged.find(line);
  ASSERT_NE(found, std::string::npos) << logged;
  EXPECT_EQ(logged.find(line, found + 1), std::string::npos) << logged;
  EXPECT_THAT(logged, HasSubstr("subscription=s"));
  testing::internal::CaptureStderr();
  time_.Advance(seconds(1));
  TakeAll(*other);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(line));
  for (const Seen& event : held) ASSERT_TRUE(other->Ack(DataOf(event.ordinal)).ok());
  EXPECT_EQ(TakeAll(*never_acks).size() + TakeAll(*other).size(), 10u);
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

}  // namespace
}  // namespace pgc
