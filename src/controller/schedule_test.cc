#include "controller/schedule.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "controller/schedule_records.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

const Schedule::Time kStart{std::chrono::hours(1)};

PageRange Table(const std::string& table) {
  return {.schema = "public", .table = table, .rows = {}};
}
PageRange Exact(const std::string& table, uint32_t begin, uint32_t end) {
  PageRange range = Table(table);
  range.begin = begin;
  range.end = end;
  range.exact = true;
  return range;
}

JobList List(const std::vector<PageRange>& ranges, uint32_t pages_per_dump = 10) {
  JobList list;
  for (const PageRange& range : ranges) {
    const absl::Status status = list.Add(range, pages_per_dump);
    EXPECT_TRUE(status.ok()) << status;
  }
  list.Finish();
  return list;
}

std::string Text(const std::optional<Dump>& dump) {
  if (!dump) return "nothing";
  if (dump->owed) return fmt::format("{} owed {}", dump->table, dump->owed->shown);
  const std::string end = dump->end == kToTheEnd ? "" : std::to_string(dump->end);
  return dump->table + " " + std::to_string(dump->begin) + "-" + end +
         (dump->sweep ? " sweep" : "");
}

class ScheduleTest : public testing::Test {
 protected:
  void Start(const std::vector<PageRange>& ranges) { schedule_.Start(List(ranges), 100); }

  std::string Take(Schedule::Client client) { return Text(schedule_.Take(client)); }
  // Of a table of 35 pages.
  static DumpAnswer Ack() {
    DumpAnswer answer;
    answer.pages = 35;
    answer.server = "s";
    answer.relfilenode = 7;
    answer.rows = 2;
    answer.bytes = 20;
    return answer;
  }
  static DumpAnswer No(Requeue kind = Requeue::kTryAgain) {
    DumpAnswer answer;
    answer.requeue_reason = "because";
    answer.requeue = kind;
    return answer;
  }
  void Answer(Schedule::Client client, const DumpAnswer& answer = Ack()) {
    EXPECT_TRUE(schedule_.Answer(client, answer, kStart));
  }
  // Takes and acknowledges, as client 1, until there is nothing.
  std::vector<std::string> TakeAll(const DumpAnswer& answer = Ack()) {
    std::vector<std::string> all;
    while (const auto dump = schedule_.Take(1)) {
      all.push_back(Text(dump));
      if (all.size() > 1'000) break;
      Answer(1, answer);
    }
    return all;
  }
  const JobProgress& Progress(uint32_t job = 0) { return *schedule_.progress(job); }

  Schedule schedule_{{.pages_per_dump = 10, .max_tries = 3}};
};

// --- Cutting

TEST_F(ScheduleTest, TheFirstDumpIsAloneAndTheLastIsOpenEnded) {
  Start({Table("t")});
  EXPECT_EQ(Take(1), "t 0-9");
  EXPECT_EQ(Take(2), "nothing");
  Answer(1);
  EXPECT_EQ(Take(1), "t 10-19");
  EXPECT_EQ(Take(2), "t 20-29");
  EXPECT_EQ(Take(3), "t 30-");
  EXPECT_EQ(Take(4), "nothing");
  for (const int client : {3, 1, 2}) Answer(client);
  EXPECT_FALSE(schedule_.scheduled());
  EXPECT_EQ(schedule_.rows(), 8u);
  EXPECT_EQ(schedule_.bytes(), 80u);
}

TEST_F(ScheduleTest, DumpsAfterTheFirstCarryWhereTheTableIsReadFrom) {
  Start({Table("t")});
  const auto first = schedule_.Take(1);
  EXPECT_EQ(first->job, 100u);
  EXPECT_EQ(first->server, "");
  EXPECT_EQ(first->relfilenode, 0u);
  Answer(1);
  const auto second = schedule_.Take(1);
  EXPECT_EQ(second->job, 100u);
  EXPECT_EQ(second->server, "s");
  EXPECT_EQ(second->relfilenode, 7u);
}

TEST_F(ScheduleTest, ARangeEndsWhereItWasAskedTo) {
  PageRange range = Table("t");
  range.begin = 5;
  range.end = 22;
  Start({range});
  EXPECT_THAT(TakeAll(), ElementsAre("t 5-14", "t 15-22"));
  EXPECT_FALSE(schedule_.scheduled());
}

TEST_F(ScheduleTest, ARangePastTheTablesEndIsTwoDumps) {
  PageRange range = Table("t");
  range.begin = 50;
  range.end = 5'000;
  Start({range});
  EXPECT_THAT(TakeAll(), ElementsAre("t 50-59", "t 60-5000"));
}

TEST_F(ScheduleTest, ATableOfNoPagesIsDoneAfterItsFirstDump) {
  Start({Table("t")});
  DumpAnswer empty = Ack();
  empty.pages = 0;
  EXPECT_THAT(TakeAll(empty), ElementsAre("t 0-9"));
  EXPECT_FALSE(schedule_.scheduled());
}

TEST_F(ScheduleTest, APeerThatDoesNotSayHowManyPagesThereAreGetsTheRestAsOne) {
  Start({Table("t")});
  EXPECT_THAT(TakeAll({}), ElementsAre("t 0-9", "t 10-"));
}

TEST_F(ScheduleTest, ExactDumpsAreGivenAsTheyWereAskedForAndAtOnce) {
  Start({Exact("a", 0, 0), Exact("b", 0, 3), Exact("a", 1, 1), Exact("b", 4, 7), Exact("b", 8, 9)});
  EXPECT_EQ(Take(1), "a 0-0");
  EXPECT_EQ(Take(2), "b 0-3");
  EXPECT_EQ(Take(3), "a 1-1");
  EXPECT_EQ(Take(4), "b 4-7");
  EXPECT_EQ(Take(5), "b 8-9");
  EXPECT_EQ(Take(6), "nothing");
}

TEST_F(ScheduleTest, NoTwoClientsHaveTheSameDumpInHand) {
  Start({Exact("a", 0, 0), Exact("a", 0, 0), Exact("b", 1, 1)});
  EXPECT_EQ(Take(1), "a 0-0");
  EXPECT_EQ(Take(2), "b 1-1");
  Answer(1);
  EXPECT_EQ(Take(1), "a 0-0");
}

TEST_F(ScheduleTest, OtherTablesGoOnWhileOneWaitsForItsFirstAnswer) {
  Start({Table("a"), Table("b")});
  EXPECT_EQ(Take(1), "a 0-9");
  EXPECT_EQ(Take(2), "b 0-9");
  EXPECT_EQ(Take(3), "nothing");
  Answer(2);
  EXPECT_EQ(Take(2), "b 10-19");
  Answer(1);
  EXPECT_EQ(Take(1), "a 10-19");
}

TEST_F(ScheduleTest, ATableWithoutAKeyBeginsAgainAsOneDump) {
  Start({Table("t")});
  DumpAnswer no_key = Ack();
  no_key.no_key = true;
  no_key.sweep_from = 5;
  EXPECT_THAT(TakeAll(no_key), ElementsAre("t 0-9", "t 0-"));
  EXPECT_FALSE(schedule_.scheduled());
  EXPECT_TRUE(Progress().no_key);
  EXPECT_EQ(Progress().restarts, 1u);
}

TEST_F(ScheduleTest, ASmallTableWithoutAKeyIsNotReadTwice) {
  Start({Table("t")});
  DumpAnswer no_key = Ack();
  no_key.no_key = true;
  no_key.pages = 4;
  EXPECT_THAT(TakeAll(no_key), ElementsAre("t 0-9"));
  EXPECT_FALSE(schedule_.scheduled());
}

TEST_F(ScheduleTest, PagesPerDumpThatWereAskedForAlsoCutATableWithoutAKey) {
  PageRange range = Table("t");
  range.pages_per_dump = 20;
  Start({range});
  DumpAnswer no_key = Ack();
  no_key.no_key = true;
  EXPECT_THAT(TakeAll(no_key), ElementsAre("t 0-19", "t 20-"));
}

// --- The sweep

TEST_F(ScheduleTest, TheSweepIsLastAndGoesBackToTheLowestSnapshot) {
  PageRange range = Table("t");
  range.begin = 3;
  Start({range});
  DumpAnswer answer = Ack();
  answer.pages = 20;
  answer.sweep_from = 900;
  EXPECT_EQ(Take(1), "t 3-12");
  Answer(1, answer);
  EXPECT_EQ(Take(1), "t 13-");
  EXPECT_EQ(Take(2), "nothing");
  answer.sweep_from = 700;
  Answer(1, answer);
  const auto sweep = schedule_.Take(1);
  EXPECT_EQ(Text(sweep), "t 3- sweep");
  EXPECT_EQ(sweep->sweep_from, 700u);
  EXPECT_EQ(sweep->server, "s");
  EXPECT_TRUE(schedule_.scheduled());
  Answer(1, answer);
  EXPECT_FALSE(schedule_.scheduled());
  EXPECT_EQ(Take(1), "nothing");
}

TEST_F(ScheduleTest, ASweepThatFoundAnotherServerBeginsTheTableAgain) {
  Start({Table("t")});
  DumpAnswer answer = Ack();
  answer.pages = 5;
  answer.sweep_from = 900;
  EXPECT_EQ(Take(1), "t 0-9");
  Answer(1, answer);
  EXPECT_EQ(Take(1), "t 10-");
  Answer(1, answer);
  EXPECT_EQ(Take(1), "t 0- sweep");
  answer.server = "other";
  Answer(1, answer);
  EXPECT_THAT(TakeAll(answer), ElementsAre("t 0-9", "t 10-", "t 0- sweep"));
  EXPECT_FALSE(schedule_.scheduled());
}

// --- Requeues

TEST_F(ScheduleTest, ARequeuedDumpIsNextInLine) {
  Start({Exact("a", 0, 0), Exact("a", 1, 1), Exact("a", 2, 2)});
  EXPECT_EQ(Take(1), "a 0-0");
  EXPECT_EQ(Take(2), "a 1-1");
  Answer(1, No());
  EXPECT_EQ(Take(3), "a 0-0");
  EXPECT_EQ(Take(1), "a 2-2");
  EXPECT_EQ(Progress().reason, "because");
  EXPECT_EQ(Progress().requeues, 1u);
}

TEST_F(ScheduleTest, ADumpThatKeepsFailingIsSetAsideAndTheOthersGoOn) {
  Start({Table("a"), Table("b")});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Take(1), "a 0-9");
    Answer(1, No());
  }
  EXPECT_EQ(Progress().state, JobState::kFailed);
  EXPECT_THAT(Progress().reason, HasSubstr("because"));
  EXPECT_EQ(schedule_.jobs_failed(), 1u);
  EXPECT_EQ(Take(1), "b 0-9");
  Answer(1);
  TakeAll();
  EXPECT_FALSE(schedule_.scheduled());
  EXPECT_EQ(schedule_.jobs_done(), 1u);
}

TEST_F(ScheduleTest, ConsumersThatDieSetNoDumpAside) {
  Start({Table("a")});
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(Take(1), "a 0-9");
    schedule_.GiveBack(1, kStart);
  }
  EXPECT_EQ(Take(2), "a 0-9");
  EXPECT_EQ(schedule_.MayTakeAt(std::nullopt), kStart + seconds(512));
  EXPECT_EQ(Progress().requeues, 100u);
}

TEST_F(ScheduleTest, DumpsThatFailTogetherCountAsOneRest) {
  Start({Table("a")});
  Take(1);
  Answer(1);
  for (const Schedule::Client client : {1, 2}) Take(client);
  for (const Schedule::Client client : {1, 2}) Answer(client, No(Requeue::kTryAgain));
  EXPECT_EQ(schedule_.MayTakeAt(std::nullopt), kStart + seconds(2));
  // Given after the rest, it counts again.
  for (const Schedule::Client client : {1, 2}) Take(client);
  for (const Schedule::Client client : {1, 2}) Answer(client, No(Requeue::kTryAgain));
  EXPECT_EQ(schedule_.MayTakeAt(std::nullopt), kStart + seconds(4));
}

TEST_F(ScheduleTest, WhatIsImpossibleFailsAtOnce) {
  Start({Table("a")});
  EXPECT_EQ(Take(1), "a 0-9");
  Answer(1, No(Requeue::kImpossible));
  EXPECT_EQ(Progress().state, JobState::kFailed);
  EXPECT_FALSE(schedule_.scheduled());
}

TEST_F(ScheduleTest, AChangedTableBeginsAgainAndOldAnswersAreIgnored) {
  Start({Table("t")});
  Take(1);
  Answer(1);
  EXPECT_EQ(Take(1), "t 10-19");
  EXPECT_EQ(Take(2), "t 20-29");
  Answer(1, No(Requeue::kTableChanged));
  EXPECT_EQ(schedule_.rows(), 0u);
  EXPECT_EQ(Take(1), "t 0-9");
  Answer(2);
  EXPECT_EQ(Take(2), "nothing");
  EXPECT_EQ(schedule_.rows(), 0u);
  EXPECT_EQ(Progress().restarts, 1u);
}

TEST_F(ScheduleTest, ARestartedDumpIsNotGivenAsLongAsAnotherHasItInHand) {
  Start({Exact("t", 0, 9), Exact("t", 10, 19)});
  EXPECT_EQ(Take(1), "t 0-9");
  EXPECT_EQ(Take(2), "t 10-19");
  Answer(2, No(Requeue::kTableChanged));
  EXPECT_EQ(Take(2), "nothing");
  Answer(1);
  EXPECT_EQ(Take(1), "t 0-9");
}

TEST_F(ScheduleTest, ATableThatChangesForeverIsSetAside) {
  Start({Table("t")});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Take(1), "t 0-9");
    Answer(1, No(Requeue::kTableChanged));
  }
  EXPECT_EQ(Progress().state, JobState::kFailed);
}

TEST_F(ScheduleTest, AServerThatIsGoneThriceInARowIsLetGo) {
  Start({Table("t")});
  Take(1);
  Answer(1);
  for (int i = 0; i < 3; ++i) {
    const auto dump = schedule_.Take(1);
    EXPECT_EQ(Text(dump), "t 10-19");
    EXPECT_EQ(dump->server, "s");
    Answer(1, No(Requeue::kServerGone));
  }
  const auto dump = schedule_.Take(1);
  EXPECT_EQ(Text(dump), "t 0-9");
  EXPECT_EQ(dump->server, "");
}

TEST_F(ScheduleTest, AllThatWasInHandIsOneTryOfAServerThatIsGone) {
  Start({Table("t")});
  Take(1);
  Answer(1);
  for (int i = 0; i < 3; ++i) {
    for (const Schedule::Client client : {1, 2}) {
      EXPECT_EQ(Take(client), fmt::format("t {0}0-{0}9", client)) << i;
    }
    for (const Schedule::Client client : {1, 2}) Answer(client, No(Requeue::kServerGone));
  }
  EXPECT_EQ(Take(1), "t 0-9");
}

// --- What is owed

DumpBegun Begun(uint64_t shown) {
  return {.shown = shown, .place = "place", .schema = "public", .table = "t", .fields = 2};
}

class OwedTest : public ScheduleTest {
 protected:
  // Behind the first dump, of which 1 has said that its rows begin.
  void TakeTwo() {
    Start({Table("t")});
    Take(1);
    Answer(1);
    EXPECT_EQ(Take(1), "t 10-19");
    EXPECT_EQ(Take(2), "t 20-29");
    EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
  }
};

TEST_F(ScheduleTest, WhatTheRowsOfOneWhoIsGoneTookBackIsRepeatedBeforeAllElse) {
  Start({Table("t")});
  Take(1);
  Answer(1);
  EXPECT_EQ(Take(1), "t 10-19");
  EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
  EXPECT_TRUE(schedule_.Begun(1, Begun(700))) << "rows of the first read may be out";
  schedule_.GiveBack(1, kStart);
  const auto owed = schedule_.Take(1);
  EXPECT_EQ(Text(owed), "t owed 500");
  EXPECT_EQ(owed->owed, Begun(500));
  EXPECT_EQ(Take(2), "t 10-19");
  EXPECT_EQ(Take(3), "t 20-29");
  EXPECT_EQ(Take(4), "t 30-");
  for (const int client : {2, 3, 4}) Answer(client);
  EXPECT_TRUE(schedule_.scheduled()) << "not before it is repeated";
  EXPECT_EQ(schedule_.StatusOf(0).pages_done, 35U);
  Answer(1);
  EXPECT_EQ(Progress().state, JobState::kDone);
  EXPECT_EQ(Progress().owed, std::nullopt);
}

TEST_F(ScheduleTest, WhatIsOwedOfTheFirstDumpLeavesThatAlone) {
  Start({Table("t")});
  Take(1);
  EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
  schedule_.GiveBack(1, kStart);
  EXPECT_EQ(Take(1), "t owed 500");
  EXPECT_EQ(Take(2), "t 0-9");
  EXPECT_EQ(Take(3), "nothing");
  DumpAnswer only = Ack();
  only.pages = 0;
  Answer(2, only);
  EXPECT_EQ(Take(2), "nothing") << "the table is empty";
  Answer(1);
  EXPECT_EQ(Progress().state, JobState::kDone);
}

TEST_F(OwedTest, WhoGoesWhileItIsRepeatedMakesItMore) {
  TakeTwo();
  EXPECT_TRUE(schedule_.Begun(2, Begun(400)));
  schedule_.GiveBack(1, kStart);
  EXPECT_EQ(Take(1), "t owed 500");
  schedule_.GiveBack(2, kStart);
  Answer(1);
  EXPECT_EQ(Take(1), "t owed 400");
  schedule_.GiveBack(1, kStart);
  std::vector<std::string> left;
  for (int i = 0; i < 4; ++i) {
    left.push_back(Take(1));
    Answer(1);
  }
  EXPECT_THAT(left, testing::UnorderedElementsAre("t owed 400", "t 10-19", "t 20-29", "t 30-"));
  EXPECT_EQ(Progress().state, JobState::kDone);
}

TEST_F(ScheduleTest, APutBackOwesWhenItSaysSoAlsoBehindTheTablesNewBeginning) {
  Start({Table("t")});
  Take(1);
  EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
  Answer(1, No());
  EXPECT_EQ(Take(1), "t 0-9");
  EXPECT_FALSE(schedule_.Begun(2, Begun(100))) << "it has no dump";
  EXPECT_TRUE(schedule_.Begun(1, Begun(600)));
  DumpAnswer owes = No(Requeue::kTableChanged);
  owes.owes = true;
  Answer(1, owes);
  EXPECT_EQ(Take(1), "t owed 600");
  EXPECT_EQ(Take(2), "t 0-9");
}

// Whoever has them in hand may still go away, and then it is to be known.
TEST_F(ScheduleTest, WhatIsInHandWhenTheTableBeginsAgainOrFailsIsOwed) {
  for (const Requeue kind : {Requeue::kTableChanged, Requeue::kImpossible}) {
    Start({Table("t")});
    Take(1);
    Answer(1);
    for (const int client : {1, 2, 3}) Take(client);
    EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
    Answer(2, No(kind));
    EXPECT_EQ(Progress().owed, Begun(500));
    EXPECT_EQ(Take(2), "t owed 500");
    // It says so only now.
    EXPECT_TRUE(schedule_.Begun(3, Begun(400)));
    EXPECT_EQ(Progress().owed, Begun(400));
    schedule_.GiveBack(1, kStart);
    schedule_.GiveBack(3, kStart);
    Answer(2);
    EXPECT_EQ(Take(2), "t owed 400");
    Answer(2);
    EXPECT_EQ(Progress().owed, std::nullopt);
    EXPECT_EQ(Take(2), kind == Requeue::kImpossible ? "nothing" : "t 0-9");
    EXPECT_EQ(Progress().reason, "because");
    if (kind != Requeue::kImpossible) Answer(2);
  }
}

TEST_F(ScheduleTest, ATableThatFailsKeepsItsReasonWhileWhatIsOwedIsRepeated) {
  Start({Table("t")});
  Take(1);
  EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
  DumpAnswer owes = No(Requeue::kImpossible);
  owes.owes = true;
  Answer(1, owes);
  EXPECT_EQ(Take(1), "t owed 500");
  EXPECT_EQ(schedule_.StatusOf(0).pages_done, 0U);
  schedule_.GiveBack(1, kStart);
  EXPECT_EQ(Take(1), "t owed 500");
  Answer(1);
  EXPECT_EQ(Progress().state, JobState::kFailed);
  EXPECT_EQ(Progress().reason, "because");
}

TEST_F(OwedTest, ARestartOfTheControllerOwesWhatWasInHand) {
  TakeTwo();
  JobProgress stored = *ParseProgress(EncodeProgress(Progress()));
  for (int restart = 0; restart < 2; ++restart) {
    Schedule restored({.pages_per_dump = 10, .max_tries = 3});
    restored.Start(List({Table("t")}), 100);
    ASSERT_TRUE(restored.Restore(0, stored).ok());
    std::vector<std::string> taken;
    for (const int client : {1, 2, 3}) taken.push_back(Text(restored.Take(client)));
    EXPECT_THAT(taken, testing::UnorderedElementsAre("t owed 500", "t 10-19", "t 20-29"));
    stored = *ParseProgress(EncodeProgress(*restored.progress(0)));
  }
}

// What moved to another key without all of its values is not right by repeats.
TEST_F(ScheduleTest, WhereRepeatsAreNotEnoughTheTableBeginsAgainOrItFails) {
  for (const bool whole : {true, false}) {
    PageRange range = Table("t");
    if (!whole) range.end = 34;
    Start({range});
    Take(1);
    Answer(1);
    EXPECT_EQ(Take(1), "t 10-19");
    EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
    schedule_.GiveBack(1, kStart);
    EXPECT_EQ(Take(1), "t owed 500");
    Answer(1, No(Requeue::kTableChanged));
    EXPECT_EQ(Take(1), whole ? "t 0-9" : "nothing");
    EXPECT_EQ(Progress().owed, std::nullopt);
    if (whole) {
      Answer(1);
      continue;
    }
    EXPECT_EQ(Progress().state, JobState::kFailed);
    EXPECT_EQ(Progress().reason, "because: dump all of the table");
  }
}

TEST_F(ScheduleTest, ATableFailsOnceNothingIsOwedOrThatCannotBeRepeated) {
  for (const bool can : {true, false}) {
    Start({Table("t"), Table("u")});
    Take(1);
    EXPECT_TRUE(schedule_.Begun(1, Begun(500)));
    DumpAnswer answer = No(Requeue::kImpossible);
    answer.owes = true;
    Answer(1, answer);
    EXPECT_EQ(Progress().state, JobState::kRunning);
    EXPECT_EQ(Take(1), "t owed 500");
    EXPECT_EQ(Take(2), "u 0-9");
    answer.requeue_reason = "it is gone";
    answer.owes = false;
    Answer(1, can ? Ack() : answer);
    EXPECT_EQ(Progress().state, JobState::kFailed);
    EXPECT_EQ(Progress().reason, can ? "because" : "it is gone");
    EXPECT_EQ(schedule_.jobs_failed(), 1U);
    Answer(2);
  }
}

TEST_F(ScheduleTest, AReasonStaysText) {
  Start({Table("t")});
  Take(1);
  DumpAnswer answer = No(Requeue::kTryAgain);
  answer.requeue_reason.clear();
  for (int i = 0; i < 1'000; ++i) answer.requeue_reason += "\xE2\x82\xAC";
  Answer(1, answer);
  const std::string reason = schedule_.progress(0)->reason;
  EXPECT_EQ(reason.size(), 1'023U);
  EXPECT_TRUE(answer.requeue_reason.starts_with(reason));
}

TEST_F(ScheduleTest, AnAnswerFromAnotherServerOrFileBeginsTheTableAgain) {
  for (const bool server : {true, false}) {
    Start({Table("t")});
    Take(1);
    Answer(1);
    EXPECT_EQ(Take(1), "t 10-19");
    DumpAnswer other = Ack();
    if (server) {
      other.server = "other";
    } else {
      other.relfilenode = 8;
    }
    Answer(1, other);
    EXPECT_EQ(Take(1), "t 0-9") << server;
    Answer(1);
  }
}

TEST_F(ScheduleTest, ExactDumpsOfTwoServersBeginAgainOneByOne) {
  Start({Exact("t", 0, 0), Exact("t", 1, 1)});
  Take(1);
  Take(2);
  Answer(1);
  DumpAnswer other = Ack();
  other.server = "other";
  Answer(2, other);
  EXPECT_EQ(Take(1), "t 0-0");
  EXPECT_EQ(Take(2), "nothing");
  Answer(1, other);
  EXPECT_EQ(Take(2), "t 1-1");
  Answer(2, other);
  EXPECT_FALSE(schedule_.scheduled());
}

// --- Time

TEST_F(ScheduleTest, TheCoolDownIsCountedPerClientAndGoneWithTheSchedule) {
  Start({Table("t")});
  schedule_.SetCoolDown(seconds(5));
  EXPECT_LE(schedule_.MayTakeAt(std::nullopt), kStart);
  EXPECT_EQ(schedule_.MayTakeAt(kStart), kStart + seconds(5));
  Start({Table("t")});
  EXPECT_EQ(schedule_.MayTakeAt(kStart), kStart);
}

TEST_F(ScheduleTest, RequeuesSlowAUriDownUntilASuccess) {
  Start({Exact("t", 0, 0), Exact("u", 0, 0)});
  schedule_.SetCoolDown(seconds(1));
  Take(1);
  Answer(1, No());
  EXPECT_EQ(schedule_.MayTakeAt(std::nullopt), kStart + seconds(2));
  EXPECT_EQ(schedule_.MayTakeAt(kStart), kStart + seconds(3));
  Take(1);
  Answer(1, No());
  EXPECT_EQ(schedule_.MayTakeAt(std::nullopt), kStart + seconds(4));
  Take(1);
  Answer(1);
  EXPECT_EQ(schedule_.MayTakeAt(kStart), kStart + seconds(1));
}

TEST_F(ScheduleTest, PausedItGivesNothing) {
  Start({Table("t")});
  schedule_.Pause(true);
  EXPECT_EQ(Take(1), "nothing");
  EXPECT_TRUE(schedule_.scheduled());
  schedule_.Pause(false);
  EXPECT_EQ(Take(1), "t 0-9");
}

TEST_F(ScheduleTest, WhatIsInHandWhenItStopsIsAnsweredWithoutEffect) {
  Start({Table("t")});
  Take(1);
  schedule_.Stop();
  EXPECT_FALSE(schedule_.scheduled());
  EXPECT_EQ(Take(2), "nothing");
  Start({Table("t")});
  EXPECT_EQ(Take(2), "nothing") << "the same dump is still in hand";
  Answer(1);
  EXPECT_EQ(Take(2), "t 0-9");
  EXPECT_EQ(schedule_.rows(), 0u);
}

TEST_F(ScheduleTest, AnAnswerWithoutADumpIsNone) {
  Start({Table("t")});
  EXPECT_FALSE(schedule_.Answer(1, Ack(), kStart));
}

// --- What is refused

TEST(JobListTest, RefusesWhatIsNoRange) {
  JobList list;
  EXPECT_TRUE(absl::IsInvalidArgument(list.Add(Exact("t", 2, 1), 10)));
  EXPECT_TRUE(absl::IsInvalidArgument(list.Add(Table(""), 10)));
  EXPECT_TRUE(absl::IsInvalidArgument(list.Add(Table(std::string(256, 't')), 10)));
  PageRange large = Table("t");
  large.rows.where = std::string(JobList::kMaxRowsBytes + 1, 'x');
  EXPECT_TRUE(absl::IsResourceExhausted(list.Add(large, 10)));
}

TEST(JobListTest, AMillionDumpsOfATableAreOneRange) {
  JobList list;
  for (uint32_t page = 0; page < 1'000'000; ++page) {
    ASSERT_TRUE(list.Add(Exact("t", page, page), 10).ok());
  }
  list.Finish();
  EXPECT_EQ(list.jobs().size(), 1u);
  EXPECT_EQ(list.segments().size(), 1u);
}

TEST(JobListTest, AMillionDumpsOfTwoTablesInTurnAreSmall) {
  JobList list;
  for (uint32_t page = 0; page < 500'000; ++page) {
    ASSERT_TRUE(list.Add(Exact("t", page, page), 10).ok());
    ASSERT_TRUE(list.Add(Exact("u", page, page), 10).ok());
  }
  list.Finish();
  EXPECT_EQ(list.jobs().size(), 2u);
  EXPECT_LT(list.memory_bytes(), size_t{32} << 20);
}

// --- A restart at any moment

// Tells the pages of table 0 that were acknowledged since its last restart.
class Acknowledged {
 public:
  void Add(const Dump& dump, uint32_t pages) {
    for (uint64_t page = dump.begin; page <= std::min(dump.end, pages - 1); ++page) {
      pages_.insert(static_cast<uint32_t>(page));
    }
  }
  size_t size() const { return pages_.size(); }
  void clear() { pages_.clear(); }

 private:
  std::set<uint32_t> pages_;
};

TEST(ScheduleRestartTest, WhateverHappensEveryPageIsAcknowledgedAfterTheLastRestart) {
  constexpr uint32_t kPages = 57;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const ScheduleOptions options{.pages_per_dump = 1 + static_cast<uint32_t>(random() % 9),
                                  .max_tries = 1'000};
    const JobList list = List({Table("t")}, options.pages_per_dump);
    auto schedule = std::make_unique<Schedule>(options);
    schedule->Start(list, 1);
    std::map<Schedule::Client, Dump> hands;
    Acknowledged acknowledged;
    bool swept = false;
    uint32_t restarts = 0;
    for (int step = 0; schedule->scheduled(); ++step) {
      ASSERT_LT(step, 100'000);
      const Schedule::Client client = 1 + random() % 4;
      const auto what = random() % 20;
      const auto hand = hands.find(client);
      if (hand == hands.end()) {
        if (const auto dump = schedule->Take(client)) hands[client] = *dump;
      } else if (what == 0) {
        schedule->GiveBack(client, kStart);
        hands.erase(hand);
      } else {
        DumpAnswer answer;
        if (what < 4) answer.requeue_reason = "no";
        if (what == 1 && random() % 4 == 0) answer.requeue = Requeue::kTableChanged;
        answer.pages = kPages;
        answer.server = "s";
        answer.sweep_from = 5;
        const Dump dump = hand->second;
        hands.erase(hand);
        const uint64_t before = schedule->progress(0)->acknowledged;
        ASSERT_TRUE(schedule->Answer(client, answer, kStart));
        if (schedule->progress(0)->restarts != restarts) acknowledged.clear();
        if (schedule->progress(0)->acknowledged > before) acknowledged.Add(dump, kPages);
        swept = schedule->progress(0)->swept && dump.sweep && what >= 4;
      }
      if (const JobProgress* const at = schedule->progress(0)) restarts = at->restarts;
      if (random() % 50 == 0 && schedule->scheduled()) {
        // The process dies; what is in hand is lost with it.
        auto next = std::make_unique<Schedule>(options);
        next->Start(list, 1);
        if (const JobProgress* const at = schedule->progress(0)) {
          const auto read = ParseProgress(EncodeProgress(*at));
          ASSERT_TRUE(read.ok()) << read.status();
          ASSERT_TRUE(next->Restore(0, *read).ok());
        }
        schedule = std::move(next);
        hands.clear();
      }
    }
    EXPECT_EQ(schedule->jobs_done(), 1u);
    EXPECT_EQ(acknowledged.size(), kPages);
    EXPECT_TRUE(swept);
  }
}

// Without what is owed, which the first version did not have.
TEST(ScheduleRecordsTest, ProgressOfTheFirstVersionReadsBack) {
  JobProgress progress;
  progress.server = "s";
  progress.pages = 7;
  std::string bytes = EncodeProgress(progress);
  bytes.resize(bytes.size() - 2);
  bytes[0] = '\x01';
  ASSERT_EQ(*ParseProgress(bytes), progress);
}

TEST(ScheduleRecordsTest, WhatWasWrittenReadsBackAndNothingCutOffDoes) {
  PageRange some = Table("some");
  some.rows = {.where = "a > 1", .columns = {"a", "b"}, .keys = {"(1,a)"}};
  some.pages_per_dump = 3;
  const JobList list = List({Exact("t", 0, 0), some, Exact("t", 1, 1), Exact("t", 2, 2)});
  const auto parts = EncodeJobs(list);
  ASSERT_EQ(parts.size(), 1u);
  JobsParser parser;
  ASSERT_TRUE(parser.Add(parts[0]).ok());
  EXPECT_EQ(EncodeJobs(std::move(parser).Finish()), parts);
  JobProgress progress;
  progress.server = "s";
  progress.failing = true;
  progress.owed = Begun(400);
  progress.open = {{.begin = 1, .end = 2, .tries = 3, .sweep = true, .began = Begun(500)},
                   {.repeats = true}};
  const std::string bytes = EncodeProgress(progress);
  ASSERT_EQ(*ParseProgress(bytes), progress);
  const std::string record = EncodeSchedule({.schedule = 300, .first_job = 1, .cool_down_ns = 5});
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_TRUE(absl::IsDataLoss(ParseProgress(bytes.substr(0, cut)).status()));
  }
  for (size_t cut = 0; cut < record.size(); ++cut) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSchedule(record.substr(0, cut)).status()));
  }
  // A list may end after any of its ranges: the record says how many parts there are.
  for (size_t cut = 0; cut < parts[0].size(); ++cut) {
    JobsParser cut_off;
    const absl::Status status = cut_off.Add(std::string_view(parts[0]).substr(0, cut));
    EXPECT_TRUE(status.ok() || absl::IsDataLoss(status));
  }
}

}  // namespace
}  // namespace pgc
