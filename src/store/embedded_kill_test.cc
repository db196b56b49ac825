// A process with a store is killed again and again, at random moments: nothing is lost that it had
// reported.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <optional>
#include <random>
#include <thread>

#include "store/embedded_testing.h"
#include "store/store_contract.h"
#include "store/store_testing.h"
#include "testing/kill_death_test.h"

namespace pgc {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// The last position that was reported durable.
uint64_t LastReported(const fs::path& report) {
  const std::string bytes = ReadFile(report);
  uint64_t captured = 0;
  if (bytes.size() >= sizeof captured) {
    memcpy(&captured, bytes.data() + bytes.size() - sizeof captured, sizeof captured);
  }
  return captured;
}

// Goes on where the process before was killed, until it kills itself; what is durable is appended
// to the file `report`.
void AppendUntilKilled(const fs::path& folder, uint32_t seed) {
  std::mt19937 random(seed);
  const fs::path report = folder / "report";
  const int report_fd = open(report.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  auto store = OpenEmbeddedStore(folder / "data",
                                 {.queue_bytes = 64 << 10, .ack_interval = milliseconds(1)});
  if (!store.ok()) _exit(3);
  auto sink = (*store)->OpenWriter("topic");
  if (!sink.ok()) _exit(4);
  const auto consumer = (*store)->OpenConsumer("topic", "s", {});
  if (!consumer.ok()) _exit(5);
  std::atomic<int> left = static_cast<int>(1 + random() % 40);
  std::atomic<bool> has_reported = LastReported(report) > 0;
  const auto resume = (*sink)->Open([&](Lsn captured) {
    if (write(report_fd, &captured.value, sizeof captured.value) < 0) _exit(6);
    has_reported = true;
    has_reported.notify_one();
    if (--left == 0) raise(SIGKILL);
  });
  if (!resume.ok() || resume->captured.value < LastReported(report)) _exit(7);
  // Often it dies in the middle of a write; the first not before something was reported, without
  // which nothing would be shown.
  std::jthread killer;
  if (random() % 2 == 0) {
    killer = std::jthread([&has_reported, us = random() % 20'000] {
      has_reported.wait(false);
      const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
      while (std::chrono::steady_clock::now() < end) {
      }
      raise(SIGKILL);
    });
  }
  for (uint64_t lsn = resume->captured.value + 1;; ++lsn) {
    EventBatch batch = MakeBatch({}, lsn);
    if (random() % 4 != 0) {
      batch.blocks.push_back(MakeBlock(lsn, 0, static_cast<uint32_t>(1 + random() % 2'000)));
    }
    if (!(*sink)->Append(std::move(batch)).ok()) _exit(8);
    while (true) {
      const auto slice = (*consumer)->TryNext();
      if (!slice.ok()) _exit(9);
      if (!*slice) break;
      (*consumer)->AckRange(**slice, (*slice)->begin, (*slice)->end);
    }
  }
}

TEST_F(KillDeathTest, AKillLosesNothingThatWasReportedDurable) {
  KillAgainAndAgain(10, AppendUntilKilled);

  const auto store = Open(folder_ / "data");
  ASSERT_NE(store, nullptr);
  const uint64_t reported = LastReported(folder_ / "report");
  EXPECT_GT(reported, 0u);
  TestWriter writer(*store);
  EXPECT_GE(writer.resume().captured, Lsn{reported});
  auto consumer = OpenConsumer(*store);
  const auto left = TakeAll(*consumer);
  // One more event, whose ordinal says how many there are.
  writer.Append({1});
  const auto end = TakeAll(*consumer);
  ASSERT_EQ(end.size(), 1u);
  const uint64_t count = end.front().ordinal + 1;
  const auto seen = ReadCount(**store->OpenReader("topic", {.start = FromBeginning{}}), count);
  EXPECT_EQ(Ordinals(seen), UpTo(0, count));
  for (size_t i = 1; i < seen.size(); ++i) ASSERT_LT(seen[i - 1].checkpoint, seen[i].checkpoint);
  for (size_t i = 0; i < left.size(); ++i) {
    ASSERT_EQ(left[i].ordinal, count - 1 - left.size() + i);
  }
}

// --- retention

// One transaction of one event, which does not compress.
std::shared_ptr<const Block> Incompressible(uint64_t lsn) {
  constexpr size_t kBytes = 512 << 10;
  std::mt19937_64 random(lsn);
  BlockBuilder builder;
  uint8_t* out = builder.Add(EventKind::kCommit, Event::kNoTable, {.lsn = Lsn{lsn}}, kBytes);
  for (size_t i = 0; i < kBytes; i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(out + i, &word, sizeof word);
  }
  return builder.Finish();
}

// What is lost of a store that retention has removed events of, given what was reported: the last
// event that is durable, and the last that was about to be acknowledged. Empty when nothing is.
std::string WhatIsLost(const fs::path& folder, uint64_t reported, uint64_t acknowledged) {
  const auto opened = OpenEmbeddedStore(folder / "data", {});
  if (!opened.ok()) return opened.status().ToString();
  EventStore& store = **opened;
  if (store.Topics().empty()) return reported == 0 ? "" : "the topic";
  const auto info = store.Describe("topic");
  if (!info.ok()) return info.status().ToString();
  const uint64_t end = info->newest.lsn.value;  // event 0 has lsn 1
  if (end < reported) return fmt::format("{} of {} events", reported - end, reported);
  const auto reader = store.OpenReader("topic", {.start = FromBeginning{}});
  if (!reader.ok()) return reader.status().ToString();
  for (uint64_t next = end - info->events; next < end; ++next) {
    const auto slice = (*reader)->Next({});
    if (!slice.ok()) return slice.status().ToString();
    if (slice->ordinal != next) return fmt::format("event {} to {}", next, slice->ordinal);
  }
  if (info->subscriptions.empty()) return end == 0 ? "" : "the subscription";
  uint64_t next = end - info->subscriptions[0].backlog_events;
  if (next > acknowledged) return fmt::format("event {} of the subscription", acknowledged);
  const auto consumer = store.OpenConsumer("topic", "s", {});
  if (!consumer.ok()) return consumer.status().ToString();
  for (; next < end; ++next) {
    const auto slice = (*consumer)->TryNext();
    if (!slice.ok()) return slice.status().ToString();
    if (!*slice || (*slice)->ordinal != next) {
      return fmt::format("event {} of the subscription", next);
    }
  }
  return "";
}

// Appends and acknowledges, with retention at its heels, and dies soon after a move of the floor:
// while its record is written, while files are deleted, or after that.
void RetainUntilKilled(const fs::path& folder, uint32_t seed) {
  std::mt19937 random(seed);
  const std::string lost =
      WhatIsLost(folder, LastReported(folder / "report"), LastReported(folder / "acks"));
  if (!lost.empty()) {
    fmt::print(stderr, "lost: {}\n", lost);
    _exit(2);
  }
  const int durable_fd = open((folder / "report").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  const int acks_fd = open((folder / "acks").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  const auto store = OpenEmbeddedStore(folder / "data", {.ack_interval = milliseconds(1),
                                                         .retention_bytes = 2 << 20,
                                                         .upkeep_interval = milliseconds(1)});
  if (!store.ok()) _exit(3);
  const auto sink = (*store)->OpenWriter("topic");
  if (!sink.ok()) _exit(4);
  const auto consumer = (*store)->OpenConsumer("topic", "s", {});
  if (!consumer.ok()) _exit(5);
  std::atomic<uint64_t> durable = 0;
  const auto resume = (*sink)->Open([&](Lsn captured) {
    if (write(durable_fd, &captured.value, sizeof captured.value) < 0) _exit(6);
    durable = captured.value;
  });
  if (!resume.ok()) _exit(7);
  const uint64_t first = resume->last.lsn.value;
  const uint64_t kill_from = first + 20 + random() % 60;
  const std::jthread killer([&, us = random() % 4'000] {
    Checkpoint oldest = (*store)->Describe("topic")->oldest;
    while (durable < kill_from || oldest == (*store)->Describe("topic")->oldest) {
      oldest = (*store)->Describe("topic")->oldest;
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    while (std::chrono::steady_clock::now() < end) {
    }
    raise(SIGKILL);
  });
  // All but the newest three are acknowledged, in order.
  std::deque<uint64_t> held;
  for (uint64_t lsn = first + 1;; ++lsn) {
    if (!(*sink)->Append(MakeBatch({Incompressible(lsn)}, lsn)).ok()) _exit(8);
    while (true) {
      const auto slice = (*consumer)->TryNext();
      if (!slice.ok()) _exit(9);
      if (!*slice) break;
      held.push_back((*slice)->ordinal);
    }
    for (; held.size() > 3; held.pop_front()) {
      const uint64_t acknowledged = held.front() + 1;
      if (write(acks_fd, &acknowledged, sizeof acknowledged) < 0) _exit(10);
      if (!(*consumer)->Ack(DataOf(held.front())).ok()) _exit(11);
    }
  }
}

TEST_F(KillDeathTest, AKillInTheMiddleOfRetentionLosesNothingAboveTheFloor) {
  KillAgainAndAgain(8, RetainUntilKilled);
  EXPECT_EQ(WhatIsLost(folder_, LastReported(folder_ / "report"), LastReported(folder_ / "acks")),
            "");
  const auto store = Open(folder_ / "data");
  ASSERT_NE(store, nullptr);
  EXPECT_GT(store->Describe("topic")->oldest.lsn, Lsn{100}) << "the floor has moved";
  TestWriter(*store).Append({1});
}

}  // namespace
}  // namespace pgc
