// What happens to a table, its server or serve while a dump of it is under way: how that ends, what
// the program says meanwhile, and that every row is there in the end.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>

#include "e2e/dump/dump_fixture.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

class DumpsMidway : public ServedDumps {
 protected:
  // Serves a table of this many pages, and a consumer that acknowledges nothing for now.
  void ServeHolding(int pages, std::vector<std::string> flags = {}) {
    MakeTable("t", pages * kRowsPerPage);
    Serve(std::move(flags));
    if (HasFatalFailure()) return;
    WaitApplied();
    Read(/*holds=*/true);
  }
  void Read(bool holds) {
    reader_ = std::make_unique<DumpsReader>(
        DumpsReader::Options{.gateway = serve().address(), .uri = Uri(), .holds = holds});
    ASSERT_TRUE(reader_->WaitAttached());
  }
  // Asks for t page by page; the first dump is alone until it is acknowledged.
  std::unique_ptr<Subprocess> DumpHalfway() {
    auto dump = StartDump({"--table", "t", "--pages-per-dump", "1", "--wait"});
    EXPECT_TRUE(reader_->WaitForDumpRows(kRowsPerPage)) << "the first dump has not come";
    return dump;
  }
  void ExpectAllRows() {
    WaitAllAcknowledged();
    ReceivedTables received(ReceivedOrder::kArrival);
    received.TakeAll(reader_->lines());
    ExpectEqual(received, "t");
  }
  void ExpectDone(Subprocess& dump) {
    const Ran ran = Finish(dump);
    EXPECT_EQ(ran.code, 0) << ran.errors << Dump({"--status"}).out << serve().process().errors();
  }

  std::unique_ptr<DumpsReader> reader_;
};

TEST_F(DumpsMidway, ATableThatIsDroppedIsDone) {
  ServeHolding(20);
  const auto dump = DumpHalfway();
  Everywhere("DROP TABLE t");
  reader_->Release();
  ExpectDone(*dump);
  EXPECT_EQ(reader_->dump_rows(), size_t{kRowsPerPage}) << "what was read before";
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr("1 of 1 done, 0 failed"));
}

TEST_F(DumpsMidway, ATableThatIsRewrittenBeginsAgain) {
  ServeHolding(20);
  const auto dump = DumpHalfway();
  OnReplica("VACUUM FULL t");
  reader_->Release();
  ExpectDone(*dump);
  ExpectAllRows();
  const pb::DumpJob job = FirstJob(Status(Uri()));
  EXPECT_EQ(job.restarts(), 1U);
  EXPECT_THAT(job.reason(), HasSubstr("public.t was rewritten"));
  EXPECT_EQ(reader_->dump_rows(), size_t{21 * kRowsPerPage}) << "the first dump, then all";
}

TEST_F(DumpsMidway, ATableThatIsLockedIsTriedAgainAndSaysSo) {
  MakeTable("other", 10);
  ServeHolding(20);
  const auto dump = DumpHalfway();
  const auto locker = Connect(replica_url());
  ASSERT_TRUE(locker->Execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").ok());
  reader_->Release();
  WaitStatus(Uri(), "a requeue because of the lock", [](const auto& status) {
    return FirstJob(status).requeues() > 0 &&
           FirstJob(status).reason().find("lock timeout") != std::string::npos;
  });
  EXPECT_THAT(Dump({"--status"}).out, AllOf(HasSubstr("running"), HasSubstr("lock timeout")));
  // The changes go on meanwhile.
  Sql("INSERT INTO other VALUES (11, 1, 'while it is locked')");
  const auto deadline = std::chrono::steady_clock::now() + kDumpWait;
  while (reader_->lines().back().find("while it is locked") == std::string::npos) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the changes wait for the dump";
  }
  ASSERT_TRUE(locker->Execute("COMMIT").ok());
  ExpectDone(*dump);
  ExpectAllRows();
}

// The rows that it has are right at their place, and what it has not applied yet is repeated.
TEST_F(DumpsMidway, AReplicaThatIsBehindIsReadAndWhatItHasNotComesAgain) {
  MakeTable("t", 1000);
  MakeTable("blocker", 10);
  Serve();
  WaitApplied();
  Read(/*holds=*/false);
  const auto locker = Connect(replica_url());
  ASSERT_TRUE(locker->Execute("BEGIN; LOCK TABLE blocker IN ACCESS EXCLUSIVE MODE").ok());
  Sql("UPDATE blocker SET n = 1 WHERE id = 1");
  Sql("UPDATE t SET n = 7 WHERE id <= 100; DELETE FROM t WHERE id BETWEEN 200 AND 300; INSERT INTO "
      "t SELECT g, 1, 'new' FROM generate_series(2001, 2100) g; UPDATE t SET id = id + 5000 WHERE "
      "id BETWEEN 400 AND 410");
  WaitAllAcknowledged();
  auto dump = StartDump({"--table", "t", "--wait"});
  ExpectDone(*dump);
  EXPECT_EQ(AskReplica("SELECT count(*) FROM t WHERE n = 7"), "0") << "it is not behind";
  EXPECT_EQ(reader_->dump_rows(), 1000U);
  ExpectAllRows();
  ASSERT_TRUE(locker->Execute("COMMIT").ok());
  WaitApplied();
  dump = StartDump({"--table", "t", "--wait"});
  ExpectDone(*dump);
  EXPECT_EQ(reader_->dump_rows(), 1999U);
  ExpectAllRows();
}

TEST_F(DumpsMidway, AReplicaWithoutACheckpointIsWaitedFor) {
  MakeTable("t", 50);
  ServeOnly({"--dump-from", replica_url()});
  Read(/*holds=*/false);
  const auto dump = StartDump({"--table", "t", "--wait"});
  WaitStatus(Uri(), "a requeue because there is no checkpoint", [this](const auto& status) {
    return status.jobs_size() == 1 &&
           FirstJob(status).reason() ==
               "no checkpoint yet: nothing of topic " + name() + " was applied to this server";
  });
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr("no checkpoint yet"));
  // As a sink keeps it.
  OnReplica(fmt::format(
      "CREATE SCHEMA pgcapture; CREATE TABLE pgcapture.sources (id text PRIMARY KEY, commit "
      "pg_lsn, seq int, commit_ts timestamptz, mid bytea, apply_ts timestamptz); INSERT INTO "
      "pgcapture.sources VALUES ('{}', '{}', 1, now(), '\\x00', now())",
      name(), Ask("SELECT pg_current_wal_insert_lsn()")));
  Sql("INSERT INTO marker VALUES (1)");
  ExpectDone(*dump);
  ExpectAllRows();
}

TEST_F(DumpsMidway, TheServerOfTheReplicaIsRestartedAndItGoesOn) {
  ServeHolding(40);
  const auto dump = DumpHalfway();
  ASSERT_TRUE(Replica(0).StopImmediately().ok());
  reader_->Release();
  WaitStatus(Uri(), "a requeue because the server is gone",
             [](const auto& status) { return FirstJob(status).requeues() > 0; });
  ASSERT_TRUE(Replica(0).Restart().ok());
  ExpectDone(*dump);
  ExpectAllRows();
}

TEST_F(DumpsMidway, ServeIsKilledAndWhoWaitsSeesTheEnd) {
  ServeHolding(40);
  const auto dump = DumpHalfway();
  serve().Kill();
  ASSERT_FALSE(dump->Wait(seconds(2)).has_value()) << "it waits on: " << dump->errors();
  ASSERT_TRUE(serve().Start().ok());
  reader_->Release();
  ExpectDone(*dump);
  ExpectAllRows();
}

TEST_F(DumpsMidway, WhoNoLongerWaitsIsToldThatTheScheduleStays) {
  ServeHolding(20);
  const auto dump = DumpHalfway();
  dump->Signal(SIGINT);
  const Ran ran = Finish(*dump);
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.errors, AllOf(HasSubstr("no longer waiting"), HasSubstr("--stop ends it")));
  reader_->Release();
  EXPECT_EQ(Dump({"--wait"}).code, 0);
  ExpectAllRows();
}

}  // namespace
}  // namespace pgc
