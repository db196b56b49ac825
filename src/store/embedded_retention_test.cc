// What retention removes, what it never removes, and what it says where it had to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "store/embedded_testing.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::milliseconds;
using testing::HasSubstr;

// One transaction of one event, which does not compress.
std::shared_ptr<const Block> Incompressible(uint64_t lsn, size_t bytes) {
  std::mt19937_64 random(lsn);
  BlockBuilder builder;
  uint8_t* out = builder.Add(EventKind::kCommit, Event::kNoTable, {.lsn = Lsn{lsn}}, bytes);
  for (size_t i = 0; i + sizeof(uint64_t) <= bytes; i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(out + i, &word, sizeof word);
  }
  return builder.Finish();
}

class Retention : public testing::Test {
 protected:
  EmbeddedStoreOptions Options() {
    EmbeddedStoreOptions options{.ack_interval = milliseconds(1),
                                 .upkeep_interval = milliseconds(1)};
    time_.SetIn(options);
    return options;
  }
  static TopicInfo Describe(const EventStore& store, std::string_view topic = "topic") {
    auto info = store.Describe(topic);
    EXPECT_TRUE(info.ok()) << info.status();
    return *std::move(info);
  }
  static void WaitForEvents(const EventStore& store, uint64_t events,
                            std::string_view topic = "topic") {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (Describe(store, topic).events != events) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << Describe(store, topic).events;
      std::this_thread::yield();
    }
  }
  static absl::Status OpenAt(EventStore& store, const SubscriptionStart& start) {
    ConsumerOptions options;
    options.ephemeral = true;
    options.start = start;
    return store.OpenConsumer("topic", "e", options).status();
  }

  ManualTime time_;
  TempDir temp_;
  const fs::path dir_ = temp_.path() / "data";
};

TEST_F(Retention, WhatIsTooOldGoesAndWhatASubscriptionNeedsStays) {
  EmbeddedStoreOptions options = Options();
  options.retention_age = std::chrono::hours(24);
  options.subscription_ttl = std::chrono::seconds(0);
  const auto store = Open(dir_, options);
  TestWriter writer(*store);
  auto consumer = OpenConsumer(*store);
  for (int hour = 0; hour < 10; ++hour) {
    writer.Append({10});
    time_.Pass(hours(1));
  }
  TakeAll(*consumer);
  for (uint64_t i = 0; i < 45; ++i) ASSERT_TRUE(consumer->Ack(DataOf(i)).ok());
  // Until the first three blocks are older than a day.
  time_.Pass(hours(16) + milliseconds(1));
  WaitForEvents(*store, 70);
  time_.Pass(hours(100));
  WaitForEvents(*store, 60);
  EXPECT_EQ(Describe(*store).subscriptions[0].backlog_events, 55u);
  consumer = nullptr;
  consumer = OpenConsumer(*store);
  const auto left = TakeAll(*consumer);
  ASSERT_EQ(left.size(), 55u);
  EXPECT_EQ(left.front().ordinal, 45u);
  for (const Seen& event : left) ASSERT_TRUE(consumer->Ack(DataOf(event.ordinal)).ok());
  WaitForEvents(*store, 10);
  writer.Append({5});
  EXPECT_EQ(TakeAll(*consumer).size(), 5u);
}

TEST_F(Retention, ALogWithoutItsBeginningSaysSo) {
  EmbeddedStoreOptions options = Options();
  options.retention_bytes = 100'000;
  for (int round = 0; round < 2; ++round) {
    const auto store = Open(dir_, options);
    if (round == 0) {
      TestWriter writer(*store);
      writer.AppendAndWait(MakeBatch({MakeTransactions(1, {{500}, {700}})}, 10));
      for (uint64_t lsn = 10; lsn < 20; ++lsn) {
        writer.AppendAndWait(MakeBatch({Incompressible(lsn, 30'000)}, lsn));
      }
    }
    WaitForEvents(*store, 3);
    const TopicInfo info = Describe(*store);
    EXPECT_EQ(info.oldest.lsn, Lsn{17});
    EXPECT_LE(info.bytes, 100'000u);
    EXPECT_GE(info.bytes, 90'000u);
    const auto reader = store->OpenReader("topic", {.start = FromBeginning{}});
    const auto slice = (*reader)->Next({});
    ASSERT_TRUE(slice.ok()) << slice.status();
    EXPECT_EQ(slice->ordinal, 11u);
    const absl::Status after =
        store->OpenReader("topic", {.start = FromAfter{{.lsn = Lsn{15}, .seq = 0}}}).status();
    EXPECT_TRUE(absl::IsDataLoss(after)) << after;
    EXPECT_THAT(Message(after), HasSubstr("removed by retention"));
    EXPECT_THAT(Message(after), HasSubstr("0/10|0"));
    EXPECT_TRUE(store->OpenReader("topic", {.start = FromAfter{{.lsn = Lsn{16}, .seq = 0}}}).ok());
    EXPECT_TRUE(absl::IsDataLoss(OpenAt(*store, FromAfterLsn{Lsn{15}})));
    EXPECT_TRUE(OpenAt(*store, FromAfterLsn{Lsn{16}}).ok());
    EXPECT_TRUE(absl::IsDataLoss(OpenAt(*store, FromTime{{700}})));
    EXPECT_TRUE(OpenAt(*store, FromTime{{701}}).ok());
    EXPECT_TRUE(OpenAt(*store, FromBeginning{}).ok());
  }
}

TEST_F(Retention, AReaderThatIsOvertakenIsToldSo) {
  EmbeddedStoreOptions options = Options();
  options.retention_bytes = 100'000;
  const auto store = Open(dir_, options);
  TestWriter writer(*store);
  writer.AppendAndWait(MakeBatch({Incompressible(1, 30'000)}, 1));
  const auto reader = store->OpenReader("topic", {.start = FromBeginning{}});
  for (uint64_t lsn = 2; lsn < 20; ++lsn) {
    writer.AppendAndWait(MakeBatch({Incompressible(lsn, 30'000)}, lsn));
  }
  WaitForEvents(*store, 3);
  const absl::Status status = (*reader)->Next({}).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("removed by retention"));
}

TEST_F(Retention, BeyondTheHardLimitASubscriptionIsToldWhatItLost) {
  EmbeddedStoreOptions options = Options();
  options.hard_limit_bytes = 100'000;
  {
    const auto store = Open(dir_, options);
    TestWriter writer(*store);
    auto consumer = OpenConsumer(*store);
    auto up_to_date = OpenConsumer(*store, "up to date");
    for (uint64_t lsn = 1; lsn < 3; ++lsn) {
      writer.AppendAndWait(MakeBatch({Incompressible(lsn, 30'000)}, lsn));
      time_.Pass(hours(1));
    }
    ASSERT_TRUE((*consumer).TryNext().ok());
    ASSERT_TRUE(consumer->Ack(DataOf(0)).ok());
    while (*up_to_date->TryNext()) {
    }
    for (uint64_t i = 0; i < 2; ++i) ASSERT_TRUE(up_to_date->Ack(DataOf(i)).ok());
    ASSERT_TRUE(consumer->TryNext().ok());
    Signal ready;
    consumer->NotifyWhenReady([&] { ready.Set(); });
    for (uint64_t lsn = 3; lsn < 10; ++lsn) {
      writer.AppendAndWait(MakeBatch({Incompressible(lsn, 30'000)}, lsn));
      while (true) {
        const auto slice = up_to_date->TryNext();
        ASSERT_TRUE(slice.ok()) << slice.status();
        if (!*slice) break;
        up_to_date->AckRange(**slice, (*slice)->begin, (*slice)->end);
      }
      time_.Pass(hours(1));
    }
    WaitForEvents(*store, 3);
    ASSERT_TRUE(ready.Wait());
    const absl::Status status = consumer->TryNext().status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(Message(status), HasSubstr("after 0/1|0 up to 0/6|0"));
    EXPECT_THAT(Message(status), HasSubstr("seek"));
    EXPECT_TRUE(up_to_date->TryNext().ok());
  }
  const auto store = Open(dir_, options);
  const absl::Status status = store->OpenConsumer("topic", "s", {}).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("after 0/1|0 up to 0/6|0"));
  for (const SubscriptionInfo& one : Describe(*store).subscriptions) {
    EXPECT_EQ(one.acknowledged.lsn, one.name == "s" ? Lsn{1} : Lsn{9}) << one.name;
  }
  ASSERT_TRUE(store->Seek("topic", "s", FromBeginning{}).ok());
  const auto consumer = store->OpenConsumer("topic", "s", {});
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  const auto slice = (*consumer)->TryNext();
  ASSERT_TRUE(slice.ok() && *slice) << slice.status();
  EXPECT_EQ((*slice)->ordinal, 6u);
}

TEST_F(Retention, OfAllTopicsTheOldestEventsGoFirst) {
  EmbeddedStoreOptions options = Options();
  options.hard_limit_bytes = 200'000;
  const auto store = Open(dir_, options);
  TestWriter old_writer(*store, "old");
  TestWriter writer(*store);
  for (uint64_t lsn = 1; lsn < 4; ++lsn) {
    old_writer.AppendAndWait(MakeBatch({Incompressible(lsn, 30'000)}, lsn));
    time_.Pass(hours(1));
  }
  for (uint64_t lsn = 1; lsn < 6; ++lsn) {
    writer.AppendAndWait(MakeBatch({Incompressible(lsn, 30'000)}, lsn));
    time_.Pass(hours(1));
  }
  WaitForEvents(*store, 1, "old");
  WaitForEvents(*store, 5);
}

uint64_t BytesOf(const fs::path& dir) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(dir)) {
    std::error_code error;
    const auto size = fs::file_size(entry.path(), error);
    if (!error) bytes += size;
  }
  return bytes;
}

// Files go in the background.
void WaitUntilNotAbove(uint64_t bytes, const fs::path& dir) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (BytesOf(dir) > bytes) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << BytesOf(dir);
    std::this_thread::yield();
  }
}

TEST_F(Retention, SpaceReallyComesBack) {
  constexpr uint64_t kMiB = 1 << 20;
  EmbeddedStoreOptions options = Options();
  options.retention_bytes = 10 * kMiB;
  const auto store = Open(dir_, options);
  TestWriter writer(*store);
  for (uint64_t lsn = 1; lsn <= 400; ++lsn) {
    writer.AppendAndWait(MakeBatch({Incompressible(lsn, kMiB)}, lsn));
    if (lsn % 50 != 0) continue;
    // The write-ahead log, and tables that are not sorted in yet.
    ASSERT_NO_FATAL_FAILURE(WaitUntilNotAbove(140 * kMiB, dir_)) << lsn;
  }
}

TEST_F(Retention, ADeletedTopicGivesItsSpaceBack) {
  constexpr uint64_t kMiB = 1 << 20;
  const auto store = Open(dir_, Options());
  {
    TestWriter writer(*store);
    for (uint64_t lsn = 1; lsn <= 200; ++lsn) {
      writer.AppendAndWait(MakeBatch({Incompressible(lsn, kMiB)}, lsn));
    }
  }
  ASSERT_GE(BytesOf(dir_), 200 * kMiB);
  ASSERT_TRUE(store->DeleteTopic("topic").ok());
  WaitUntilNotAbove(150 * kMiB, dir_);
}

}  // namespace
}  // namespace pgc
