#include "store/records.h"

#include <gtest/gtest.h>

#include "event/wire.h"
#include "store/delivery.h"

namespace pgc {
namespace {

TopicRecord SomeTopic() {
  return {.id = 300,
          .head = {.end = 1'000'000,
                   .last = {.lsn = Lsn{0x16B3748000}, .seq = UINT32_MAX},
                   .captured = Lsn{UINT64_MAX},
                   .origin = std::string("a\0b", 3)}};
}

SubscriptionRecord SomeSubscription() {
  AckRanges acked(1'000);
  acked.Add(1'001, 1'002, 10);
  acked.Add(1'500, 5'000, 10);
  acked.Add(5'001, 10'000, 10);
  return {.acked = acked,
          .last_used_us = 1'700'000'000'000'000,
          .lost_after = {.lsn = Lsn{9}, .seq = 5}};
}

TEST(Records, ATopicReadsBack) {
  const auto read = ParseTopic(EncodeTopic(SomeTopic()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->id, SomeTopic().id);
  EXPECT_EQ(read->head, SomeTopic().head);
}

TEST(Records, TheStoresRecordReadsBack) {
  const auto read = ParseStore(EncodeStore({.next_topic_id = 70'000}));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->next_topic_id, 70'000u);
  EXPECT_TRUE(absl::IsDataLoss(ParseStore("").status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseStore("\1").status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseStore("\2\1").status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseStore("\1\1\1").status()));
}

TEST(Records, AFloorReadsBackAndEveryTruncationIsDataLoss) {
  const TopicFloor floor{.ordinal = 1'000,
                         .before = {.lsn = Lsn{0x16B3748000}, .seq = 7},
                         .newest_commit = kNoCommit,
                         .log_bytes = 123'456'789};
  const std::string bytes = EncodeFloor(floor);
  const auto read = ParseFloor(bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, floor);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseFloor(bytes.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseFloor(bytes + '\0').status()));
}

TEST(Records, ASubscriptionReadsBack) {
  const auto read = ParseSubscription(EncodeSubscription(SomeSubscription()), 10'000);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, SomeSubscription());
}

SubscriptionRecord SomeCursor() {
  return {.acked = AckRanges(1'000),
          .last_used_us = 1'700'000'000'000'000,
          .lost_after = {.lsn = Lsn{300}, .seq = 4},
          .cursor = true};
}

TEST(Records, ACursorReadsBackAndNothingElseOfItIsOne) {
  const std::string bytes = EncodeSubscription(SomeCursor());
  const auto read = ParseSubscription(bytes, 10'000);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, SomeCursor());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(bytes.substr(0, length), 10'000).status()))
        << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(bytes + '\0', 10'000).status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(bytes, 999).status()));
}

TEST(Records, EveryTruncationAndEveryExtensionIsDataLoss) {
  const std::string topic = EncodeTopic(SomeTopic());
  for (size_t length = 0; length < topic.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseTopic(topic.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseTopic(topic + '\0').status()));
  const std::string acked = EncodeSubscription(SomeSubscription());
  for (size_t length = 0; length < acked.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(acked.substr(0, length), 10'000).status()))
        << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(acked + '\0', 10'000).status()));
}

TEST(Records, AnotherVersionIsDataLoss) {
  std::string topic = EncodeTopic(SomeTopic());
  std::string acked = EncodeSubscription(SomeSubscription());
  topic[0] = 2;
  acked[0] = 3;
  EXPECT_TRUE(absl::IsDataLoss(ParseTopic(topic).status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(acked, 10'000).status()));
}

TEST(Records, AcksBeyondTheEndOfTheTopicAreDataLoss) {
  const std::string acked = EncodeSubscription(SomeSubscription());
  for (const uint64_t end : {0, 999, 1'000, 9'999}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(acked, end).status())) << end;
  }
}

TEST(Records, RangesThatCannotBeAreDataLoss) {
  const auto record = [](std::initializer_list<uint64_t> numbers) {
    std::string bytes(1, '\1');
    for (const uint64_t number : numbers) wire::AppendVarint(bytes, number);
    return bytes;
  };
  EXPECT_TRUE(ParseSubscription(record({0, 0, 0, 5, 1, 1, 1}), UINT64_MAX).ok());
  for (const std::string& bad :
       {record({0, 0, 0, 5, 1, 0, 1}), record({0, 0, 0, 5, 1, 1, 0}),
        record({0, 0, 0, 5, 1, UINT64_MAX, 1}), record({0, 0, 0, 5, 1, 1, UINT64_MAX}),
        record({0, 0, 0, 5, UINT64_MAX}), record({0, 0, 0, 5, UINT32_MAX, 1, 1}),
        record({0, 0, 0, 5, Delivery::kMaxRanges + 1, 1, 1})}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSubscription(bad, UINT64_MAX).status()));
  }
}

}  // namespace
}  // namespace pgc
