// What the embedded store promises beyond every store: what is on the disk stays, and what cannot
// be used is refused with a message that names it.
#include "store/embedded_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <numeric>
#include <random>
#include <thread>

#include "store/embedded_testing.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

#if defined(__SANITIZE_THREAD__)
// RocksDB as packaged is not instrumented, so what its threads order with atomics and mutexes of
// their own looks like a race in the functions that are intercepted, and in templates of its
// headers.
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }
extern "C" const char* __tsan_default_suppressions() {
  return "race:librocksdb.so\nrace:libsnappy.so\n";
}
#endif

namespace pgc {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<uint64_t> UpTo(uint64_t end) {
  std::vector<uint64_t> ordinals(end);
  std::iota(ordinals.begin(), ordinals.end(), uint64_t{0});
  return ordinals;
}

class Embedded : public testing::Test {
 protected:
  TempDir temp_;
  const fs::path dir_ = temp_.path() / "data";
};

// --- what stays

TEST_F(Embedded, KeepsEverythingOverACleanEnd) {
  {
    const auto store = Open(dir_);
    TestWriter writer(*store);
    TestWriter other(*store, "other");
    auto consumer = OpenConsumer(*store);
    writer.Append({10, 10});
    other.Append({1});
    TakeAll(*consumer);
    for (const uint64_t ordinal : {0, 1, 5, 6, 18}) {
      EXPECT_TRUE(consumer->Ack(DataOf(ordinal)).ok());
    }
    writer.AppendAndWait(MakeBatch({}, 100));
  }
  const auto store = Open(dir_);
  EXPECT_THAT(store->Topics(), ElementsAre("other", "topic"));
  TestWriter writer(*store);
  EXPECT_EQ(writer.resume().captured, Lsn{100});
  EXPECT_EQ(writer.resume().last, (Checkpoint{.lsn = Lsn{2}, .seq = 9}));
  EXPECT_EQ(writer.resume().origin, "origin");
  writer.Append({2});
  auto consumer = OpenConsumer(*store);
  EXPECT_EQ(consumer->start(), (Checkpoint{.lsn = Lsn{1}, .seq = 1}));
  EXPECT_THAT(Ordinals(TakeAll(*consumer)),
              ElementsAre(2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21));
  EXPECT_EQ(Ordinals(ReadCount(**store->OpenReader("topic", {.start = FromBeginning{}}), 22)),
            UpTo(22));
}

TEST_F(Embedded, AMoveAndADeletionAreDurableWhenTheyReturn) {
  const auto store = Open(dir_, {.ack_interval = std::chrono::hours(1)});
  TestWriter writer(*store);
  TestWriter(*store, "gone").Append({1});
  OpenConsumer(*store, "moved");
  OpenConsumer(*store, "deleted");
  OpenConsumer(*store, "lost", "gone");
  writer.Append({3});
  ASSERT_TRUE(store->Seek("topic", "moved", FromBeginning{}).ok());
  ASSERT_TRUE(store->DeleteSubscription("topic", "deleted").ok());
  ASSERT_TRUE(store->DeleteTopic("gone").ok());
  CopyFolder(dir_, temp_.path() / "copy");
  const auto copy = Open(temp_.path() / "copy");
  EXPECT_THAT(copy->Topics(), ElementsAre("topic"));
  ASSERT_EQ(copy->Describe("topic")->subscriptions.size(), 1u);
  EXPECT_EQ(Ordinals(TakeAll(*OpenConsumer(*copy, "moved"))), UpTo(3));
}

TEST_F(Embedded, ADeletedTopicsIdIsNotUsedAgain) {
  {
    const auto store = Open(dir_);
    TestWriter(*store, "first").Append({3});
    OpenConsumer(*store, "s", "first");
    ASSERT_TRUE(store->DeleteTopic("first").ok());
  }
  const auto store = Open(dir_);
  TestWriter(*store, "second").Append({2});
  EXPECT_TRUE(store->Describe("second")->subscriptions.empty());
  EXPECT_EQ(Ordinals(ReadCount(**store->OpenReader("second", {.start = FromBeginning{}}), 2)),
            UpTo(2));
}

TEST_F(Embedded, ASubscriptionThatNobodyUsesIsForgotten) {
  ManualTime time;
  EmbeddedStoreOptions options{.ack_interval = milliseconds(1),
                               .subscription_ttl = hours(24),
                               .upkeep_interval = milliseconds(1)};
  time.SetIn(options);
  const auto names = [](const EventStore& store) {
    std::vector<std::string> found;
    const auto info = store.Describe("topic");
    EXPECT_TRUE(info.ok()) << info.status();
    for (const auto& one : info->subscriptions) found.push_back(one.name);
    return found;
  };
  {
    const auto store = Open(dir_, options);
    TestWriter writer(*store);
    const auto used = OpenConsumer(*store, "used");
    OpenConsumer(*store, "unused");
    time.Pass(hours(23));
    OpenConsumer(*store, "later");
  }
  // The day went by while nothing ran: its consumers have an hour to come back.
  time.Pass(hours(2));
  const auto store = Open(dir_, options);
  EXPECT_THAT(names(*store), ElementsAre("later", "unused", "used"));
  time.Pass(hours(1) - milliseconds(1));
  time.WaitForUpkeep();
  EXPECT_THAT(names(*store), ElementsAre("later", "unused", "used"));
  time.Pass(milliseconds(1));
  while (names(*store).size() == 3) std::this_thread::yield();
  EXPECT_THAT(names(*store), ElementsAre("later", "used"));
  const auto used = OpenConsumer(*store, "used");
  time.Pass(hours(100));
  while (names(*store).size() == 2) std::this_thread::yield();
  EXPECT_THAT(names(*store), ElementsAre("used"));
}

TEST_F(Embedded, ASearchByTimeWorksOverARestart) {
  TestWriter(*Open(dir_)).AppendAndWait(MakeBatch({MakeTransactions(10, {{100}, {300}})}, 20));
  const auto store = Open(dir_);
  TestWriter(*store).AppendAndWait(MakeBatch({MakeTransactions(12, {{200}, {400}})}, 30));
  ConsumerOptions options;
  for (const auto& [time, ordinal] : {std::pair(200, 2), std::pair(301, 6)}) {
    options.start = FromTime{{time}};
    const auto consumer = store->OpenConsumer("topic", std::to_string(time), options);
    ASSERT_TRUE(consumer.ok()) << consumer.status();
    const auto slice = (*consumer)->TryNext();
    ASSERT_TRUE(slice.ok() && *slice) << slice.status();
    EXPECT_EQ((*slice)->ordinal, static_cast<uint64_t>(ordinal));
  }
}

TEST_F(Embedded, ACleanEndSavesAcknowledgementsAtOnce) {
  {
    const auto store = Open(dir_, {.ack_interval = std::chrono::hours(1)});
    TestWriter writer(*store);
    auto consumer = OpenConsumer(*store);
    writer.Append({3});
    TakeAll(*consumer);
    EXPECT_TRUE(consumer->Ack(DataOf(1)).ok());
  }
  EXPECT_THAT(Ordinals(TakeAll(*OpenConsumer(*Open(dir_)))), ElementsAre(0, 2));
}

TEST_F(Embedded, AcknowledgementsAreSavedWithoutAnEnd) {
  const auto store = Open(dir_, {.ack_interval = milliseconds(1)});
  TestWriter writer(*store);
  auto consumer = OpenConsumer(*store);
  writer.Append({3});
  TakeAll(*consumer);
  EXPECT_TRUE(consumer->Ack(DataOf(0)).ok());
  EXPECT_TRUE(consumer->Ack(DataOf(2)).ok());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::vector<uint64_t> left;
  do {
    const fs::path copy = temp_.path() / "copy";
    CopyFolder(dir_, copy);
    // A copy that was made while a file changed does not open.
    const auto copied = OpenEmbeddedStore(copy, {});
    if (copied.ok()) left = Ordinals(TakeAll(*OpenConsumer(**copied)));
  } while (left != std::vector<uint64_t>{1} && std::chrono::steady_clock::now() < deadline);
  EXPECT_THAT(left, ElementsAre(1));
}

TEST_F(Embedded, ANewSubscriptionIsOnTheDiskWhenItIsOpen) {
  const auto store = Open(dir_, {.ack_interval = std::chrono::hours(1)});
  TestWriter writer(*store);
  writer.Append({3});
  auto consumer = OpenConsumer(*store);
  auto ephemeral = store->OpenConsumer("topic", "e", {.ephemeral = true});
  CopyFolder(dir_, temp_.path() / "copy");
  const auto copy = Open(temp_.path() / "copy");
  TestWriter(*copy).Append({2});
  EXPECT_THAT(Ordinals(TakeAll(*OpenConsumer(*copy))), ElementsAre(3, 4));
  EXPECT_THAT(TakeAll(*OpenConsumer(*copy, "e")), IsEmpty());
}

TEST_F(Embedded, WhatWasHandedOutBeforeARestartMayStillBeAcknowledged) {
  {
    const auto store = Open(dir_);
    TestWriter writer(*store);
    auto consumer = OpenConsumer(*store);
    writer.Append({3});
    TakeAll(*consumer);
  }
  const auto store = Open(dir_);
  auto consumer = OpenConsumer(*store);
  EXPECT_TRUE(consumer->Ack(DataOf(2)).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(consumer->Ack(DataOf(3))));
  EXPECT_THAT(Ordinals(TakeAll(*consumer)), ElementsAre(0, 1));
}

// --- what cannot be used

TEST_F(Embedded, ADirectoryInUseIsRefused) {
  const auto store = Open(dir_);
  const absl::Status status = OpenStatus(dir_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(Message(status), "data directory " + dir_.string() + " is in use by another process");
  TestWriter(*store).Append({1});
}

TEST_F(Embedded, AForeignDirectoryIsRefusedAndLeftAlone) {
  fs::create_directories(dir_);
  WriteFile(dir_ / "letter.txt", "dear");
  const absl::Status status = OpenStatus(dir_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(Message(status), HasSubstr(dir_.string() + " is not a pgcapture store"));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), {}), 1);
}

TEST_F(Embedded, TheRootOfADiskIsNoForeignDirectory) {
  fs::create_directories(dir_ / "lost+found");
  EXPECT_TRUE(OpenStatus(dir_).ok());
}

TEST_F(Embedded, ANewerFormatIsRefusedNamingBoth) {
  Open(dir_);
  WriteFile(dir_ / "PGCAPTURE", "pgcapture store, format 12\n");
  const absl::Status status = OpenStatus(dir_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(Message(status), HasSubstr(dir_.string() + " has format 12"));
  EXPECT_THAT(Message(status), HasSubstr("knows format 1:"));
}

TEST_F(Embedded, ADamagedMarkerIsDataLoss) {
  Open(dir_);
  for (const char* marker : {"x", "pgcapture store, format \n", "pgcapture store, format 1",
                             "pgcapture store, format 1x\n", "pgcapture store, format 0\n",
                             "pgcapture store, format 99999999999\n"}) {
    WriteFile(dir_ / "PGCAPTURE", marker);
    EXPECT_TRUE(absl::IsDataLoss(OpenStatus(dir_))) << marker;
  }
}

TEST_F(Embedded, AMakingThatWasInterruptedIsDoneAgain) {
  fs::create_directories(dir_);
  WriteFile(dir_ / "PGCAPTURE", "");
  WriteFile(dir_ / "MANIFEST-000001", "");
  TestWriter(*Open(dir_)).Append({1});
  EXPECT_EQ(TestWriter(*Open(dir_)).resume().last.lsn, Lsn{1});
}

TEST_F(Embedded, APathThatCannotBeADirectoryIsRefused) {
  WriteFile(dir_, "a file");
  for (const fs::path& path : {dir_, dir_ / "below"}) {
    const absl::Status status = OpenStatus(path);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(Message(status), HasSubstr(path.string()));
  }
}

TEST_F(Embedded, ADirectoryThatIsNotWritableIsRefused) {
  Open(dir_);
  const fs::path parent = temp_.path() / "parent";
  fs::create_directories(parent);
  const bool root = geteuid() == 0;
  const auto perms = fs::perms::owner_read | fs::perms::owner_exec;
  fs::permissions(dir_ / "PGCAPTURE", fs::perms::owner_read);
  fs::permissions(parent, perms);
  ASSERT_EQ(root ? seteuid(65'534) : 0, 0);
  const absl::Status made = OpenStatus(dir_);
  const absl::Status missing = OpenStatus(parent / "below");
  ASSERT_EQ(root ? seteuid(0) : 0, 0);
  fs::permissions(parent, fs::perms::owner_all);
  for (const absl::Status& status : {made, missing}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(Message(status), HasSubstr(temp_.path().string()));
    EXPECT_THAT(Message(status), HasSubstr("ermission denied"));
  }
}

// Files cannot grow beyond so many bytes as long as this lives: a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit before_{};
};

TEST_F(Embedded, AFullDiskStopsTheWriterAndLosesNothing) {
  uint64_t durable = 0;
  uint64_t acked = 0;
  {
    const auto store = Open(dir_, {.queue_bytes = 1});
    auto sink = store->OpenWriter("topic");
    ASSERT_TRUE(sink.ok());
    std::atomic<uint64_t> captured = 0;
    ASSERT_TRUE((*sink)->Open([&](Lsn lsn) { captured = lsn.value; }).ok());
    auto consumer = OpenConsumer(*store);
    absl::Status status;
    std::mt19937 random(1);
    {
      const FullDisk full(256 << 10);
      for (uint64_t lsn = 1; status.ok(); ++lsn) {
        ASSERT_LT(lsn, 10'000u);
        BlockBuilder builder;
        uint8_t* const out =
            builder.Add(EventKind::kBegin, Event::kNoTable, {.lsn = Lsn{lsn}}, 10'000);
        for (int i = 0; i < 10'000; ++i) out[i] = static_cast<uint8_t>(random());
        status = (*sink)->Append(MakeBatch({builder.Finish()}, lsn));
      }
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      EXPECT_THAT(Message(status), HasSubstr("data directory " + dir_.string() + " is full"));
      EXPECT_THAT(Message(status), HasSubstr("make room"));
    }
    // There is room now, but what failed must not be left out.
    EXPECT_EQ((*sink)->Append(MakeBatch({}, 99'999)), status);
    sink->reset();
    EXPECT_EQ(store->OpenWriter("topic").status(), status);
    EXPECT_EQ(store->OpenConsumer("topic", "new", {}).status(), status);
    durable = captured;
    while (true) {
      const auto slice = consumer->TryNext();
      ASSERT_TRUE(slice.ok()) << slice.status();
      if (!*slice) break;
      acked = (*slice)->ordinal + 1;
    }
  }
  EXPECT_GT(durable, 0u);
  EXPECT_EQ(acked, durable) << "readers saw what was reported durable, and nothing else";
  const auto store = Open(dir_);
  TestWriter writer(*store);
  EXPECT_GE(writer.resume().captured, Lsn{durable});
  writer.Append({1});
}

TEST_F(Embedded, AcknowledgementsThatCannotBeSavedAreRefused) {
  const auto store = Open(dir_, {.ack_interval = milliseconds(1)});
  TestWriter writer(*store);
  auto consumer = OpenConsumer(*store);
  writer.Append({100'000});
  TakeAll(*consumer);
  const FullDisk full(1);
  absl::Status status;
  for (uint64_t i = 0; status.ok(); i = (i + 7) % 100'000) {
    status = consumer->Ack(DataOf(i));
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("make room"));
}

// --- the writer's queue

TEST_F(Embedded, AppendWaitsForTheDiskWhenTheQueueIsFull) {
  const auto block = MakeBlock(1, 0, 2'000);
  const size_t bytes = block->bytes().size();
  const auto store = Open(dir_, {.queue_bytes = 4 * bytes, .group_bytes = 1});
  auto sink = store->OpenWriter("topic");
  ASSERT_TRUE(sink.ok());
  Signal blocked;
  Signal go_on;
  std::atomic<bool> first = true;
  ASSERT_TRUE((*sink)
                  ->Open([&](Lsn) {
                    if (!first.exchange(false)) return;
                    blocked.Set();
                    go_on.Wait();
                  })
                  .ok());
  std::atomic<uint64_t> appended = 0;
  Signal queue_full;
  Signal all;
  std::jthread thread([&] {
    for (uint64_t lsn = 1; lsn <= 50; ++lsn) {
      ASSERT_TRUE((*sink)->Append(MakeBatch({MakeBlock(lsn, 0, 2'000)}, lsn)).ok());
      if (++appended == 4) queue_full.Set();
    }
    all.Set();
  });
  ASSERT_TRUE(blocked.Wait());
  ASSERT_TRUE(queue_full.Wait());
  // One that is being written, and what fits into the queue.
  EXPECT_LE(appended, 5u);
  go_on.Set();
  ASSERT_TRUE(all.Wait());
}

TEST_F(Embedded, AWriterEndsWithoutWritingItsWholeQueue) {
  const auto store = Open(dir_, {.group_bytes = 1});
  auto sink = store->OpenWriter("topic");
  ASSERT_TRUE(sink.ok());
  Signal blocked;
  Signal go_on;
  std::atomic<uint64_t> calls = 0;
  ASSERT_TRUE((*sink)
                  ->Open([&](Lsn) {
                    ++calls;
                    blocked.Set();
                    go_on.Wait();
                  })
                  .ok());
  for (uint64_t lsn = 1; lsn <= 50; ++lsn) {
    ASSERT_TRUE((*sink)->Append(MakeBatch({MakeBlock(lsn, 0, 10)}, lsn)).ok());
  }
  ASSERT_TRUE(blocked.Wait());
  std::jthread end([&] { sink->reset(); });
  go_on.Set();
  end.join();
  EXPECT_GE(calls, 1u);
  TestWriter writer(*store);
  EXPECT_EQ(writer.resume().captured, Lsn{calls});
}

}  // namespace
}  // namespace pgc
