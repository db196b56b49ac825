// What every EventStore promises to a reader that has a cursor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "store/store_contract.h"

namespace pgc {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

Checkpoint At(uint64_t lsn, uint32_t seq = 0) { return {.lsn = Lsn{lsn}, .seq = seq}; }

class Cursors : public Contract {
 protected:
  // Events of lsn 10, 20, … 10 * `transactions`, two each.
  Cursors() : writer_(*store_) {}
  void Fill(uint64_t transactions) {
    std::vector<std::shared_ptr<const Block>> blocks;
    for (uint64_t i = 1; i <= transactions; ++i) blocks.push_back(MakeBlock(10 * i, 0, 2));
    writer_.AppendAndWait(MakeBatch(std::move(blocks), 10 * transactions));
  }
  std::unique_ptr<EventReader> Open(const ReaderStart& start) {
    auto reader = store_->OpenReader("topic", {.start = start, .cursor = "replica"});
    EXPECT_TRUE(reader.ok()) << reader.status();
    return reader.ok() ? *std::move(reader) : nullptr;
  }
  SubscriptionInfo Describe() {
    const auto info = store_->Describe("topic");
    EXPECT_TRUE(info.ok()) << info.status();
    EXPECT_THAT(info->subscriptions, SizeIs(1));
    return info->subscriptions.at(0);
  }

  TestWriter writer_;
};

TEST_P(Cursors, ACursorIsWhereItsReaderStartsAndMovesWithWhatIsReleased) {
  Fill(5);
  const auto reader = Open(FromAfter{At(20, 1)});
  EXPECT_EQ(reader->start(), At(20, 1));
  SubscriptionInfo cursor = Describe();
  EXPECT_EQ(cursor.name, "replica");
  EXPECT_TRUE(cursor.cursor);
  EXPECT_EQ(cursor.acknowledged, At(20, 1));
  EXPECT_EQ(cursor.backlog_events, 6U);
  EXPECT_EQ(cursor.consumers, 1U);
  EXPECT_EQ(Ordinals(ReadCount(*reader, 6)), UpTo(4, 10));
  EXPECT_EQ(Describe().backlog_events, 6U) << "read is not released";
  reader->Release(8);
  cursor = Describe();
  EXPECT_EQ(cursor.acknowledged, At(40, 1));
  EXPECT_EQ(cursor.backlog_events, 2U);
}

TEST_P(Cursors, WhatIsReleasedNeverComesBackAndIsNeverBeyondTheEnd) {
  Fill(5);
  const auto reader = Open(FromBeginning{});
  reader->Release(6);
  reader->Release(2);
  EXPECT_EQ(Describe().backlog_events, 4U);
  reader->Release(UINT64_MAX);
  EXPECT_EQ(Describe().backlog_events, 0U);
  writer_.AppendAndWait(MakeBatch({MakeBlock(60, 0, 3)}, 60));
  EXPECT_EQ(Describe().backlog_events, 3U);
}

TEST_P(Cursors, OpeningSetsTheCursorBackAndForth) {
  Fill(5);
  Open(FromAfter{At(40, 1)});
  EXPECT_EQ(Describe().acknowledged, At(40, 1));
  auto reader = Open(FromAfter{At(10, 0)});
  EXPECT_EQ(Describe().acknowledged, At(10, 0));
  EXPECT_EQ(ReadCount(*reader, 1).at(0).checkpoint, At(10, 1));
  reader = nullptr;
  reader = Open(FromEnd{});
  EXPECT_EQ(reader->start(), At(50, 1));
  EXPECT_EQ(Describe().backlog_events, 0U);
  reader = nullptr;
  reader = Open(FromBeginning{});
  EXPECT_EQ(reader->start(), Checkpoint{});
  EXPECT_EQ(Describe().backlog_events, 10U);
}

TEST_P(Cursors, StartIsTheCheckpointItselfOnlyWhereTheLogHasIt) {
  Fill(5);
  const auto start = [&](const Checkpoint& after) {
    const auto reader = store_->OpenReader("topic", {.start = FromAfter{after}});
    EXPECT_TRUE(reader.ok()) << reader.status();
    return reader.ok() ? (*reader)->start() : Checkpoint{};
  };
  EXPECT_EQ(start(At(20, 1)), At(20, 1));
  EXPECT_EQ(start(At(25)), At(20, 1));
  EXPECT_EQ(start(At(5)), Checkpoint{}) << "the log begins later";
  EXPECT_EQ(start(At(60)), At(50, 1)) << "the log has not come there";
}

TEST_P(Cursors, ACursorHasOneReaderAtATimeAndIsNotDeletedUnderIt) {
  Fill(5);
  auto reader = Open(FromBeginning{});
  reader->Release(4);
  const absl::Status second =
      store_->OpenReader("topic", {.start = FromEnd{}, .cursor = "replica"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr("cursor replica of topic topic is in use"));
  EXPECT_EQ(Describe().backlog_events, 6U) << "the second has moved nothing";
  EXPECT_TRUE(store_->OpenReader("topic", {.start = FromEnd{}, .cursor = "another"}).ok());
  ASSERT_TRUE(store_->DeleteSubscription("topic", "another").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->DeleteSubscription("topic", "replica")));
  reader = nullptr;
  EXPECT_EQ(Describe().consumers, 0U);
  ASSERT_TRUE(store_->DeleteSubscription("topic", "replica").ok());
  EXPECT_THAT(store_->Describe("topic")->subscriptions, SizeIs(0));
}

TEST_P(Cursors, ATopicIsNotDeletedUnderACursorInUse) {
  TestWriter(*store_, "other").Append({2});
  auto reader = *store_->OpenReader("other", {.cursor = "replica"});
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->DeleteTopic("other")));
  reader = nullptr;
  EXPECT_TRUE(store_->DeleteTopic("other").ok());
}

TEST_P(Cursors, ACursorIsNoSubscriptionAndASubscriptionNoCursor) {
  Fill(1);
  const auto reader = Open(FromBeginning{});
  const absl::Status consumer = store_->OpenConsumer("topic", "replica", {}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(consumer)) << consumer;
  EXPECT_THAT(std::string(consumer.message()), HasSubstr("replica is the cursor"));
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Seek("topic", "replica", FromEnd{})));
  EXPECT_EQ(Describe().backlog_events, 2U);
  const auto mail = OpenConsumer(*store_, "mail");
  const absl::Status cursor = store_->OpenReader("topic", {.cursor = "mail"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(cursor)) << cursor;
  EXPECT_THAT(std::string(cursor.message()), HasSubstr("mail is a subscription"));
}

TEST_P(Cursors, ACursorsNameHasALimit) {
  const std::string longest(EventStore::kMaxNameBytes, 'n');
  EXPECT_TRUE(store_->OpenReader("topic", {.cursor = longest}).ok());
  EXPECT_TRUE(
      absl::IsInvalidArgument(store_->OpenReader("topic", {.cursor = longest + "n"}).status()));
}

TEST_P(Cursors, AnotherThreadReleasesWhileTheReaderWaits) {
  const auto reader = Open(FromBeginning{});
  std::atomic<uint64_t> read = 0;
  std::stop_source stop;
  std::jthread reading([&] {
    while (true) {
      const auto slice = reader->Next(stop.get_token());
      if (!slice.ok()) {
        EXPECT_TRUE(absl::IsCancelled(slice.status())) << slice.status();
        return;
      }
      read = slice->ordinal + (slice->end - slice->begin);
    }
  });
  for (uint64_t events = 3; events <= 600; events += 3) {
    writer_.Append({3});
    reader->Release(read);
  }
  while (read < 600) std::this_thread::yield();
  reader->Release(read);
  EXPECT_EQ(Describe().backlog_events, 0U);
  stop.request_stop();
}

TEST_P(Cursors, AReaderWithoutACursorReleasesNothing) {
  Fill(2);
  const auto reader = store_->OpenReader("topic", {});
  ASSERT_TRUE(reader.ok()) << reader.status();
  (*reader)->Release(2);
  EXPECT_EQ((*reader)->start(), Checkpoint{});
  EXPECT_EQ(Ordinals(ReadCount(**reader, 4)), UpTo(0, 4));
  EXPECT_THAT(store_->Describe("topic")->subscriptions, SizeIs(0));
}

INSTANTIATE_TEST_SUITE_P(Store, Cursors, testing::ValuesIn(Backends()), BackendName());

}  // namespace
}  // namespace pgc
