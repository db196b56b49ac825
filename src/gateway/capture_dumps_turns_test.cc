// What goes out between the rows of a dump, and how far ahead of it they are.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/dumps_testing.h"

namespace pgc {
namespace {

using testing::ElementsAre;

const DumpConsumer::Parameters kFromBeginning = {{"From", TextValue("beginning")}};

class CaptureDumpsTurns : public DumpsTest {};

// As many as make 2 MB, and their texts in a stream.
std::vector<std::string> ManyRows() {
  std::vector<std::string> rows;
  for (int i = 0; i < 2'000; ++i) rows.push_back(fmt::format("{}{}", i, std::string(1'000, 'x')));
  return rows;
}

TEST_F(CaptureDumpsTurns, TheStreamGoesOnBetweenTheRowsAndEventsOfTheirTableComeAgainBehindThem) {
  for (const bool batched : {false, true}) {
    agent().Pages({ScriptedAgent::Answers({.applied = batched ? 100U : 0U}, ManyRows())});
    const auto consumer = Open({{"Batched", BoolValue(batched)}});
    Schedule();
    consumer->Take(1);
    log_.Add(batched ? 200 : 100, {{.table = "u", .note = "x"}, {.note = "a"}}).Write();
    const auto texts = consumer->Take(ManyRows().size() + 2);
    const auto at = [&texts](std::string_view text) {
      return std::find(texts.begin(), texts.end(), text) - texts.begin();
    };
    EXPECT_LT(at("x"), at("a"));
    EXPECT_LT(at("a"), ManyRows().size() - 1) << "the stream waited for the rows";
    EXPECT_EQ(at("again a"), ManyRows().size() + 1);
    EXPECT_EQ(at("again x"), texts.size());
    ASSERT_TRUE(WaitUntilDone());
  }
}

TEST_F(CaptureDumpsTurns, AStreamThatHasMuchToSayLeavesTurnsToTheRows) {
  constexpr size_t kMostEvents = 100'000;
  constexpr size_t kAhead = 5'000;
  size_t written = 0;
  // The stream never comes to its end.
  const auto write_ahead_of = [&](size_t events) {
    if (written >= events + kAhead / 2) return;
    for (; written < events + kAhead; ++written) {
      log_.Add(100 + written, {{.table = "u", .note = std::string(1'000, 'x')}});
    }
    log_.Write();
  };
  write_ahead_of(0);
  auto some = ManyRows();
  some.resize(300);
  agent().Pages({ScriptedAgent::Answers({}, some)});
  Schedule();
  const auto consumer = Open(kFromBeginning);
  size_t rows = 0;
  size_t events = 0;
  while (rows < some.size() && events < kMostEvents && !HasFailure()) {
    const auto message = consumer->Next();
    ++(message.checkpoint().lsn() == 0 ? rows : events);
    consumer->Ack(message);
    write_ahead_of(events);
  }
  EXPECT_EQ(rows, some.size()) << "the rows waited for all of the stream";
  EXPECT_GT(events, 0U);
}

TEST_F(CaptureDumpsTurns, WhereMoreComesAgainThanRowsThereAreTheStreamWaits) {
  constexpr size_t kEvents = 1'000;
  for (size_t i = 0; i < kEvents; ++i) log_.Add(200 + i, "old");
  log_.Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 100}, {"row"})});
  const auto consumer = Open(kFromBeginning);
  for (size_t i = 0; i < kEvents; ++i) consumer->Ack(consumer->Next());
  Schedule();
  EXPECT_EQ(consumer->Take(200).back(), "again old");
  log_.Add(5'000, "new", "u").Write();
  const auto texts = consumer->Take(kEvents - 199);
  const auto at = std::find(texts.begin(), texts.end(), "new") - texts.begin();
  EXPECT_EQ(at, static_cast<std::ptrdiff_t>(kEvents - 199)) << "it went between what comes again";
  EXPECT_EQ(Describe(consumer->Next()), "new");
  ASSERT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsTurns, RowsAreNotFarAheadOfWhatTheConsumerHasAnsweredFor) {
  std::vector<std::string> rows;
  for (int i = 0; i < 20; ++i) {
    const auto more = ManyRows();
    rows.insert(rows.end(), more.begin(), more.end());
  }
  agent().Pages({ScriptedAgent::Answers({}, rows)});
  const auto consumer = Open();
  Schedule();
  // A consumer that is slower than all else, and takes its time for each.
  const auto slowly = [&consumer](size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const auto message = consumer->Next();
      if (i % 20 == 0) Pause(std::chrono::milliseconds(1), {});
      consumer->Ack(message);
    }
  };
  slowly(5'000);
  log_.Add(100, "x", "u").Write();
  size_t before = 0;
  while (Describe(consumer->Next()) != "x" && ++before < rows.size()) {
  }
  // gRPC alone would have taken some thousand.
  EXPECT_LT(before, 500U);
}

TEST_F(CaptureDumpsTurns, WhatComesBetweenRepeatsIsRepeatedBehindThemAndNothingComesBetweenThose) {
  constexpr size_t kEvents = 10'000;  // more than are sent ahead
  std::vector<DumpLog::Change> changes;
  for (size_t i = 0; i < kEvents; ++i) {
    changes.push_back({.id = static_cast<int32_t>(i), .note = std::to_string(i)});
  }
  log_.Add(100, changes).Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 50}, {"r1"})});
  const auto consumer = Open(kFromBeginning);
  consumer->Take(kEvents);
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  // The stream goes on between the first repeats only, as there are far more of them than rows.
  const int given = resolver_.given();
  log_.Add(200, "new").Write();
  ASSERT_TRUE(resolver_.WaitUntilGiven(given + 1));
  auto texts = consumer->Take(kEvents + 2);
  const auto between = std::find(texts.begin(), texts.end(), "new");
  ASSERT_LT(between - texts.begin(), kEvents) << "the stream waited for the repeats";
  texts.erase(between);
  for (size_t i = 0; i < kEvents; ++i) ASSERT_EQ(texts.at(i), "again " + std::to_string(i));
  EXPECT_EQ(texts.back(), "again new");
  EXPECT_TRUE(WaitUntilDone());
}

}  // namespace
}  // namespace pgc
