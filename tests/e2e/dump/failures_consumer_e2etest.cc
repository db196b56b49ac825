// Consumers that keep what they were given, and schedules that are paused, slowed down and stopped
// from the command line.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "base/pause.h"
#include "e2e/dump/dump_fixture.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kPages = 40;

class DumpConsumers : public ServedDumps {
 protected:
  void ServeTable() {
    MakeTable("t", kPages * kRowsPerPage);
    Serve();
    if (HasFatalFailure()) return;
    WaitApplied();
  }
  std::unique_ptr<DumpsReader> Read(bool holds) {
    auto reader = std::make_unique<DumpsReader>(
        DumpsReader::Options{.gateway = serve().address(), .uri = Uri(), .holds = holds});
    EXPECT_TRUE(reader->WaitAttached());
    return reader;
  }
  void ExpectAllRows(const std::vector<DumpsReader*>& readers) {
    ReceivedTables received(ReceivedOrder::kVersion);
    for (const DumpsReader* const reader : readers) received.TakeAll(reader->lines());
    ExpectEqual(received, "t");
  }
};

TEST_F(DumpConsumers, WhatOneNeverAcknowledgesStaysInItsHandUntilItLeaves) {
  ServeTable();
  const auto dump = StartDump({"--table", "t", "--pages-per-dump", "1", "--wait"});
  WaitStatus(Uri(), "a table", [](const auto& status) { return status.jobs_size() == 1; });
  // The first dump of a table is alone: it is not to be the bad one's. And the good one takes its
  // time, so that the other comes before it has all.
  EXPECT_EQ(Dump({"--cool-down", "100ms"}).code, 0);
  const auto good = Read(/*holds=*/false);
  WaitStatus(Uri(), "a page", [](const auto& status) { return FirstJob(status).pages_done() > 0; });
  const auto bad = Read(/*holds=*/true);
  // What the good one can get it gets; the rest is the other's.
  WaitStatus(Uri(), "only what is in the hand of the bad one is left", [&](const auto& status) {
    const pb::DumpJob job = FirstJob(status);
    return job.dumps_in_hand() > 0 && job.pages_done() + job.dumps_in_hand() >= uint32_t{kPages};
  });
  EXPECT_THAT(Dump({"--status"}).out, AllOf(HasSubstr("has a dump in hand"), HasSubstr("waits")));
  EXPECT_GT(good->dump_rows(), 0U);
  EXPECT_GT(bad->dump_rows(), 0U);
  EXPECT_FALSE(dump->Wait(milliseconds(500)).has_value()) << "it is not done";
  bad->Leave();
  const Ran ran = Finish(*dump);
  EXPECT_EQ(ran.code, 0) << ran.errors;
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr("a consumer went away"));
  ExpectAllRows({good.get()});
}

TEST_F(DumpConsumers, PausedNothingIsGivenAndItGoesOn) {
  ServeTable();
  EXPECT_EQ(Dump({"--table", "t", "--pages-per-dump", "1"}).code, 0);
  Ran ran = Dump({"--pause"});
  EXPECT_EQ(ran.code, 0) << ran.errors;
  EXPECT_EQ(ran.out, name() + ": paused\n");
  const auto reader = Read(/*holds=*/false);
  WaitStatus(Uri(), "a consumer", [](const auto& status) { return status.consumers_size() > 0; });
  EXPECT_THAT(Dump({"--status"}).out, AllOf(HasSubstr(": paused"), HasSubstr("waits")));
  Pause(milliseconds(300), {});
  EXPECT_EQ(reader->dump_rows(), 0U);
  // A pause stays over a restart.
  serve().Kill();
  ASSERT_TRUE(serve().Start().ok());
  WaitStatus(Uri(), "the consumer again",
             [](const auto& status) { return status.consumers_size() > 0; });
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr(": paused"));
  EXPECT_EQ(reader->dump_rows(), 0U);
  EXPECT_EQ(Dump({"--resume"}).out, name() + ": goes on\n");
  ran = Dump({"--wait"});
  EXPECT_EQ(ran.code, 0) << ran.errors;
  ExpectAllRows({reader.get()});
}

TEST_F(DumpConsumers, StoppedWhatIsInHandIsFinishedAndTheRestForgotten) {
  ServeTable();
  const auto reader = Read(/*holds=*/true);
  const auto dump = StartDump({"--table", "t", "--pages-per-dump", "1", "--wait"});
  ASSERT_TRUE(reader->WaitForDumpRows(kRowsPerPage));
  const Ran stopped = Dump({"--stop"});
  EXPECT_EQ(stopped.code, 0);
  EXPECT_EQ(stopped.out, name() + ": stopped\n");
  const Ran waited = Finish(*dump);
  EXPECT_EQ(waited.code, 1);
  EXPECT_THAT(waited.errors, HasSubstr("nothing is scheduled: it was stopped"));
  reader->Release();
  WaitAllAcknowledged();
  EXPECT_EQ(reader->dump_rows(), size_t{kRowsPerPage});
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr("nothing is scheduled"));
  // To stop what is not there is no error, and another schedule can begin.
  EXPECT_EQ(Dump({"--stop"}).code, 0);
  const Ran again = Dump({"--table", "t", "--wait"});
  EXPECT_EQ(again.code, 0) << again.errors;
  ExpectAllRows({reader.get()});
}

TEST_F(DumpConsumers, ACoolDownSparesTheServerAndEndsWithItsSchedule) {
  ServeTable();
  EXPECT_EQ(Dump({"--cool-down", "1h"}).code, 0) << "without a schedule it does nothing";
  EXPECT_EQ(Dump({"--table", "t", "--pages-per-dump", "1"}).code, 0);
  EXPECT_THAT(Dump({"--status"}).out, Not(HasSubstr("cool-down")));
  const Ran set = Dump({"--cool-down", "1h"});
  EXPECT_EQ(set.out, name() + ": cool-down set\n");
  const auto reader = Read(/*holds=*/false);
  WaitStatus(Uri(), "a dump before the rest", [](const auto& status) {
    return status.cool_down().seconds() == 3600 && status.rows() > 0;
  });
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr("cool-down 3600 s"));
  EXPECT_THAT(Dump({"--status", "--format", "json"}).out,
              HasSubstr("\"cool_down_seconds\": 3600.0"));
  Pause(milliseconds(300), {});
  EXPECT_TRUE(Status(Uri()).scheduled());
  // A shorter one counts for those that rest already.
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(Dump({"--cool-down", "100ms"}).code, 0);
  EXPECT_EQ(Dump({"--wait"}).code, 0);
  EXPECT_GT(std::chrono::steady_clock::now() - begun, milliseconds(200));
  EXPECT_THAT(Dump({"--status"}).out, Not(HasSubstr("cool-down 3600")));
  ExpectAllRows({reader.get()});
  EXPECT_EQ(Dump({"--table", "t"}).code, 0);
  EXPECT_THAT(Dump({"--status"}).out, Not(HasSubstr("cool-down")));
}

}  // namespace
}  // namespace pgc
