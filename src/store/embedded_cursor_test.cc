// The cursor of a reader over restarts, and under retention.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/embedded_testing.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::SizeIs;

class EmbeddedCursor : public testing::Test {
 protected:
  EmbeddedStoreOptions Options() {
    EmbeddedStoreOptions options{.ack_interval = milliseconds(1),
                                 .upkeep_interval = milliseconds(1)};
    time_.SetIn(options);
    return options;
  }
  static std::vector<SubscriptionInfo> Cursors(const EventStore& store) {
    const auto info = store.Describe("topic");
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? info->subscriptions : std::vector<SubscriptionInfo>();
  }
  static uint64_t Events(const EventStore& store) { return store.Describe("topic")->events; }
  static void WaitUntil(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
  }
  static absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(EventStore& store,
                                                                 const ReaderStart& start) {
    return store.OpenReader("topic", {.start = start, .cursor = "replica"});
  }
  // What a store opened now finds, had this one been killed.
  Checkpoint AfterACrash() {
    const fs::path copy = temp_.path() / "copy";
    CopyFolder(dir_, copy);
    const auto store = Open(copy, Options());
    const auto cursors = Cursors(*store);
    EXPECT_THAT(cursors, SizeIs(1));
    EXPECT_TRUE(cursors.at(0).cursor);
    return cursors.at(0).acknowledged;
  }

  ManualTime time_;
  TempDir temp_;
  const fs::path dir_ = temp_.path() / "data";
};

TEST_F(EmbeddedCursor, WhereAReaderStartsIsDurableWhenItIsOpen) {
  const auto store = Open(dir_, Options());
  TestWriter writer(*store);
  for (uint64_t lsn = 1; lsn <= 9; ++lsn) {
    writer.AppendAndWait(MakeBatch({MakeBlock(lsn, 0, 1)}, lsn));
  }
  for (const uint64_t after : {5, 2, 9, 1}) {
    const auto reader = OpenReader(*store, FromAfter{{.lsn = Lsn{after}}});
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_EQ(AfterACrash().lsn, Lsn{after});
  }
}

TEST_F(EmbeddedCursor, WhatIsReleasedIsSoonDurable) {
  const auto store = Open(dir_, Options());
  TestWriter writer(*store);
  for (uint64_t lsn = 1; lsn <= 9; ++lsn) {
    writer.AppendAndWait(MakeBatch({MakeBlock(lsn, 0, 1)}, lsn));
  }
  const auto reader = OpenReader(*store, FromBeginning{});
  ASSERT_TRUE(reader.ok()) << reader.status();
  (*reader)->Release(4);
  WaitUntil([&] { return AfterACrash().lsn == Lsn{4}; });
}

TEST_F(EmbeddedCursor, RetentionKeepsWhatIsNotReleasedAlsoWhileNobodyReads) {
  EmbeddedStoreOptions options = Options();
  options.retention_age = hours(1);
  for (int round = 0; round < 2; ++round) {
    const auto store = Open(dir_, options);
    TestWriter writer(*store);
    if (round == 0) {
      for (int block = 0; block < 10; ++block) writer.Append({10});
      const auto reader = OpenReader(*store, FromBeginning{});
      ASSERT_TRUE(reader.ok()) << reader.status();
      ReadCount(**reader, 100);
      (*reader)->Release(45);
      time_.Pass(hours(2));
      WaitUntil([&] { return Events(*store) == 60; });
    }
    time_.Pass(hours(2));
    time_.WaitForUpkeep();
    EXPECT_EQ(Events(*store), 60U);
    EXPECT_EQ(Cursors(*store).at(0).backlog_events, 55U);
  }
  const auto store = Open(dir_, options);
  const auto reader = OpenReader(*store, FromBeginning{});
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_NE((*reader)->start(), Checkpoint{}) << "the beginning is gone";
  EXPECT_EQ(ReadCount(**reader, 1).at(0).ordinal, 40U);
  (*reader)->Release(100);
  WaitUntil([&] { return Events(*store) == 10; });
}

TEST_F(EmbeddedCursor, BeyondTheHardLimitAReplicaIsToldFromWhereOnThereAreEvents) {
  EmbeddedStoreOptions options = Options();
  options.hard_limit_bytes = 2'000;
  const auto store = Open(dir_, options);
  TestWriter writer(*store);
  auto reader = OpenReader(*store, FromBeginning{});
  ASSERT_TRUE(reader.ok()) << reader.status();
  for (uint64_t lsn = 1; lsn <= 100; ++lsn) {
    writer.AppendAndWait(MakeBatch({MakeBlock(lsn, 0, 1)}, lsn));
    EXPECT_EQ(ReadCount(**reader, 1).at(0).checkpoint.lsn, Lsn{lsn}) << "it is far ahead of it";
    time_.Pass(milliseconds(10));
  }
  WaitUntil([&] { return store->Describe("topic")->bytes <= 2'000; });
  const TopicInfo info = *store->Describe("topic");
  ASSERT_GT(info.oldest.lsn, Lsn{20});
  const Checkpoint newest_gone{.lsn = Lsn{info.oldest.lsn.value - 1}};
  EXPECT_EQ(info.subscriptions.at(0).acknowledged, Checkpoint{});
  // It still has what it read.
  (*reader)->Release(99);
  EXPECT_EQ(Cursors(*store).at(0).backlog_events, 1U);
  reader->reset();
  const absl::Status lost = OpenReader(*store, FromAfter{{.lsn = Lsn{10}}}).status();
  EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
  EXPECT_THAT(Message(lost), HasSubstr("events after " + ToKey(newest_gone)));
  EXPECT_THAT(Message(lost), HasSubstr("a new copy"));
  reader = OpenReader(*store, FromAfter{newest_gone});
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->start(), newest_gone);
  EXPECT_EQ(ReadCount(**reader, 1).at(0).checkpoint, info.oldest);
}

TEST_F(EmbeddedCursor, ACursorThatNobodyUsedIsForgottenAndOneInUseIsNot) {
  EmbeddedStoreOptions options = Options();
  options.subscription_ttl = hours(24);
  const auto store = Open(dir_, options);
  TestWriter(*store).Append({10});
  auto reader = OpenReader(*store, FromBeginning{});
  ASSERT_TRUE(reader.ok()) << reader.status();
  time_.Pass(hours(100));
  time_.WaitForUpkeep();
  EXPECT_THAT(Cursors(*store), SizeIs(1));
  reader->reset();
  time_.Pass(hours(25));
  WaitUntil([&] { return Cursors(*store).empty(); });
}

}  // namespace
}  // namespace pgc
