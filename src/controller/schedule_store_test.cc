#include "controller/schedule_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>

#include "base/pause.h"
#include "controller/controller.h"
#include "testing/kill_death_test.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::SizeIs;

JobList Pages(const std::string& table, uint32_t count) {
  JobList list;
  for (uint32_t page = 0; page < count; ++page) {
    PageRange range;
    range.schema = "public";
    range.table = table;
    range.begin = range.end = page;
    range.exact = true;
    EXPECT_TRUE(list.Add(range, 128).ok());
  }
  list.Finish();
  return list;
}

std::unique_ptr<ScheduleStore> Open(const fs::path& dir) {
  auto store = ScheduleStore::Open(dir);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

struct Loaded {
  absl::Status status;
  ScheduleStore::Counters counters;
  std::vector<ScheduleStore::Stored> uris;
};
Loaded Load(ScheduleStore& store) {
  Loaded loaded;
  loaded.status = store.Load(loaded.counters, [&loaded](ScheduleStore::Stored stored) {
    loaded.uris.push_back(std::move(stored));
    return absl::OkStatus();
  });
  return loaded;
}

TEST(ScheduleStoreTest, WhatWasWrittenIsThereAgain) {
  const TempDir dir;
  JobProgress progress;
  progress.server = "s";
  {
    const auto store = Open(dir.path() / "made" / "schedule");
    ScheduleRecord record{.schedule = 7, .first_job = 70, .active = true, .cool_down_ns = 0};
    ASSERT_TRUE(store->Replace("a", 0, record, Pages("t", 3), {8, 71}).ok());
    ASSERT_TRUE(store->SaveProgress({{7, 0, EncodeProgress(progress)}}).ok());
    record.paused = true;
    ASSERT_TRUE(store->SaveRecord("a", record).ok());
  }
  const auto store = Open(dir.path() / "made" / "schedule");
  const Loaded loaded = Load(*store);
  ASSERT_TRUE(loaded.status.ok()) << loaded.status;
  EXPECT_EQ(loaded.counters.next_schedule, 8u);
  EXPECT_EQ(loaded.counters.next_job, 71u);
  ASSERT_THAT(loaded.uris, SizeIs(1));
  EXPECT_EQ(loaded.uris[0].uri, "a");
  EXPECT_TRUE(loaded.uris[0].record.paused);
  EXPECT_EQ(loaded.uris[0].jobs.segments()[0].end, 2u);
  ASSERT_THAT(loaded.uris[0].progress, SizeIs(1));
  EXPECT_EQ(loaded.uris[0].progress[0].second, progress);
}

TEST(ScheduleStoreTest, AScheduleThatIsReplacedLeavesNothing) {
  const TempDir dir;
  const auto store = Open(dir.path());
  ScheduleRecord record{.schedule = 1, .first_job = 1, .active = true, .cool_down_ns = 0};
  ASSERT_TRUE(store->Replace("a", 0, record, Pages("t", 3), {}).ok());
  ASSERT_TRUE(store->SaveProgress({{1, 0, EncodeProgress({})}}).ok());
  record.schedule = 2;
  ASSERT_TRUE(store->Replace("a", 1, record, Pages("u", 1), {}).ok());
  Loaded loaded = Load(*store);
  ASSERT_THAT(loaded.uris, SizeIs(1));
  EXPECT_THAT(loaded.uris[0].progress, SizeIs(0));
  EXPECT_EQ(loaded.uris[0].jobs.table(0), "u");
  ASSERT_TRUE(store->Remove("a", 2).ok());
  EXPECT_THAT(Load(*store).uris, SizeIs(0));
}

TEST(ScheduleStoreTest, AFolderInUseOrOfSomethingElseIsRefused) {
  const TempDir dir;
  const auto store = Open(dir.path() / "a");
  EXPECT_TRUE(absl::IsFailedPrecondition(ScheduleStore::Open(dir.path() / "a").status()));
  fs::create_directory(dir.path() / "b");
  std::ofstream(dir.path() / "b" / "letter.txt") << "dear";
  const absl::Status other = ScheduleStore::Open(dir.path() / "b").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(other));
  EXPECT_THAT(std::string(other.message()), HasSubstr("letter.txt"));
}

TEST(ScheduleStoreTest, WhatCannotBeReadIsDataLoss) {
  const TempDir dir;
  {
    const auto store = Open(dir.path());
    ScheduleRecord record{.schedule = 1, .first_job = 1, .active = true, .cool_down_ns = 0};
    ASSERT_TRUE(store->Replace("a", 0, record, Pages("t", 3), {}).ok());
    ASSERT_TRUE(store->SaveProgress({{1, 9, EncodeProgress({})}}).ok());
  }
  Controller::Options options;
  options.data_dir = dir.path();
  EXPECT_TRUE(absl::IsDataLoss(Controller::Open(options).status())) << "progress of no table";
  {
    const auto store = Open(dir.path());
    ASSERT_TRUE(store->SaveProgress({{1, 0, "x"}}).ok());
  }
  EXPECT_TRUE(absl::IsDataLoss(Controller::Open(options).status()));
}

TEST(ScheduleStoreTest, AUriThatWasScheduledOnceIsKnownWhateverBecomesOfTheSchedule) {
  const TempDir dir;
  {
    const auto store = Open(dir.path());
    ScheduleRecord record{.schedule = 1, .first_job = 1, .active = true, .cool_down_ns = 0};
    ASSERT_TRUE(store->Replace("a", 0, record, Pages("t", 3), {}, /*once=*/true).ok());
    record.schedule = 2;
    ASSERT_TRUE(store->Replace("b", 0, record, Pages("t", 3), {}).ok());
    record.schedule = 3;
    ASSERT_TRUE(store->Replace("a", 1, record, Pages("u", 1), {}).ok());
    ASSERT_TRUE(store->Remove("a", 3).ok());
  }
  const auto store = Open(dir.path());
  auto once = store->LoadOnce();
  ASSERT_TRUE(once.ok()) << once.status();
  EXPECT_THAT(*once, ElementsAre(Pair("a", 1)));
  EXPECT_THAT(Load(*store).uris, SizeIs(1)) << "it is no schedule";
  ASSERT_TRUE(store->ForgetOnce("a").ok());
  once = store->LoadOnce();
  ASSERT_TRUE(once.ok()) << once.status();
  EXPECT_THAT(*once, SizeIs(0));
}

// --- Killed at random moments

// Takes what it is given, for as long as there is something.
class Collector final : public DumpTaker {
 public:
  void Give(const Dump& dump) override {
    MutexLock lock(mutex_);
    dump_ = dump;
    changed_.NotifyAll();
  }
  void Noted() override {
    MutexLock lock(mutex_);
    noted_ = true;
    changed_.NotifyAll();
  }
  void Fail(const absl::Status& /*status*/) override { _exit(9); }

  void WaitUntilNoted() {
    MutexLock lock(mutex_);
    while (!noted_) changed_.Wait(mutex_);
  }
  // Nothing when `controller` has nothing more of the uri.
  std::optional<Dump> Next(Controller& controller, const std::string& uri) {
    while (true) {
      {
        MutexLock lock(mutex_);
        if (dump_) return std::exchange(dump_, std::nullopt);
      }
      if (!controller.Status(uri).scheduled) return std::nullopt;
      MutexLock lock(mutex_);
      changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(1));
    }
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::optional<Dump> dump_ PGC_GUARDED_BY(mutex_);
  bool noted_ PGC_GUARDED_BY(mutex_) = false;
};

constexpr uint32_t kPages = 60'000;

// Appends each page that it is about to acknowledge to the file `report`.
void AcknowledgeUntilKilled(const fs::path& folder, uint32_t seed) {
  std::mt19937 random(seed);
  const int report = open((folder / "report").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  Controller::Options options;
  options.data_dir = folder / "schedule";
  auto controller = Controller::Open(options);
  if (!controller.ok()) _exit(2);
  if (!(*controller)->Status("a").scheduled) _exit(3);
  const std::jthread killer([us = 20'000 + random() % 200'000] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    while (std::chrono::steady_clock::now() < end) {
    }
    raise(SIGKILL);
  });
  Collector collector;
  const auto client = (*controller)->Attach("a", {.peer = "peer"}, collector);
  if (!client.ok()) _exit(4);
  while (true) {
    (*controller)->Want(*client);
    const auto dump = collector.Next(**controller, "a");
    if (!dump) _exit(5);
    if (write(report, &dump->begin, sizeof dump->begin) < 0) _exit(6);
    // A table of this many pages would be done too soon.
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
    while (std::chrono::steady_clock::now() < until) {
    }
    DumpAnswer answer;
    answer.rows = 1;
    if (!(*controller)->Answer(*client, answer).ok()) _exit(7);
  }
}

using ScheduleKillDeathTest = KillDeathTest;

TEST_F(ScheduleKillDeathTest, AKillLeavesNoDumpOutAndForgetsLittle) {
  Controller::Options options;
  options.data_dir = folder_ / "schedule";
  if (is_first()) {
    auto controller = Controller::Open(options);
    ASSERT_TRUE(controller.ok()) << controller.status();
    ASSERT_TRUE((*controller)->Start("a", Pages("t", kPages)).ok());
  }
  KillAgainAndAgain(6, &AcknowledgeUntilKilled);

  std::vector<uint32_t> times(kPages);
  uint32_t taken = 0;
  std::ifstream report(folder_ / "report", std::ios::binary);
  for (uint32_t page = 0; report.read(reinterpret_cast<char*>(&page), sizeof page); ++taken) {
    ++times.at(page);
  }
  EXPECT_GT(taken, 100u);
  auto controller = Controller::Open(options);
  ASSERT_TRUE(controller.ok()) << controller.status();
  Collector collector;
  const auto client = (*controller)->Attach("a", {.peer = "peer"}, collector);
  ASSERT_TRUE(client.ok());
  uint32_t done_before = kPages;
  while (true) {
    (*controller)->Want(*client);
    const auto dump = collector.Next(**controller, "a");
    if (!dump) break;
    ++times.at(dump->begin);
    --done_before;
    ASSERT_TRUE((*controller)->Answer(*client, {}).ok());
  }
  EXPECT_GT(done_before, 0u) << "progress was kept";
  for (uint32_t page = 0; page < kPages; ++page) {
    ASSERT_GE(times[page], 1u) << "page " << page << " was left out";
  }
  EXPECT_EQ((*controller)->Status("a").jobs_done, 1u);
}

// --- Schedules that are made once

bool StartsOnce(Controller& controller, const std::string& uri, JobList jobs) {
  const auto started = controller.StartOnce(uri, std::move(jobs));
  EXPECT_TRUE(started.ok()) << started.status();
  return started.ok() && *started;
}

TEST(ControllerOnceTest, AUriIsScheduledOnceAlsoAfterAStopAndRestarts) {
  const TempDir dir;
  Controller::Options options;
  options.data_dir = dir.path();
  auto controller = Controller::Open(options);
  ASSERT_TRUE(controller.ok()) << controller.status();
  EXPECT_TRUE(StartsOnce(**controller, "a", Pages("t", 1'000'000)));
  controller->reset();
  controller = Controller::Open(options);
  ASSERT_TRUE(controller.ok()) << controller.status();
  EXPECT_TRUE((*controller)->Status("a").scheduled);
  EXPECT_FALSE(StartsOnce(**controller, "a", Pages("u", 1)));
  EXPECT_EQ((*controller)->Status("a").jobs.at(0).table, "t");
  ASSERT_TRUE((*controller)->Stop("a").ok());
  EXPECT_FALSE(StartsOnce(**controller, "a", Pages("t", 1)));
  EXPECT_FALSE((*controller)->Status("a").scheduled);
  controller->reset();
  controller = Controller::Open(options);
  ASSERT_TRUE(controller.ok()) << controller.status();
  EXPECT_FALSE(StartsOnce(**controller, "a", Pages("t", 1)));
  EXPECT_THAT((*controller)->List(), SizeIs(0)) << "what is remembered is no schedule";
  EXPECT_TRUE((*controller)->Start("a", Pages("t", 1)).ok()) << "who asks for dumps gets them";
  EXPECT_TRUE(StartsOnce(**controller, "b", Pages("t", 1)));
}

TEST(ControllerOnceTest, ItTakesThePlaceOfWhatIsScheduled) {
  auto opened = Controller::Open({});
  ASSERT_TRUE(opened.ok()) << opened.status();
  Controller& controller = **opened;
  ASSERT_TRUE(controller.Start("a", Pages("t", 1)).ok());
  ASSERT_TRUE(controller.Pause("a", true).ok());
  Collector collector;
  const auto client = controller.Attach("a", {.peer = "peer"}, collector);
  ASSERT_TRUE(client.ok());
  controller.Want(*client);
  // Else nothing would ever be given.
  ASSERT_TRUE(StartsOnce(controller, "a", Pages("u", 2)));
  ASSERT_FALSE(controller.Status("a").paused);
  const auto dump = collector.Next(controller, "a");
  ASSERT_TRUE(dump.has_value());
  EXPECT_EQ(dump->table, "u");
}

TEST(ControllerOnceTest, OfAskersAtOnceOneIsTheFirst) {
  const TempDir dir;
  Controller::Options options;
  options.data_dir = dir.path();
  auto controller = Controller::Open(options);
  ASSERT_TRUE(controller.ok()) << controller.status();
  std::atomic<int> first = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] { first += StartsOnce(**controller, "a", Pages("t", 10)); });
    }
  }
  EXPECT_EQ(first, 1);
}

TEST(ControllerOnceTest, WhatIsRefusedIsNotRemembered) {
  auto opened = Controller::Open({});
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (size_t i = 0; i < Controller::kMaxUris; ++i) {
    ASSERT_TRUE((*opened)->Start("uri" + std::to_string(i), Pages("t", 1)).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted((*opened)->StartOnce("more", Pages("t", 1)).status()));
  ASSERT_TRUE((*opened)->Stop("uri0").ok());
  EXPECT_TRUE(StartsOnce(**opened, "more", Pages("t", 1)));
}

TEST(ControllerOnceTest, OfTooManyUrisTheOldestIsForgotten) {
  auto opened = Controller::Open({});
  ASSERT_TRUE(opened.ok()) << opened.status();
  Controller& controller = **opened;
  for (size_t i = 0; i <= Controller::kMaxOnceUris; ++i) {
    const std::string uri = "uri" + std::to_string(i);
    ASSERT_TRUE(StartsOnce(controller, uri, {}));
    ASSERT_TRUE(controller.Stop(uri).ok());
  }
  EXPECT_FALSE(StartsOnce(controller, "uri1", {}));
  EXPECT_TRUE(StartsOnce(controller, "uri0", {}));
  // For one that is refused, none is.
  for (size_t i = 0; i < Controller::kMaxUris; ++i) {
    (void)controller.Start("full" + std::to_string(i), Pages("t", 1));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(controller.StartOnce("more", Pages("t", 1)).status()));
  EXPECT_FALSE(StartsOnce(controller, "uri2", {}));
}

// --- The controller, with many threads

// A copy of the folder is what a kill at that moment leaves.
TEST(ControllerTest, WhatItSaysThatItKnowsIsInItsFolder) {
  const TempDir dir;
  const auto controller = *Controller::Open({.data_dir = dir.path() / "here", .schedule = {}});
  ASSERT_TRUE(controller->Start("a", Pages("t", 1)).ok());
  Collector collector;
  const auto client = controller->Attach("a", {.repeats = true}, collector);
  controller->Want(*client);
  ASSERT_TRUE(collector.Next(*controller, "a").has_value());
  // What is written because the dump was taken is not what is waited for.
  Pause(std::chrono::milliseconds(30), {});
  DumpBegun begun;
  begun.shown = 500;
  ASSERT_TRUE(controller->Begun(*client, begun).ok());
  collector.WaitUntilNoted();
  fs::copy(dir.path() / "here", dir.path() / "there", fs::copy_options::recursive);

  const auto later = *Controller::Open({.data_dir = dir.path() / "there", .schedule = {}});
  Collector next;
  const auto another = later->Attach("a", {.repeats = true}, next);
  later->Want(*another);
  const auto owed = next.Next(*later, "a");
  ASSERT_TRUE(owed.has_value() && owed->owed.has_value());
  EXPECT_EQ(owed->owed->shown, 500U);
}

TEST(ControllerTest, EachDumpIsAcknowledgedOnceHoweverManyClientsThereAre) {
  const TempDir dir;
  Controller::Options options;
  options.data_dir = dir.path();
  auto opened = Controller::Open(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
  Controller& controller = **opened;
  ASSERT_TRUE(controller.Start("a", Pages("t", 2'000)).ok());
  std::atomic<uint32_t> acknowledged = 0;
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 6; ++i) {
      clients.emplace_back([&] {
        Collector collector;
        const auto client = controller.Attach("a", {.peer = "peer"}, collector);
        ASSERT_TRUE(client.ok());
        while (true) {
          controller.Want(*client);
          if (!collector.Next(controller, "a")) break;
          ASSERT_TRUE(controller.Answer(*client, {}).ok());
          ++acknowledged;
        }
        controller.Detach(*client);
      });
    }
  }
  EXPECT_EQ(acknowledged, 2'000u);
  EXPECT_EQ(controller.Status("a").jobs_done, 1u);
  EXPECT_EQ(controller.List().size(), 1u);
}

TEST(ControllerTest, OfUrisThatAreDoneTheOldestAreForgotten) {
  auto opened = Controller::Open({});
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (size_t i = 0; i < Controller::kMaxDoneUris + 10; ++i) {
    // Without a table it is done at once.
    ASSERT_TRUE((*opened)->Start("uri" + std::to_string(i), {}).ok());
  }
  const auto left = (*opened)->List();
  EXPECT_LE(left.size(), Controller::kMaxDoneUris + 2);
  for (const UriInfo& uri : left) EXPECT_NE(uri.uri, "uri0");
}

TEST(ControllerTest, UrisHaveALimit) {
  auto opened = Controller::Open({});
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (size_t i = 0; i < Controller::kMaxUris; ++i) {
    ASSERT_TRUE((*opened)->Start("uri" + std::to_string(i), Pages("t", 1)).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted((*opened)->Start("more", Pages("t", 1))));
  ASSERT_TRUE((*opened)->Stop("uri0").ok());
  EXPECT_TRUE((*opened)->Start("more", Pages("t", 1)).ok());
}

}  // namespace
}  // namespace pgc
