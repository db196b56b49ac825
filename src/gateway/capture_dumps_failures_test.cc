// Dumps whose agents, controller or consumers fail: what the stream and the schedule make of it.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "gateway/dumps_testing.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

const DumpConsumer::Parameters kFromBeginning = {{"From", TextValue("beginning")}};
constexpr size_t kMegabyte = size_t{1} << 20;

class CaptureDumpsFailures : public DumpsTest {
 protected:
  // The server is behind and answers `behind`, which is no answer to a stream that begins after
  // what it shows; and later `rows`, of one.
  void ExpectAskedAgainAfter(ScriptedAgent::Script behind, ScriptedAgent::Script rows) {
    agent().Pages({ScriptedAgent::Fails(StatusCode::FAILED_PRECONDITION, "behind"),
                   std::move(behind), std::move(rows)});
    log_.Add(150, "a").Write();
    const auto consumer = Open();
    Schedule();
    EXPECT_THAT(consumer->Take(1), ElementsAre("last row r"));
    EXPECT_EQ(agent().requests().at(2).min_lsn(), 150U);
  }
};

// An answer whose field `change` holds these bytes, after the changes that it has.
void AddRawChange(pb::AgentDumpResponse& answer, const std::string& bytes) {
  answer.GetReflection()->MutableUnknownFields(&answer)->AddLengthDelimited(1, bytes);
}

// --- what counts as done, and what fails

TEST_F(CaptureDumpsFailures, ADumpOfATableThatTheConsumerDoesNotWantIsDoneWithoutARow) {
  agent().Pages({ScriptedAgent::Answers({}, {"r1"})});
  const auto consumer = Open({{"TableRegex", TextValue("^u$")}});
  Schedule();
  ASSERT_TRUE(WaitUntilDone());
  log_.Add(100, "a", "u").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
}

TEST_F(CaptureDumpsFailures, ADumpWithoutRowsIsDone) {
  agent().Pages({ScriptedAgent::Answers({}, {})});
  const auto consumer = Open();
  Schedule();
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().rows(), 0U);
}

TEST_F(CaptureDumpsFailures, ADumpOfATableThatDoesNotExistIsDone) {
  agent().Pages({ScriptedAgent::Fails(StatusCode::NOT_FOUND, "no such table")});
  const auto consumer = Open();
  Schedule();
  EXPECT_TRUE(WaitUntilDone());
}

// What was committed after R and before the stream began would come to nobody.
TEST_F(CaptureDumpsFailures, WhatAServerThatIsBehindHasNoRowsOfYetComesAsRepeats) {
  agent().Pages({ScriptedAgent::Fails(StatusCode::FAILED_PRECONDITION, "behind"),
                 ScriptedAgent::Answers({.applied = 100}, {})});
  log_.Add(90, "old").Add(150, "a").Add(160, "other", "u").Write();
  const auto consumer = Open();
  log_.Add(200, "b").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("b"));
  Schedule();
  // All of the table that is behind R, as behind rows.
  EXPECT_THAT(consumer->Read(1).at(0).checkpoint().lsn(), 150U);
  EXPECT_EQ(Job().state(), pb::DumpJob::RUNNING) << "it is not acknowledged";
  consumer->Requeue(consumer->Read(1).at(0));
  EXPECT_THAT(consumer->Take(2), ElementsAre("again a", "again b"));
  EXPECT_TRUE(WaitUntilDone());
}

// The stream begins behind what stands alone, at a place that is no commit.
TEST_F(CaptureDumpsFailures, SoItIsWhereTheNewestEventStandsAlone) {
  agent().Pages({ScriptedAgent::Answers({.applied = 100}, {})});
  log_.Add(150, "a").AddLogicalMessage(180).Write();
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("again a"));
  EXPECT_TRUE(WaitUntilDone());
}

// Without a row, nothing takes the place of what the consumer has of a table without a key.
TEST_F(CaptureDumpsFailures, OfATableWithoutAKeyNothingIsRepeatedBehindNoRow) {
  ExpectAskedAgainAfter(ScriptedAgent::Answers({.applied = 100, .no_key = true}, {}),
                        ScriptedAgent::Answers({.applied = 150, .no_key = true}, {"r"}));
}

// A row that moved to another key without all of its values cannot be repeated for pages that are a
// part of the table only.
TEST_F(CaptureDumpsFailures, NoRowsOfSomePagesAreReadAgainWhereARowMoved) {
  agent().Pages({ScriptedAgent::Fails(StatusCode::FAILED_PRECONDITION, "behind"),
                 ScriptedAgent::Answers({.applied = 100, .sweep_needed = true}, {}),
                 ScriptedAgent::Answers({.applied = 150, .sweep_needed = true}, {"r1", "r2"})});
  log_.Add(150, {{.op = Operation::kUpdate, .id = 2, .from_id = 1}}).Write();
  const auto consumer = Open();
  pb::ScheduleRequest request;
  request.set_uri(kUri);
  pb::DumpInfoResponse& dump = *request.add_dumps();
  dump.set_schema("public");
  dump.set_table("t");
  dump.set_page_begin(3);
  dump.set_page_end(5);
  Schedule(request);
  const auto rows = consumer->Read(2);
  EXPECT_THAT(Describe(rows), ElementsAre("row r1", "last row r2"));
  EXPECT_EQ(Job().state(), pb::DumpJob::RUNNING) << "its rows are not acknowledged";
  for (const auto& row : rows) consumer->Ack(row);
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsFailures, WhereItsTableIsNotKnownTheServerIsAskedAgain) {
  ExpectAskedAgainAfter(ScriptedAgent::Answers({.applied = 100, .table = ""}, {}),
                        ScriptedAgent::Answers({.applied = 150}, {"r"}));
}

TEST_F(CaptureDumpsFailures, ATableThatAServerThatIsBehindDoesNotHaveIsAskedForAgain) {
  ExpectAskedAgainAfter(ScriptedAgent::Fails(StatusCode::NOT_FOUND, "no such table"),
                        ScriptedAgent::Answers({.applied = 150}, {"r"}));
}

// No server says that it has come to such a place; but there may be a commit before that it does
// not show.
TEST_F(CaptureDumpsFailures, NoTableIsNotDoneWhereAnEventStandsAloneBehindWhatItsServerShows) {
  agent().Pages({ScriptedAgent::Answers({.applied = 100, .table = ""}, {}),
                 ScriptedAgent::Fails(StatusCode::FAILED_PRECONDITION, "behind"),
                 ScriptedAgent::Answers({.applied = 150}, {"r"})});
  log_.Add(90, "old").Add(150, "a").AddLogicalMessage(180).AddLogicalMessage(190).Write();
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r"));
  EXPECT_EQ(agent().requests().at(0).min_lsn(), 0U);
  EXPECT_EQ(agent().requests().at(1).min_lsn(), 150U);
  EXPECT_TRUE(WaitUntilDone());
}

// A standby says that it has come to a place that is no commit, and a replica never does.
TEST_F(CaptureDumpsFailures, WhatOneServerSaysOfThatIsNotAskedOfAnother) {
  agent().Pages({ScriptedAgent::Answers({.applied = 170, .table = ""}, {}),
                 ScriptedAgent::Answers({.applied = 150, .table = ""}, {})});
  log_.Add(150, "a").AddLogicalMessage(180).Write();
  const auto consumer = Open();
  Schedule({"t", "u"});
  EXPECT_TRUE(AskUntil([&] { return Status().jobs_done() == 2; }));
  EXPECT_EQ(agent().requests().size(), 2U);
}

TEST_F(CaptureDumpsFailures, NoTableIsDoneWhereNothingElseStandsBehindIt) {
  log_.Add(150, "a").AddLogicalMessage(180).AddLogicalMessage(190).Write();
  for (const bool no_key : {true, false}) {
    agent().Pages({ScriptedAgent::Answers(
        {.applied = 150, .no_key = no_key, .table = no_key ? "t" : ""}, {})});
    const auto consumer = Open();
    Schedule();
    EXPECT_TRUE(WaitUntilDone());
    EXPECT_TRUE(consumer->Close().ok());
  }
  EXPECT_EQ(agent().requests().size(), 2U) << "neither is asked twice";
}

// Its rows took back what the stream had brought, and it went before that was repeated.
TEST_F(CaptureDumpsFailures, WhatTheRowsOfAConsumerThatIsGoneTookBackIsRepeatedForTheNext) {
  agent().Pages({ScriptedAgent::Answers({.applied = 90}, {"r1", "r2"}),
                 ScriptedAgent::Answers({.applied = 250}, {"r3"})});
  log_.Add(100, "a").Add(150, "other", "u").Add(200, "b").Write();
  auto consumer = Open({{"From", TextValue("beginning")}});
  EXPECT_THAT(consumer->Take(3), ElementsAre("a", "other", "b"));
  Schedule();
  EXPECT_THAT(Describe(consumer->Read(1)), ElementsAre("row r1"));
  EXPECT_TRUE(consumer->Close().ok());
  log_.Add(250, "c").Write();
  consumer = Open();
  EXPECT_THAT(consumer->Take(1), ElementsAre("c"));
  EXPECT_THAT(consumer->Take(4), ElementsAre("again a", "again b", "again c", "last row r3"));
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_EQ(agent().requests().size(), 2U) << "nobody is asked for what is repeated";
}

// Who does not want the table has nothing to mend.
TEST_F(CaptureDumpsFailures, WhatIsOwedOfATableThatTheNextDoesNotWantIsDone) {
  agent().Pages({ScriptedAgent::Answers({.applied = 90}, {"r1", "r2"}),
                 ScriptedAgent::Answers({.applied = 100}, {"r3"})});
  log_.Add(100, "a").Write();
  auto consumer = Open({{"From", TextValue("beginning")}});
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  Schedule();
  EXPECT_THAT(Describe(consumer->Read(1)), ElementsAre("row r1"));
  EXPECT_TRUE(consumer->Close().ok());
  consumer = Open({{"TableRegex", TextValue("^u$")}});
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsFailures, WhereThatMovesARowWithoutItsValuesTheTableBeginsAgain) {
  agent().Pages({ScriptedAgent::Answers({.applied = 90}, {"r1", "r2"}),
                 ScriptedAgent::Answers({.applied = 250}, {"r3"}),
                 ScriptedAgent::Answers({.applied = 250}, {"r4"}),
                 ScriptedAgent::Answers({.applied = 250}, {})});
  log_.Add(100, "a").Write();
  auto consumer = Open({{"From", TextValue("beginning")}});
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  pb::ScheduleRequest all;
  all.set_uri(kUri);
  all.add_tables()->set_schema("public");
  all.mutable_tables(0)->set_table("t");
  Schedule(all);
  EXPECT_THAT(Describe(consumer->Read(1)), ElementsAre("row r1"));
  EXPECT_TRUE(consumer->Close().ok());
  log_.Add(250, {{.op = Operation::kUpdate, .id = 2, .from_id = 1}}).Write();
  consumer = Open();
  EXPECT_THAT(consumer->Take(5),
              ElementsAre("moved", "again a", "again moved", "last row r3", "last row r4"));
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().restarts(), 1U);
  EXPECT_THAT(Job().reason(), HasSubstr("moved to other keys"));
}

TEST_F(CaptureDumpsFailures, WhatCanNeverBeDumpedFailsItsJobAtOnceAndTheNextGoesOn) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
    if (call.request.info().table() == "v")
      return grpc::Status(StatusCode::INVALID_ARGUMENT, "a view");
    call.send(DumpAnswer({}, {"r1"}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule({"v", "t"});
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  ASSERT_TRUE(AskUntil([&] { return Status().jobs_failed() == 1 && Status().jobs_done() == 1; }));
  const pb::ControllerStatusResponse status = Status();
  for (const pb::DumpJob& job : status.jobs()) {
    if (job.state() != pb::DumpJob::FAILED) continue;
    EXPECT_EQ(job.table(), "v");
    EXPECT_EQ(job.reason(), "a view");
  }
}

TEST_F(CaptureDumpsFailures, ARowThatTheConsumerCannotReceiveFailsTheJobAndTheSessionLives) {
  agent().Pages({ScriptedAgent::Answers({.applied = 90}, {"r1", std::string(5'000, 'x'), "r3"})});
  log_.Add(100, "a").Write();
  const auto consumer =
      Open({{"From", TextValue("beginning")}, {"MaxMessageBytes", NumberValue(1'000)}});
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  Schedule();
  // What its rows may have taken back comes again.
  EXPECT_THAT(consumer->Take(2), ElementsAre("row r1", "again a"));
  ASSERT_TRUE(WaitUntilFailed());
  EXPECT_THAT(Job().reason(), HasSubstr("MaxMessageBytes"));
  EXPECT_THAT(Job().reason(), HasSubstr("public.t"));
  log_.Add(200, "b").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("b"));
}

TEST_F(CaptureDumpsFailures, ARowAboveTheUsualLimitFailsTheJobOfAConsumerThatTellsNone) {
  agent().Pages({ScriptedAgent::Answers({.applied = 90}, {std::string(5 * kMegabyte, 'x')})});
  const auto consumer = Open({{"Batched", BoolValue(true)}});
  Schedule();
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  EXPECT_TRUE(WaitUntilFailed());
}

TEST_F(CaptureDumpsFailures, ARowThatCannotBeReceivedFailsTheJobAlsoWhenItsPlaceIsTheBeginning) {
  agent().Pages({ScriptedAgent::Answers({.applied = 0}, {std::string(5 * kMegabyte, 'x')})});
  const auto consumer = Open();
  Schedule();
  ASSERT_TRUE(WaitUntilFailed());
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
}

// --- agents

TEST_F(CaptureDumpsFailures, ALargeRowComesFromAnAgentInTheSameProcess) {
  resolver_.sources.agents.push_back(agent().near_channel());
  const std::string large(20 * kMegabyte, 'x');
  agent().Pages({ScriptedAgent::Answers({}, {large})});
  const auto consumer = Open({{"MaxMessageBytes", NumberValue(256.0 * kMegabyte)}});
  Schedule();
  EXPECT_TRUE(consumer->Take(1).at(0) == "last row " + large);
}

TEST_F(CaptureDumpsFailures, ADumpThatNoAgentIsThereForFails) {
  agents_.clear();
  const auto consumer = Open();
  Schedule();
  ASSERT_TRUE(WaitUntilFailed());
  EXPECT_THAT(Job().reason(), HasSubstr("no agent"));
}

TEST_F(CaptureDumpsFailures, AnotherAgentIsAskedWhenOneIsUnavailable) {
  agents_.push_back(std::make_unique<ScriptedAgent>());
  agents_[0]->Pages({ScriptedAgent::Fails(StatusCode::UNAVAILABLE, "gone")});
  agents_[1]->Pages({[](const ScriptedAgent::Call& call) {
    call.send(DumpAnswer({.table = call.request.info().table()}, {call.request.info().table()}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  // The agents take turns in being the first, table by table.
  Schedule({"t", "u"});
  EXPECT_THAT(consumer->Take(2), testing::UnorderedElementsAre("last row t", "last row u"));
  EXPECT_TRUE(AskUntil([&] { return Status().jobs_done() == 2; }));
  EXPECT_THAT(agents_[0]->requests(), SizeIs(1));
  EXPECT_EQ(Job().requeues(), 0U);
}

TEST_F(CaptureDumpsFailures, ChangesFlowWhileNoAgentAnswers) {
  agent().Pages({ScriptedAgent::Fails(StatusCode::UNAVAILABLE, "gone"),
                 ScriptedAgent::Fails(StatusCode::RESOURCE_EXHAUSTED, "too many"),
                 ScriptedAgent::Answers({.applied = 100}, {"r1"})});
  const auto consumer = Open();
  Schedule();
  ASSERT_TRUE(agent().WaitForRequests(1));
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(2), ElementsAre("a", "last row r1"));
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_THAT(agent().requests(), SizeIs(3));
}

TEST_F(CaptureDumpsFailures, ChangesFlowWhileAnAgentIsSlow) {
  Signal go;
  agent().Pages({[&go](const ScriptedAgent::Call& call) {
    EXPECT_TRUE(go.Wait());
    call.send(DumpAnswer({.applied = 50}, {"r1"}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule();
  ASSERT_TRUE(agent().WaitForRequests(1));
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  go.Set();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "again a"));
}

TEST_F(CaptureDumpsFailures, ChangesFlowBetweenRowsThatComeSlowlyAndAreRepeatedBehindThem) {
  Signal go;
  agent().Pages({[&go](const ScriptedAgent::Call& call) {
    call.send(DumpAnswer({}, {std::string(3 * kMegabyte, 'x'), std::string(3 * kMegabyte, 'y')},
                         /*last=*/false));
    EXPECT_TRUE(go.Wait());
    call.send(DumpAnswer({}, {"r3"}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule();
  // The second waits until it is known not to be the last.
  EXPECT_THAT(consumer->Take(1), SizeIs(1));
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  go.Set();
  EXPECT_THAT(consumer->Take(1), SizeIs(1));
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r3", "again a"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsFailures, AnAgentThatKnowsNoDumpPagesIsAskedByStreamDump) {
  log_.Add(100, "a").Add(400, "b").Write();
  agent().Stream([](const ScriptedAgent::Call& call) {
    call.send_row(DumpRow("r1"));
    call.send_row(DumpRow("r2"));
    return grpc::Status::OK;
  });
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(2), ElementsAre("a", "b"));
  Schedule();
  const auto rows = consumer->Read(2);
  ASSERT_THAT(Describe(rows), ElementsAre("row r1", "last row r2"));
  // What it was asked for is all that is known of its place.
  EXPECT_EQ(agent().requests().at(1).min_lsn(), 400U);
  EXPECT_EQ(rows[0].dump_lsn(), 400U);
  consumer->Ack(rows[1]);
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsFailures, AnEmptyStreamDumpIsDone) {
  agent().Stream([](const ScriptedAgent::Call&) { return grpc::Status::OK; });
  const auto consumer = Open();
  Schedule();
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsFailures, AnAgentOfStreamDumpThatIsBehindIsAskedAgainForAsMuch) {
  log_.Add(100, "a").Write();
  std::atomic<int> calls = 0;
  agent().Stream([&calls](const ScriptedAgent::Call& call) {
    if (++calls < 3) return grpc::Status(StatusCode::FAILED_PRECONDITION, "behind");
    call.send_row(DumpRow("r1"));
    return grpc::Status::OK;
  });
  const auto consumer = Open(kFromBeginning);
  ASSERT_THAT(consumer->Take(1), ElementsAre("a"));
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  for (const auto& request : agent().requests()) EXPECT_EQ(request.min_lsn(), 100U);
}

TEST_F(CaptureDumpsFailures, APartOfATableIsNotAskedOfAnAgentThatWouldSendAll) {
  agent().Stream([](const ScriptedAgent::Call& call) {
    call.send_row(DumpRow("r1"));
    return grpc::Status::OK;
  });
  const auto consumer = Open();
  pb::ScheduleRequest request;
  request.set_uri(kUri);
  pb::DumpInfoResponse& dump = *request.add_dumps();
  dump.set_schema("public");
  dump.set_table("t");
  dump.set_where("id > 5");
  Schedule(request);
  ASSERT_TRUE(WaitUntilFailed());
  EXPECT_THAT(Job().reason(), HasSubstr("DumpPages"));
  EXPECT_THAT(agent().requests(), SizeIs(1));
}

TEST_F(CaptureDumpsFailures, AnAnswerThatEndsWithoutItsLastRowIsAskedForAgainAndNothingOfItIsSent) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
                   call.send(DumpAnswer({}, {"r1", "r2"}, /*last=*/false));
                   return grpc::Status::OK;
                 },
                 ScriptedAgent::Answers({}, {"r3", "r4"})});
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("row r3", "last row r4"));
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().rows(), 2U);
  EXPECT_EQ(Job().requeues(), 0U);
}

TEST_F(CaptureDumpsFailures, ADumpThatBreaksAfterRowsWereSentIsPutBackAndItsRepeatsCome) {
  log_.Add(100, "a").Write();
  agent().Pages({[](const ScriptedAgent::Call& call) {
                   call.send(DumpAnswer({.applied = 50}, {"r1", std::string(5 * kMegabyte, 'x')},
                                        /*last=*/false));
                   // Until a row is out.
                   call.send(DumpAnswer({.applied = 50}, {std::string(5 * kMegabyte, 'x')},
                                        /*last=*/false));
                   return grpc::Status(StatusCode::INTERNAL, "it broke");
                 },
                 ScriptedAgent::Answers({.applied = 100}, {"r2"})});
  const auto consumer =
      Open({{"From", TextValue("beginning")}, {"MaxMessageBytes", NumberValue(256.0 * kMegabyte)}});
  ASSERT_THAT(consumer->Take(1), ElementsAre("a"));
  Schedule();
  ASSERT_THAT(consumer->Take(1), ElementsAre("row r1"));
  std::string text;
  while (text != "again a") {
    text = consumer->Take(1).at(0);
    EXPECT_THAT(text, testing::Not(testing::StartsWith("last row")));
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r2"));
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().requeues(), 1U);
  EXPECT_THAT(Job().reason(), HasSubstr("it broke"));
}

TEST_F(CaptureDumpsFailures, ADumpOfASweptTableThatStopsHalfwayDoesNotStopTheChanges) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
                   call.send(DumpAnswer({.sweep_needed = true},
                                        {"r1", std::string(5 * kMegabyte, 'x')}, /*last=*/false));
                   return call.WaitUntilCancelled();
                 },
                 ScriptedAgent::Answers({.applied = 100, .sweep_needed = true}, {"r2"})});
  const auto consumer = Open({{"MaxMessageBytes", NumberValue(256.0 * kMegabyte)}});
  Schedule();
  ASSERT_THAT(consumer->Take(1), ElementsAre("row r1"));
  // Only one that could not come again waits for the rows, and not for ever.
  log_.Add(50, "a").Add(100, {{.op = Operation::kUpdate, .id = 2, .from_id = 1}}).Write();
  EXPECT_THAT(consumer->Take(4), ElementsAre("a", "again a", "moved", "last row r2"));
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().requeues(), 1U);
}

TEST_F(CaptureDumpsFailures, BytesThatAreNoAnswerPutTheDumpBackUntilItsTriesAreUsedUp) {
  std::atomic<int> calls = 0;
  agent().Pages({[&calls](const ScriptedAgent::Call& call) {
    pb::AgentDumpResponse answer;
    auto& unknown = *answer.GetReflection()->MutableUnknownFields(&answer);
    switch (calls++) {
      case 0:
        unknown.AddVarint(1, 5);
        break;
      case 1:
        unknown.AddGroup(30);
        break;
      default:
        AddRawChange(answer, "\xFF");
        break;
    }
    call.send(answer);
    return call.WaitUntilCancelled();
  }});
  const auto consumer = Open();
  Schedule();
  ASSERT_TRUE(AskUntil([&] { return Job().requeues() == 1; }));
  EXPECT_THAT(Job().reason(), HasSubstr("no AgentDumpResponse"));
  ASSERT_TRUE(WaitUntilFailed());
  EXPECT_THAT(Job().reason(), HasSubstr("a row that is no change"));
  EXPECT_EQ(calls, int{TestController::kMaxTries});
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
}

TEST_F(CaptureDumpsFailures, ARowThatIsNoChangeNeverReachesTheConsumer) {
  // As a whole, and in a column.
  const std::vector<std::string> garbage = {"\xFF", "\x22\x02\xFF\xFF"};
  std::atomic<size_t> calls = 0;
  agent().Pages({[&](const ScriptedAgent::Call& call) {
    pb::AgentDumpResponse answer = DumpAnswer({}, {"r1"});
    const size_t at = calls++;
    if (at < garbage.size()) AddRawChange(answer, garbage[at]);
    call.send(answer);
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().requeues(), garbage.size());
}

TEST_F(CaptureDumpsFailures, RowsOfAnotherTableThanTheFirstPutTheDumpBack) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
                   pb::AgentDumpResponse answer = DumpAnswer({}, {"r1"});
                   *answer.add_change() = DumpRow("r2", "u");
                   call.send(answer);
                   return grpc::Status::OK;
                 },
                 ScriptedAgent::Answers({}, {"r3"})});
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r3"));
  EXPECT_EQ(Job().requeues(), 1U);
}

TEST_F(CaptureDumpsFailures, ATableThatWasRewrittenBetweenItsDumpsBeginsAgain) {
  std::atomic<int> calls = 0;
  agent().Pages({[&calls](const ScriptedAgent::Call& call) {
    if (++calls == 2) return grpc::Status(StatusCode::ABORTED, "rewritten");
    call.send(DumpAnswer({}, {fmt::format("{}", call.request.info().page_begin())}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  pb::ScheduleRequest request;
  request.set_uri(kUri);
  pb::TableDump& table = *request.add_tables();
  table.set_schema("public");
  table.set_table("t");
  table.set_pages_per_dump(5);
  Schedule(request);
  // Ten pages in dumps of five, the last open-ended.
  EXPECT_THAT(consumer->Take(3), ElementsAre("last row 0", "last row 0", "last row 5"));
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().restarts(), 1U);
  const auto requests = agent().requests();
  EXPECT_EQ(requests.at(1).info().server(), "77");
  EXPECT_EQ(requests.at(1).info().relfilenode(), 16'384U);
}

// --- consumers

TEST_F(CaptureDumpsFailures, TheDumpOfAConsumerThatGoesAwayGoesToTheNext) {
  agent().Pages({ScriptedAgent::Answers({}, {"r1", "r2"})});
  auto consumer = Open();
  Schedule();
  ASSERT_THAT(Describe(consumer->Read(2)), ElementsAre("row r1", "last row r2"));
  consumer = nullptr;
  consumer = Open();
  EXPECT_THAT(consumer->Take(2), ElementsAre("row r1", "last row r2"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsFailures, AConsumerThatDoesNotReadStopsTheAgentNotTheMemory) {
  constexpr size_t kRowBytes = 64 << 10;
  constexpr size_t kRows = 1'600;  // 100 MB
  // The feed holds 4 MB; the rest is in gRPC's windows of both ways. They grow with the speed that
  // it measures while rows are read: 27 MB were seen before that, and 38 MB then.
  constexpr size_t kMostAtRest = 32 * kMegabyte;
  constexpr size_t kMostAhead = 64 * kMegabyte;
  // The script counts a piece when it is sent, which may be after the consumer has read it.
  struct Counts {
    std::atomic<size_t> sent = 0;
    std::atomic<size_t> read = 0;
    std::atomic<size_t> most_ahead = 0;
  };
  const auto counts = std::make_shared<Counts>();
  agent().Pages({[counts](const ScriptedAgent::Call& call) {
    const std::string note(kRowBytes, 'x');
    for (size_t i = 0; i < kRows; i += 4) {
      if (!call.send(DumpAnswer({}, {note, note, note, note}, i + 4 == kRows))) break;
      const size_t sent = counts->sent += 4 * kRowBytes;
      const size_t read = counts->read;
      if (sent > read) counts->most_ahead = std::max(counts->most_ahead.load(), sent - read);
    }
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule();
  // It has stopped when it gets no further while others look a hundred times.
  size_t before = 0;
  int times = 0;
  ASSERT_TRUE(AskUntil([&] {
    const size_t sent = counts->sent;
    times = sent == 0 || sent != before ? 0 : times + 1;
    before = sent;
    return times == 100;
  }));
  EXPECT_LE(counts->sent, kMostAtRest);
  pb::CaptureMessage last;
  for (size_t i = 0; i < kRows; ++i) {
    last = consumer->Next();
    ASSERT_FALSE(HasFailure());
    counts->read += kRowBytes;
  }
  ASSERT_TRUE(agent().WaitForEnds(1));
  EXPECT_LE(counts->most_ahead, kMostAhead);
  EXPECT_EQ(counts->sent, kRows * kRowBytes);
  consumer->Ack(last);
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsFailures, AStreamThatIsFarBehindTakesNoDumpAndSaysSoUntilItIsNear) {
  constexpr int kEvents = 400;
  const std::string note(64 << 10, 'x');
  for (int i = 0; i < kEvents; ++i) log_.Add(kMegabyte * (1 + static_cast<uint64_t>(i)), note);
  log_.Write();
  agent().Pages({ScriptedAgent::Answers({.applied = kMegabyte * kEvents}, {"r1"})});
  const auto consumer = Open(kFromBeginning);  // does not read: most of it stays where it is
  Schedule();
  ASSERT_TRUE(AskUntil([&] {
    const auto status = Status();
    return status.consumers_size() > 0 && !status.consumers(0).hold().empty();
  }));
  EXPECT_THAT(Status().consumers(0).hold(), HasSubstr("MiB of WAL behind"));
  EXPECT_THAT(agent().requests(), SizeIs(0));
  consumer->Take(kEvents);
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_TRUE(AskUntil([&] {
    const auto status = Status();
    return status.consumers_size() > 0 &&
           std::all_of(status.consumers().begin(), status.consumers().end(),
                       [](const pb::DumpConsumer& puller) { return puller.hold().empty(); });
  }));
}

TEST_F(CaptureDumpsFailures, AShutdownWithDumpsInHandIsSoonAndGivesThemBack) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
    if (call.request.info().table() != "t") return call.WaitUntilCancelled();
    call.send(DumpAnswer({}, {"r1"}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule({"t", "u"});
  ASSERT_THAT(Describe(consumer->Read(1)), ElementsAre("last row r1"));
  ASSERT_TRUE(agent().WaitForRequests(2));
  const auto begun = std::chrono::steady_clock::now();
  server_->Shutdown();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(8));
  EXPECT_TRUE(AskUntil([&] { return Status().consumers_size() == 0; }));
  EXPECT_EQ(Status().jobs_done(), 0U);
}

// --- the controller

class CaptureDumpsController : public DumpsTest {
 protected:
  CaptureDumpsController() {
    controller_.Stop();
    controller_.KeepIn(folder_.path());
    controller_.Start();
  }
  ~CaptureDumpsController() override {
    server_.reset();
    controller_.Stop();
  }

 private:
  const TempDir folder_;
};

TEST_F(CaptureDumpsController, ChangesFlowWhileItIsAwayAndDumpsComeWhenItIsBack) {
  agent().Pages({ScriptedAgent::Answers({}, {"r1"})});
  const auto consumer = Open();
  controller_.Stop();
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  controller_.Start();
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "again a"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumpsController, ADumpInHandComesAgainWhenItIsBack) {
  agent().Pages({ScriptedAgent::Answers({}, {"r1"}), ScriptedAgent::Answers({}, {"r2"})});
  const auto consumer = Open();
  Schedule();
  const auto first = consumer->Read(1);
  ASSERT_THAT(Describe(first), ElementsAre("last row r1"));
  controller_.Stop();
  consumer->Ack(first[0]);
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  controller_.Start();
  // What the rows of the first time took back, and those of the second with what they did.
  EXPECT_THAT(consumer->Take(3), ElementsAre("again a", "last row r2", "again a"));
  EXPECT_TRUE(WaitUntilDone());
}

// Gives one dump, and says that it knows of its rows when it is told to.
class SlowController final : public pb::DBLogController::Service {
 public:
  grpc::Status PullDumpInfo(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<pb::DumpInfoResponse, pb::DumpInfoRequest>* stream) override {
    pb::DumpInfoRequest request;
    if (!stream->Read(&request)) return grpc::Status::OK;
    if (!given_.exchange(true)) {
      pb::DumpInfoResponse dump;
      dump.set_schema("public");
      dump.set_table("t");
      dump.set_page_end(9);
      dump.set_asks_begun(true);
      stream->Write(dump);
      if (!stream->Read(&request)) return grpc::Status::OK;
      MutexLock lock(mutex_);
      begun_ = request;
      changed_.NotifyAll();
      EXPECT_TRUE(WaitFor([this]() PGC_REQUIRES(mutex_) { return knows_; }));
      pb::DumpInfoResponse noted;
      noted.set_noted(1);
      stream->Write(noted);
    }
    while (stream->Read(&request)) {
    }
    return grpc::Status::OK;
  }

  pb::DumpInfoRequest Begun() {
    MutexLock lock(mutex_);
    EXPECT_TRUE(WaitFor([this]() PGC_REQUIRES(mutex_) { return begun_.has_value(); }));
    return begun_.value_or(pb::DumpInfoRequest());
  }
  void Know() {
    MutexLock lock(mutex_);
    knows_ = true;
    changed_.NotifyAll();
  }

 private:
  template <typename Ready>
  bool WaitFor(Ready ready) PGC_REQUIRES(mutex_) {
    return changed_.WaitUntil(mutex_, {}, std::chrono::steady_clock::now() + kDumpDeadline, ready);
  }

  std::atomic<bool> given_ = false;
  Mutex mutex_;
  CondVar changed_;
  std::optional<pb::DumpInfoRequest> begun_ PGC_GUARDED_BY(mutex_);
  bool knows_ PGC_GUARDED_BY(mutex_) = false;
};

TEST_F(CaptureDumpsController, NoRowGoesBeforeItIsKnownAndChangesDo) {
  SlowController slow;
  auto listener = *Listener::Start({.address = "127.0.0.1:0", .health_names = {}}, {&slow});
  resolver_.sources.controller = WideChannel(listener->address());
  agent().Pages({ScriptedAgent::Answers({.applied = 100}, {"r1"})});
  log_.Add(100, "a").Write();
  auto consumer = Open({{"From", TextValue("beginning")}});
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  const pb::DumpInfoRequest begun = slow.Begun();
  EXPECT_EQ(begun.begun().shown(), 100U);
  EXPECT_EQ(begun.begun().schema(), "public");
  EXPECT_EQ(begun.begun().table(), "t");
  EXPECT_EQ(begun.begun().fields(), 2U);
  log_.Add(200, "b").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("b"));
  slow.Know();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "again b"));
  consumer = nullptr;
  server_.reset();
  resolver_.sources.controller = nullptr;
  listener.reset();
}

TEST_F(CaptureDumpsController, AStreamWithoutOneHasNoDumps) {
  controller_.Stop();
  const auto consumer = Open();
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  EXPECT_TRUE(consumer->Close().ok());
  controller_.Start();
}

}  // namespace
}  // namespace pgc
