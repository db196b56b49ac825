// Where the rows of dumps stand in a consumer's stream, and when a dump is done.
#include <sys/resource.h>

#include <set>
#include <string>
#include <vector>

#include "base/big_endian.h"
#include "gateway/dumps_testing.h"

namespace pgc {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

const DumpConsumer::Parameters kFromBeginning = {{"From", TextValue("beginning")}};

class CaptureDumps : public DumpsTest {
 protected:
  // A consumer that has all of the log so far.
  std::unique_ptr<DumpConsumer> OpenAt(const std::vector<std::string>& so_far,
                                       DumpConsumer::Parameters parameters = {}) {
    parameters.insert(kFromBeginning.begin(), kFromBeginning.end());
    auto consumer = Open(parameters);
    EXPECT_EQ(consumer->Take(so_far.size()), so_far);
    return consumer;
  }
};

// --- the place

TEST_F(CaptureDumps, RowsComeAfterTheLastEventAtTheirPlaceAndBeforeTheNext) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 200}, {"r1", "r2"})});
  const auto consumer = OpenAt({"a"});
  Schedule();
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.Add(150, "b").Add(200, "c").Add(201, "d").Write();
  EXPECT_THAT(consumer->Take(5), ElementsAre("b", "c", "row r1", "last row r2", "d"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, RowsCarryTheirDumpsNumberAndPlaceAndNothingElseDoes) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 90}, {"r1", "r2"})});
  const auto consumer = Open(kFromBeginning);
  const auto event = consumer->Next();
  Schedule();
  const auto messages = consumer->Read(3);
  ASSERT_THAT(Describe(messages), ElementsAre("row r1", "last row r2", "again a"));
  const pb::AgentDumpRequest request = agent().requests().at(0);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(messages[i].checkpoint().seq(), DumpId(request.info()));
    EXPECT_EQ(messages[i].dump_lsn(), 90U);
    EXPECT_EQ(messages[i].change().op(), pb::Change::UPDATE);
  }
  EXPECT_EQ(event.dump_lsn(), 0U);
  EXPECT_EQ(messages[2].dump_lsn(), 0U);
  EXPECT_EQ(messages[2].change().op(), pb::Change::INSERT);
}

TEST_F(CaptureDumps, RowsComeWithoutAnEventOnceTheCapturedPositionIsAtTheirPlace) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 200}, {"r1"})});
  const auto consumer = OpenAt({"a"});
  Schedule();
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.Add(150, "b").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("b"));
  log_.WriteUpTo(200);
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
}

TEST_F(CaptureDumps, RowsWaitWhileTheCapturedPositionIsBelowTheirPlace) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 200}, {"r1"})});
  const auto consumer = OpenAt({"a"});
  Schedule();
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.WriteUpTo(199);
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.Add(200, "b").Write();
  EXPECT_THAT(consumer->Take(2), ElementsAre("b", "last row r1"));
}

TEST_F(CaptureDumps, EventsThatTheConsumerDoesNotGetCountForThePlaceToo) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 200}, {"r1"})});
  const auto consumer = OpenAt({"a"}, {{"TableRegex", TextValue("^t$")}});
  Schedule();
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.Add(150, "x", "u").Add(200, "y", "u").Add(201, "b").Write();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "b"));
}

TEST_F(CaptureDumps, RowsOfATableWithoutEventsComeToAConsumerThatIsAtTheEnd) {
  agent().Pages({ScriptedAgent::Answers({}, {"r1"})});
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, TheDumpOfTheLowestPlaceGoesFirst) {
  log_.Add(100, "a").Write();
  agent().Pages({[](const ScriptedAgent::Call& call) {
    const bool is_t = call.request.info().table() == "t";
    call.send(DumpAnswer({.applied = is_t ? 300U : 200U, .table = call.request.info().table()},
                         {is_t ? "r3" : "r2"}));
    return grpc::Status::OK;
  }});
  const auto consumer = OpenAt({"a"});
  Schedule({"t", "u"});
  ASSERT_TRUE(agent().WaitForEnds(2));
  ASSERT_TRUE(WaitUntilADumpWaits());
  log_.Add(200, "b").Add(250, "c").Add(350, "d").Write();
  // Nothing is acknowledged that would make it look for the second.
  const auto messages = consumer->Read(5);
  EXPECT_THAT(Describe(messages), ElementsAre("b", "last row r2", "c", "last row r3", "d"));
  for (const auto& message : messages) consumer->Ack(message);
  EXPECT_TRUE(AskUntil([&] { return Status().jobs_done() == 2; }));
}

// --- repeats

TEST_F(CaptureDumps, RowsOfAPlaceThatIsPastAreFollowedByTheTablesEventsAfterIt) {
  log_.Add(100, "a").Add(200, "b").Add(300, "x", "u").Add(400, "d").Add(500, "e").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 200}, {"r1", "r2"})});
  const auto consumer = OpenAt({"a", "b", "x", "d", "e"});
  Schedule();
  EXPECT_THAT(consumer->Take(4), ElementsAre("row r1", "last row r2", "again d", "again e"));
  log_.Add(600, "f").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("f"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, ARepeatHasTheEventsPlaceAndDataOfItsOwn) {
  log_.Add(100, {{.id = 1, .note = "a"}, {.id = 2, .note = "b"}}).Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 50}, {"r1"})});
  const auto consumer = Open(kFromBeginning);
  const auto events = consumer->Read(2);
  Schedule({"t"});
  const auto repeats = consumer->Read(3);
  ASSERT_THAT(Describe(repeats), ElementsAre("last row r1", "again a", "again b"));
  std::set<std::string> data = {events[0].checkpoint().data(), events[1].checkpoint().data()};
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(repeats[i + 1].checkpoint().lsn(), events[i].checkpoint().lsn());
    EXPECT_EQ(repeats[i + 1].checkpoint().seq(), events[i].checkpoint().seq());
    EXPECT_EQ(repeats[i + 1].change().SerializeAsString(), events[i].change().SerializeAsString());
    EXPECT_TRUE(data.insert(repeats[i + 1].checkpoint().data()).second) << i;
  }
}

TEST_F(CaptureDumps, TheAckOfARepeatIsNoneOfItsEvent) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 50}, {"r1"})});
  auto consumer = Open(kFromBeginning);
  ASSERT_EQ(Describe(consumer->Next()), "a");  // never acknowledged
  Schedule();
  ASSERT_THAT(consumer->Take(2), ElementsAre("last row r1", "again a"));
  ASSERT_TRUE(WaitUntilDone());
  ASSERT_TRUE(consumer->Close().ok());
  consumer = Open();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
}

TEST_F(CaptureDumps, TruncatesAreRepeatedToConsumersThatGetThem) {
  log_.Add(100, "a").AddTruncate(200, "t").AddTruncate(250, "u").Add(300, "b").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 150}, {"r1"})});
  const auto consumer = OpenAt({"a", "truncate", "truncate", "b"}, {{"Extras", BoolValue(true)}});
  Schedule();
  EXPECT_THAT(consumer->Take(3), ElementsAre("last row r1", "again truncate", "again b"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, TruncatesAreNotRepeatedToOthers) {
  log_.Add(100, "a").AddTruncate(200, "t").Add(300, "b").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 150}, {"r1"})});
  const auto consumer = OpenAt({"a", "b"});
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "again b"));
}

TEST_F(CaptureDumps, RepeatsAreOfTheTableWhoseNameTheRowsHave) {
  log_.Add(100, "leaf", "t_1").Add(200, "root").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 50, .table = "t"}, {"r1"})});
  const auto consumer = OpenAt({"leaf", "root"});
  Schedule({"t_1"});
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "again root"));
  EXPECT_EQ(agent().requests().at(0).info().table(), "t_1");
}

TEST_F(CaptureDumps, TheAgentIsAskedForAtLeastWhatTheConsumerHasSeen) {
  log_.Add(100, "a").Add(400, "b").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 400}, {"r1"})});
  const auto consumer = OpenAt({"a", "b"});
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  EXPECT_EQ(agent().requests().at(0).min_lsn(), 400U);
}

TEST_F(CaptureDumps, TheAgentIsNotAskedForThePlaceOfALogicalMessageThatAConsumerBeginsBehind) {
  log_.Add(100, "a").AddLogicalMessage(400).Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 100}, {"r1"})});
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  EXPECT_EQ(agent().requests().at(0).min_lsn(), 0U);
}

TEST_F(CaptureDumps, AnAgentThatIsBehindIsAskedForWhatItHasAndTheRestIsRepeated) {
  log_.Add(100, "a").Add(400, "b").Write();
  agent().Pages({ScriptedAgent::Fails(grpc::StatusCode::FAILED_PRECONDITION, "behind"),
                 ScriptedAgent::Answers({.applied = 100}, {"r1"})});
  const auto consumer = OpenAt({"a", "b"});
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "again b"));
  EXPECT_TRUE(WaitUntilDone());
  const auto requests = agent().requests();
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[0].min_lsn(), 400U);
  EXPECT_EQ(requests[1].min_lsn(), 0U);
}

// --- acknowledgements

TEST_F(CaptureDumps, ADumpIsDoneOnceItsLastRowAndEveryRepeatAreAcknowledgedAndNotBefore) {
  log_.Add(100, "a").Add(200, "b").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 50}, {"r1", "r2"})});
  auto consumer = OpenAt({"a", "b"});
  Schedule();
  for (const size_t left_out : {size_t{1}, size_t{2}}) {
    const auto messages = consumer->Read(4);
    ASSERT_THAT(Describe(messages), ElementsAre("row r1", "last row r2", "again a", "again b"));
    for (size_t i = 0; i < messages.size(); ++i) {
      if (i != left_out) consumer->Ack(messages[i]);
    }
    // All of them are taken when this returns. The dump goes to the next consumer.
    ASSERT_TRUE(consumer->Close().ok());
    ASSERT_TRUE(WaitForJob([](const pb::DumpJob& job) { return job.dumps_in_hand() == 0; }));
    ASSERT_EQ(Job().state(), pb::DumpJob::RUNNING) << left_out;
    consumer = Open();
    // What the rows took back comes before all else.
    ASSERT_THAT(consumer->Take(2), ElementsAre("again a", "again b"));
  }
  const auto messages = consumer->Read(4);
  for (const size_t i : {size_t{3}, size_t{1}, size_t{2}}) consumer->Ack(messages[i]);
  ASSERT_TRUE(WaitUntilDone());
  const pb::DumpJob job = Job();
  EXPECT_EQ(job.rows(), 2U);
  EXPECT_GT(job.bytes(), 0U);
  EXPECT_EQ(job.pages(), 10U);
  EXPECT_EQ(job.server(), "77");
}

// Sends each row in an answer of its own.
grpc::Status SendEach(const ScriptedAgent::Call& call, const std::vector<std::string>& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    call.send(DumpAnswer({}, {rows[i]}, /*last=*/i + 1 == rows.size()));
  }
  return grpc::Status::OK;
}

TEST_F(CaptureDumps, OnlyTheLastRowIsTheLastHoweverManyAnswersTheRowsCameIn) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
    return SendEach(call, {"r1", "r2", "r3"});
  }});
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(3), ElementsAre("row r1", "row r2", "last row r3"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, TheAnswerThatSaysThatTheLastRowWasBeforeMayHaveNone) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
    call.send(DumpAnswer({}, {"r1", "r2"}, /*last=*/false));
    call.send(DumpAnswer({}, {}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule();
  EXPECT_THAT(consumer->Take(2), ElementsAre("row r1", "last row r2"));
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, AcksOfAllRowsButTheLastLeaveTheDumpInHand) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
    return SendEach(call, {"r1", "r2", "r3"});
  }});
  const auto consumer = Open();
  Schedule();
  const auto rows = consumer->Read(3);
  consumer->Ack(rows[0]);
  consumer->Ack(rows[1]);
  ASSERT_TRUE(consumer->Close().ok());
  ASSERT_TRUE(WaitForJob([](const pb::DumpJob& job) { return job.dumps_in_hand() == 0; }));
  EXPECT_EQ(Job().state(), pb::DumpJob::RUNNING);
}

TEST_F(CaptureDumps, ARequeuedRowBringsTheWholeDumpAgainAndLaterAnswersAreIgnored) {
  agent().Pages({ScriptedAgent::Answers({}, {"r1", "r2"}), ScriptedAgent::Answers({}, {"r3"})});
  const auto consumer = Open();
  Schedule();
  const auto first = consumer->Read(2);
  consumer->Requeue(first[0]);
  consumer->Requeue(first[1]);
  consumer->Ack(first[1]);
  consumer->Ack(first[0]);
  const auto again = consumer->Read(1);
  ASSERT_THAT(Describe(again), ElementsAre("last row r3"));
  EXPECT_EQ(Job().requeues(), 1U);
  EXPECT_EQ(Job().reason(), "not now");
  EXPECT_EQ(Job().state(), pb::DumpJob::RUNNING);
  consumer->Ack(again[0]);
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().rows(), 1U);
}

// The last row of the first try is answered for when the second is under way.
TEST_F(CaptureDumps, AnAnswerToTheTryBeforeDoesNotEndTheNext) {
  constexpr size_t kRows = 200;
  agent().Pages({ScriptedAgent::Answers({}, std::vector<std::string>(kRows, "r"))});
  const auto consumer = Open();
  Schedule();
  const auto take_all_but_first_and_last = [&consumer](pb::CaptureMessage first) {
    std::vector<pb::CaptureMessage> kept{std::move(first)};
    for (size_t i = 1; i < kRows; ++i) {
      pb::CaptureMessage row = consumer->Next();
      if (i + 1 == kRows) {
        kept.push_back(std::move(row));
      } else {
        consumer->Ack(row);
      }
    }
    return kept;
  };
  const auto first = take_all_but_first_and_last(consumer->Next());
  consumer->Requeue(first[0]);
  pb::CaptureMessage again = consumer->Next();
  consumer->Ack(first[1]);
  const auto second = take_all_but_first_and_last(std::move(again));
  ASSERT_EQ(Describe(second[1]), "last row r");
  consumer->Requeue(second[0]);
  ASSERT_TRUE(WaitForJob([](const pb::DumpJob& job) {
    return job.state() == pb::DumpJob::DONE || job.requeues() == 2;
  }));
  EXPECT_EQ(Job().requeues(), 2U) << "it was done before its rows were acknowledged";
}

// What a consumer makes up costs nothing.
TEST_F(CaptureDumps, RepeatsThatWereNotSentCannotBeAcknowledged) {
  const auto go = std::make_shared<Signal>();
  agent().Pages({[go](const ScriptedAgent::Call& call) {
    const std::string large(3 << 20, 'x');
    call.send(DumpAnswer({}, {large, large}, /*last=*/false));
    EXPECT_TRUE(go->Wait());
    call.send(DumpAnswer({}, {"last"}));
    return grpc::Status::OK;
  }});
  const auto consumer = Open();
  Schedule();
  std::vector<pb::CaptureMessage> rows{consumer->Next()};
  const auto kilobytes = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const auto before = kilobytes();
  pb::CaptureMessage made_up;
  made_up.mutable_checkpoint()->set_lsn(100);
  for (uint64_t number = 0; number < uint64_t{1} << 32; number += uint64_t{1} << 24) {
    std::string& data = *made_up.mutable_checkpoint()->mutable_data();
    data.assign(1, '\0');
    AppendBigEndian32(data, 1);  // the first dump of the session
    AppendBigEndian32(data, static_cast<uint32_t>(number));
    consumer->Ack(made_up);
  }
  go->Set();
  for (auto& row : consumer->Read(2)) rows.push_back(std::move(row));
  EXPECT_EQ(Describe(rows.back()), "last row last");
  for (const auto& row : rows) consumer->Ack(row);
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_LT(kilobytes() - before, 100 << 10);
}

TEST_F(CaptureDumps, ARequeuedRepeatBringsTheDumpAgain) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 50}, {"r1"})});
  const auto consumer = OpenAt({"a"});
  Schedule();
  const auto first = consumer->Read(2);
  consumer->Ack(first[0]);
  consumer->Requeue(first[1]);
  EXPECT_THAT(consumer->Take(2), ElementsAre("last row r1", "again a"));
  ASSERT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().requeues(), 1U);
}

TEST_F(CaptureDumps, ARequeuedEventComesAgainWhileADumpIsInHand) {
  log_.Add(100, "a").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 50}, {"r1"})});
  const auto consumer = Open(kFromBeginning);
  const auto event = consumer->Next();
  Schedule();
  const auto dump = consumer->Read(2);
  consumer->Requeue(event);
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  for (const auto& message : dump) consumer->Ack(message);
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, AnAckOfADumpThatIsNotInHandChangesNothing) {
  agent().Pages({ScriptedAgent::Answers({}, {"r1"})});
  const auto consumer = Open();
  pb::CaptureMessage unknown;
  unknown.mutable_checkpoint()->set_seq(7);
  unknown.mutable_checkpoint()->set_data("\x01");
  consumer->Ack(unknown);
  consumer->Requeue(unknown);
  unknown.mutable_checkpoint()->set_lsn(100);
  unknown.mutable_checkpoint()->set_data(std::string("\0\0\0\0\7\0\0\0\1", 9));
  consumer->Ack(unknown);
  consumer->Requeue(unknown);
  Schedule();
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row r1"));
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_EQ(Job().requeues(), 0U);
}

// --- many

TEST_F(CaptureDumps, ABatchHoldsRowsRepeatsAndEventsInTheSameOrder) {
  log_.Add(100, "a").Add(200, "b").Write();
  agent().Pages({ScriptedAgent::Answers({.applied = 100}, {"r1", "r2", "r3"})});
  const auto consumer = OpenAt({"a", "b"}, {{"Batched", BoolValue(true)}});
  Schedule();
  const auto messages = consumer->Read(4);
  EXPECT_THAT(Describe(messages), ElementsAre("row r1", "row r2", "last row r3", "again b"));
  EXPECT_EQ(consumer->most_in_one(), 4);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(messages[i].dump_lsn(), 100U);
  EXPECT_EQ(messages[3].dump_lsn(), 0U);
  for (const auto& message : messages) consumer->Ack(message);
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, RowsLargerThanABatchComeAloneAndInOrder) {
  std::vector<std::string> rows;
  std::vector<std::string> texts;
  for (int i = 0; i < 20; ++i) {
    rows.push_back(fmt::format("{}{}", i, std::string(i % 2 == 0 ? 100'000 : 100, 'x')));
    texts.push_back((i == 19 ? "last row " : "row ") + rows.back());
  }
  agent().Pages({ScriptedAgent::Answers({}, rows)});
  const auto consumer = Open({{"Batched", BoolValue(true)}});
  Schedule();
  EXPECT_TRUE(consumer->Take(20) == texts);
  EXPECT_TRUE(WaitUntilDone());
}

TEST_F(CaptureDumps, ConsumersOfAUriShareAScheduleAndEachHoldsAFewDumps) {
  agent().Pages({[](const ScriptedAgent::Call& call) {
    call.send(DumpAnswer({}, {std::to_string(call.request.info().page_begin())}));
    return grpc::Status::OK;
  }});
  const auto one = Open();
  const auto two = Open();
  pb::ScheduleRequest request;
  request.set_uri(kUri);
  constexpr size_t kDumps = 2 * DumpFeed::kMaxPulls + 1;
  for (uint32_t i = 0; i < kDumps; ++i) {
    pb::DumpInfoResponse& dump = *request.add_dumps();
    dump.set_schema("public");
    dump.set_table("t");
    dump.set_page_begin(2 * i);
    dump.set_page_end(2 * i + 1);
  }
  Schedule(request);
  // Neither acknowledges, so neither gets more than it may hold.
  const auto first = one->Read(DumpFeed::kMaxPulls);
  const auto second = two->Read(DumpFeed::kMaxPulls);
  EXPECT_EQ(Job().dumps_in_hand(), 2 * DumpFeed::kMaxPulls);
  EXPECT_THAT(agent().requests(), SizeIs(2 * DumpFeed::kMaxPulls));
  std::set<std::string> seen;
  for (const auto& message : first) seen.insert(Describe(message));
  for (const auto& message : second) seen.insert(Describe(message));
  EXPECT_THAT(seen, SizeIs(2 * DumpFeed::kMaxPulls));
  for (const auto& message : first) one->Ack(message);
  seen.insert(one->Take(1).at(0));
  for (const auto& message : second) two->Ack(message);
  EXPECT_TRUE(WaitUntilDone());
  EXPECT_THAT(seen, SizeIs(kDumps));
  EXPECT_EQ(Job().rows(), kDumps);
}

TEST_F(CaptureDumps, WhatOthersOfTheSubscriptionWereGivenIsRepeatedToo) {
  log_.Add(100, "a").Write();
  const auto one = OpenAt({"a"});
  ASSERT_TRUE(one->Close().ok());
  agent().Pages({ScriptedAgent::Answers({.applied = 50}, {"r1"})});
  const auto two = Open();
  Schedule();
  EXPECT_THAT(two->Take(2), ElementsAre("last row r1", "again a"));
  EXPECT_TRUE(WaitUntilDone());
}

}  // namespace
}  // namespace pgc
