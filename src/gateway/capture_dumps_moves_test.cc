// UPDATEs that move a row to another key without its unchanged values: no repeat may be made of
// them, because the values are taken from where the row was, and something else may be there now.
// Nor of anything that the rows of a table without a key may show already.
#include <algorithm>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "gateway/dumps_testing.h"

namespace pgc {
namespace {

using testing::ElementsAre;
using testing::Ge;
using testing::SizeIs;

const DumpConsumer::Parameters kFromBeginning = {{"From", TextValue("beginning")}};

class CaptureDumpsMoves : public DumpsTest {
 protected:
  // An UPDATE of the key, with the note or, unchanged, without.
  static std::vector<DumpLog::Change> Move(std::optional<std::string> note = {},
                                           const std::string& table = "t") {
    return {
        {.op = Operation::kUpdate, .table = table, .id = 2, .note = std::move(note), .from_id = 1}};
  }
  static ScriptedAgent::Script Rows(uint64_t applied, uint64_t upper, const std::string& row) {
    return ScriptedAgent::Answers({.applied = applied, .upper = upper, .sweep_needed = true},
                                  {row});
  }
};

TEST_F(CaptureDumpsMoves, RowsAreReadAgainWhenTheStreamHasSuchAnUpdateAfterTheirPlace) {
  log_.Add(100, "a").Add(200, Move()).Add(300, "c").Write();
  agent().Pages({Rows(100, 0, "stale"), Rows(300, 300, "r")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(3), ElementsAre("a", "moved", "c"));
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r"));
  const auto requests = agent().requests();
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_THAT(requests[1].min_lsn(), Ge(200U));
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().requeues(), 0U);
}

// More than one turn of the session looks through.
TEST_F(CaptureDumpsMoves, SuchAnUpdateIsFoundWhereMuchHasComeSince) {
  constexpr size_t kEvents = 60;
  log_.Add(100, "a").Add(200, Move());
  for (size_t i = 0; i < kEvents; ++i) log_.Add(300 + i, std::string(64 << 10, 'x'));
  log_.Write();
  agent().Pages({Rows(100, 0, "stale"), Rows(400, 400, "r")});
  const auto consumer = Open(kFromBeginning);
  consumer->Take(2 + kEvents);
  log_.Add(400, "c").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("c"));
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r"));
  EXPECT_THAT(agent().requests(), SizeIs(2));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsMoves, RowsAreReadAgainWhenSuchAnUpdateIsBetweenTheirBounds) {
  log_.Add(100, "a").Write();
  agent().Pages({Rows(100, 250, "stale"), Rows(300, 300, "r")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(1), ElementsAre("a"));
  Schedule();
  // Until the upper bound is captured nobody knows.
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.Add(200, Move()).Add(300, "c").Write();
  EXPECT_THAT(consumer->Take(3), ElementsAre("moved", "c", "last row r"));
  EXPECT_THAT(agent().requests(), SizeIs(2));
}

TEST_F(CaptureDumpsMoves, AnUpdateAboveTheUpperBoundComesBehindTheRowsAndDoesNotMatter) {
  log_.Add(100, "a").Write();
  agent().Pages({Rows(100, 150, "r")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(1), ElementsAre("a"));
  Schedule();
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.Add(200, Move()).Add(300, "c").Write();
  EXPECT_THAT(consumer->Take(3), ElementsAre("last row r", "moved", "c"));
  EXPECT_THAT(agent().requests(), SizeIs(1));
}

TEST_F(CaptureDumpsMoves, AnUpdateAtThePlaceItselfIsInTheRows) {
  log_.Add(100, "a").Add(200, Move()).Add(300, "c").Write();
  agent().Pages({Rows(200, 200, "r")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(3), ElementsAre("a", "moved", "c"));
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r", "again c"));
  EXPECT_THAT(agent().requests(), SizeIs(1));
}

TEST_F(CaptureDumpsMoves, AnUpdateWithAllValuesIsRepeated) {
  log_.Add(100, "a").Add(200, Move("b")).Write();
  agent().Pages({Rows(100, 0, "r")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(2), ElementsAre("a", "b"));
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r", "again b"));
  EXPECT_THAT(agent().requests(), SizeIs(1));
}

TEST_F(CaptureDumpsMoves, AnUpdateOfAnotherTableDoesNotMatter) {
  log_.Add(100, "a").Add(200, Move({}, "u")).Add(300, "c").Write();
  agent().Pages({Rows(100, 0, "r")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(3), ElementsAre("a", "moved", "c"));
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r", "again c"));
  EXPECT_THAT(agent().requests(), SizeIs(1));
}

TEST_F(CaptureDumpsMoves, ATableWithoutValuesOutOfLineHasNoSuchUpdates) {
  log_.Add(100, "a").Add(200, Move()).Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 100}, {"r"})});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(2), ElementsAre("a", "moved"));
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r", "again moved"));
  EXPECT_THAT(agent().requests(), SizeIs(1));
}

TEST_F(CaptureDumpsMoves, WithoutAKeyRowsAreReadAgainForAnyChangeBetweenTheirBounds) {
  log_.Add(100, "a").Add(200, "b").Add(300, "c").Write();
  const auto rows = [](uint64_t applied, uint64_t upper, const std::string& row) {
    return ScriptedAgent::Answers({.applied = applied, .upper = upper, .no_key = true}, {row});
  };
  agent().Pages({rows(100, 250, "twice"), rows(200, 250, "r")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(3), ElementsAre("a", "b", "c"));
  Schedule();
  // That above the upper bound is not in the rows.
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r", "again c"));
  EXPECT_THAT(agent().requests(), SizeIs(2));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsMoves, NothingGoesBetweenTheRowsOfATableWithoutAKey) {
  log_.Add(100, "a").Write();
  std::promise<void> begun;
  agent().Pages({[&](const auto& call) {
    const DumpHead head{.applied = 100, .no_key = true};
    // More than the feed holds, so that the first of them go out before the last is here.
    const std::string long_row(1 << 20, 'x');
    call.send(DumpAnswer(head, {long_row, long_row, long_row, long_row, long_row}, false));
    begun.get_future().wait();
    call.send(DumpAnswer(head, {"r"}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(1), ElementsAre("a"));
  Schedule();
  EXPECT_THAT(consumer->Take(1), SizeIs(1));
  log_.Add(200, "b").Write();
  begun.set_value();
  EXPECT_THAT(consumer->Take(4), SizeIs(4));
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r", "b"));
}

TEST_F(CaptureDumpsMoves, TheSecondTimeTheStreamWaitsForTheRows) {
  log_.Add(100, "a").Add(200, Move()).Add(300, "c").Write();
  agent().Pages({Rows(100, 0, "stale"), Rows(150, 0, "stale"), [this](const auto& call) {
                   // The change is there before the rows, and stays behind them all the same.
                   const int given = resolver_.given();
                   log_.Add(400, "d").Write();
                   EXPECT_TRUE(resolver_.WaitUntilGiven(given + 1));
                   call.send(DumpAnswer({.applied = 300, .sweep_needed = true}, {"r"}));
                   return grpc::Status::OK;
                 }});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(3), ElementsAre("a", "moved", "c"));
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r", "d"));
  EXPECT_THAT(agent().requests(), SizeIs(3));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsMoves, SuchAnUpdateWaitsForTheRowsThatAreGoingOutAndOtherEventsDoNot) {
  constexpr size_t kRows = 2'000;
  const std::vector<std::string> rows(kRows, std::string(1'000, 'x'));
  agent().Pages({ScriptedAgent::Answers({.sweep_needed = true}, rows)});
  const auto consumer = Open();
  Schedule();
  consumer->Take(1);
  log_.Add(100, "a").Add(200, Move()).Add(300, "c").Write();
  auto texts = consumer->Take(kRows + 3);
  const auto a = std::find(texts.begin(), texts.end(), "a");
  EXPECT_LT(a - texts.begin(), kRows - 1) << "it waited for the rows";
  const std::vector<std::string> behind(texts.end() - 3, texts.end());
  EXPECT_THAT(behind, ElementsAre("again a", "moved", "c"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsMoves, TheStreamDoesNotWaitForLong) {
  log_.Add(100, "a").Add(200, Move()).Add(300, "c").Write();
  agent().Pages({Rows(100, 0, "stale"), Rows(150, 0, "stale"), [this](const auto& call) {
                   log_.Add(400, "d").Write();
                   return call.WaitUntilCancelled();
                 }});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(3), ElementsAre("a", "moved", "c"));
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("d"));
}

TEST_F(CaptureDumpsMoves, ADumpThatIsStaleEachTimeGoesBackWithTheReason) {
  log_.Add(100, "a").Add(200, Move()).Write();
  agent().Pages({Rows(100, 0, "stale")});
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(2), ElementsAre("a", "moved"));
  Schedule();
  ASSERT_TRUE(AskUntil([&] { return Job().requeues() > 0; }));
  EXPECT_THAT(Job().reason(), testing::HasSubstr("other keys"));
  log_.Add(300, "b").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("b"));
}

}  // namespace
}  // namespace pgc
