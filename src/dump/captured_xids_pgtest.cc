#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dump/captured_xids.h"
#include "dump/dump_testing.h"

namespace pgc {
namespace {

// Dumps of the source itself.
class SourceDumpTest : public DumpTest {
 protected:
  static void SetUpTestSuite() {
    auto server = PostgresServer::Start({{"max_prepared_transactions", "5"}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server).release();
  }
  void SetUp() override {
    DumpTest::SetUp();
    Sql("CREATE TABLE t (id int PRIMARY KEY, note text)");
    Capture();
    Sql("INSERT INTO t SELECT generate_series(1, 3)");
    WaitUntilCaptured();
  }
  void TearDown() override {
    Release();
    DumpTest::TearDown();
  }
  // From here on commits wait, invisible, for a standby that does not exist.
  void HoldCommitsBack() {
    Admin("ALTER SYSTEM SET synchronous_standby_names = 'absent'");
    Admin("SELECT pg_reload_conf()");
    auto waits = Connection::Open(server_->Url("postgres"));
    ASSERT_TRUE(waits.ok());
    while ((*waits)->Query("SHOW synchronous_standby_names")->Text(0, 0) != "absent") {
    }
  }
  void Release() {
    Admin("ALTER SYSTEM RESET synchronous_standby_names");
    Admin("SELECT pg_reload_conf()");
    held_.clear();
  }
  static void Admin(const std::string& command) {
    auto admin = Connection::Open(server_->Url("postgres"));
    ASSERT_TRUE(admin.ok());
    ASSERT_TRUE((*admin)->Execute(command).ok());
  }
  // In a session of its own, whose commit is held back; returns once it is in the log.
  void Held(const std::string& command) {
    const Lsn before = LogEnd();
    held_.emplace_back([url = server_->Url(name_), command] {
      auto session = Connection::Open(url);
      ASSERT_TRUE(session.ok()) << session.status();
      const absl::Status status = (*session)->Execute(command);
      EXPECT_TRUE(status.ok()) << status;
    });
    const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
    while (LogEnd() == before) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "not captured";
      std::this_thread::yield();
    }
  }
  // The session's own commits do not wait.
  void Commit(const std::string& command) {
    const Lsn before = LogEnd();
    Sql("SET synchronous_commit = local");
    Sql(command);
    const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
    while (LogEnd() == before) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "not captured";
      std::this_thread::yield();
    }
  }

  std::vector<std::jthread> held_;
};

TEST_F(SourceDumpTest, ThePlaceIsTheNewestTransactionWhenAllAreVisible) {
  DumpServer& server = Server(SourceOptions());
  DumpCollector dump = Read(server, Of("t"));
  EXPECT_EQ(Numbers(dump.rows_), UpTo(1, 3));
  EXPECT_EQ(dump.header_.applied, LogEnd());
  EXPECT_GT(dump.header_.upper, dump.header_.applied);
  Commit("INSERT INTO t VALUES (4)");
  dump = Read(server, Of("t"));
  EXPECT_EQ(Numbers(dump.rows_), UpTo(1, 4));
  EXPECT_EQ(dump.header_.applied, LogEnd());
}

TEST_F(SourceDumpTest, ThePlaceIsBelowACommitThatIsHeldBack) {
  const Lsn before = LogEnd();
  HoldCommitsBack();
  Held("INSERT INTO t VALUES (4)");
  const Lsn held = LogEnd();
  ASSERT_GT(held, before);
  Commit("INSERT INTO t VALUES (5)");
  // The follower begins when the commit is in the log already.
  DumpServer& server = Server(SourceOptions());
  for (int i = 0; i < 2; ++i) {
    const DumpCollector dump = Read(server, Of("t"));
    EXPECT_EQ(Numbers(dump.rows_), (std::vector<int32_t>{1, 2, 3, 5}));
    EXPECT_EQ(dump.header_.applied, Lsn{held.value - 1});
  }
  // One that it sees come.
  Held("INSERT INTO t VALUES (6)");
  EXPECT_EQ(Read(server, Of("t")).header_.applied, Lsn{held.value - 1});
  Release();
  const DumpCollector dump = Read(server, Of("t"));
  EXPECT_EQ(Numbers(dump.rows_), UpTo(1, 6));
  EXPECT_EQ(dump.header_.applied, LogEnd());
}

// A row that comes again behind them would be there twice.
TEST_F(SourceDumpTest, RowsOfATableWithoutAKeyArePlacedByTheirSnapshot) {
  Sql("CREATE TABLE bare (id int); INSERT INTO bare VALUES (1); CREATE TABLE keyed (id int PRIMARY "
      "KEY)");
  WaitUntilCaptured();
  DumpServer& server = Server(SourceOptions());
  DumpRequest request = Of("bare");
  request.place_by_snapshot = true;
  const DumpCollector bare = Read(server, request);
  EXPECT_TRUE(bare.header_.by_snapshot);
  EXPECT_GT(bare.header_.upper, bare.header_.applied);
  request.table = "keyed";
  const DumpCollector keyed = Read(server, request);
  EXPECT_FALSE(keyed.header_.by_snapshot);
  EXPECT_EQ(keyed.header_.upper, Lsn{});
}

TEST_F(SourceDumpTest, ARoleThatSeesNoOthersReadsTheWholeLog) {
  Sql("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader; CREATE "
      "SCHEMA pgcapture; CREATE TABLE pgcapture.sources (id text)");
  WaitUntilCaptured();
  HoldCommitsBack();
  Held("INSERT INTO t VALUES (4)");
  const Lsn held = LogEnd();
  Commit("INSERT INTO t VALUES (5)");
  DumpServerOptions options = SourceOptions();
  options.url = server_->Url(name_, "reader");
  const DumpCollector dump = Read(Server(options), Of("t"));
  EXPECT_EQ(Numbers(dump.rows_), (std::vector<int32_t>{1, 2, 3, 5}));
  EXPECT_EQ(dump.header_.applied, Lsn{held.value - 1});
}

TEST_F(SourceDumpTest, APreparedTransactionThatIsHeldBackCountsFromItsPrepare) {
  auto other = Connection::Open(server_->Url(name_));
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE((*other)->Execute("BEGIN; INSERT INTO t VALUES (4); PREPARE TRANSACTION 'p'").ok());
  HoldCommitsBack();
  Held("COMMIT PREPARED 'p'");
  const Lsn held = LogEnd();
  Commit("INSERT INTO t VALUES (5)");
  const DumpCollector dump = Read(Server(SourceOptions()), Of("t"));
  EXPECT_EQ(Numbers(dump.rows_), (std::vector<int32_t>{1, 2, 3, 5}));
  EXPECT_EQ(dump.header_.applied, Lsn{held.value - 1});
}

TEST_F(SourceDumpTest, DumpsAtOnceAreEachBelowWhatTheyDoNotShow) {
  // Each commit is an insert, so the rows say which commits a snapshot has seen.
  DumpServer& server = Server(SourceOptions());
  (void)Read(server, Of("t"));
  std::atomic<bool> done{false};
  std::jthread load([&] {
    auto session = Connection::Open(server_->Url(name_));
    ASSERT_TRUE(session.ok());
    for (int id = 10; !done; ++id) {
      ASSERT_TRUE((*session)->Execute(fmt::format("INSERT INTO t VALUES ({})", id)).ok());
    }
  });
  std::vector<std::vector<DumpCollector>> dumps(3);
  {
    std::vector<std::jthread> readers;
    for (auto& of_one : dumps) {
      readers.emplace_back([&] {
        for (int i = 0; i < 20; ++i) of_one.push_back(Read(server, Of("t")));
      });
    }
  }
  done = true;
  load.join();
  WaitUntilCaptured();
  const auto commits = Commits();
  for (const auto& of_one : dumps) {
    for (const DumpCollector& dump : of_one) {
      const std::vector<int32_t> shown = Numbers(dump.rows_);
      for (const auto& [id, lsn] : commits) {
        const bool is_shown = std::binary_search(shown.begin(), shown.end(), id);
        if (lsn <= dump.header_.applied) {
          EXPECT_TRUE(is_shown) << id;
        }
        if (lsn > dump.header_.upper) {
          EXPECT_FALSE(is_shown) << id;
        }
      }
    }
  }
}

TEST_F(SourceDumpTest, WithoutALogItIsUnavailable) {
  const auto empty = NewMemoryStore();
  DumpServerOptions options = SourceOptions();
  options.store = empty.get();
  EXPECT_TRUE(absl::IsUnavailable(Fail(Server(options), Of("t"))));
  servers_.clear();
  options.store = nullptr;
  EXPECT_TRUE(absl::IsUnavailable(Fail(Server(options), Of("t"))));
}

TEST_F(SourceDumpTest, WhatIsPendingStaysBoundedWithoutDumps) {
  CapturedXids captured(*store_, {.url = server_->Url(name_),
                                  .topic = name_,
                                  .idle = std::chrono::milliseconds(600'000),
                                  .clock_margin = std::chrono::milliseconds(10'000),
                                  .most_pending = 10});
  { ASSERT_TRUE(captured.Enter(*sql_, {}).ok()); }
  Sql("CREATE PROCEDURE many() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 100..1100 LOOP INSERT INTO t "
      "VALUES (i); COMMIT; END LOOP; END $$");
  Sql("CALL many()");
  EXPECT_TRUE(Eventually(
      "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'pgcapture_dump' AND "
      "datname = current_database() AND query LIKE '%pg_current_snapshot%'"));
  const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
  while (captured.pending() > 10 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_LE(captured.pending(), 10U);
}

TEST_F(SourceDumpTest, TheLogIsReadBackToTheStartOfWhatRuns) {
  auto other = Connection::Open(server_->Url(name_));
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE((*other)->Execute("BEGIN; INSERT INTO t VALUES (4); PREPARE TRANSACTION 'p'").ok());
  HoldCommitsBack();
  for (const char* const command : {"COMMIT PREPARED 'p'", "INSERT INTO t VALUES (5)"}) {
    Held(command);
    const Lsn held = LogEnd();
    Commit("INSERT INTO t SELECT max(id) + 100 FROM t");
    CapturedXids captured(*store_, {.url = server_->Url(name_),
                                    .topic = name_,
                                    .idle = std::chrono::milliseconds(600'000),
                                    .clock_margin = std::chrono::milliseconds(0),
                                    .most_pending = 10});
    const auto entry = captured.Enter(*sql_, {});
    ASSERT_TRUE(entry.ok()) << entry.status();
    const auto snapshot = ParseSnapshot(Ask("SELECT pg_current_snapshot()"));
    ASSERT_TRUE(snapshot.ok());
    const auto place = captured.Place(*entry, *snapshot, {});
    ASSERT_TRUE(place.ok()) << place.status();
    EXPECT_EQ(*place, Lsn{held.value - 1}) << command;
    Release();
    HoldCommitsBack();
  }
}

TEST_F(SourceDumpTest, TheLogIsNotFollowedAWhileAfterTheLastDump) {
  CapturedXids captured(*store_, {.url = server_->Url(name_),
                                  .topic = name_,
                                  .idle = std::chrono::milliseconds(1),
                                  .clock_margin = std::chrono::milliseconds(10'000),
                                  .most_pending = 10});
  {
    const auto entry = captured.Enter(*sql_, {});
    ASSERT_TRUE(entry.ok());
    EXPECT_TRUE(captured.following());
  }
  const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
  for (int id = 100; captured.following() && std::chrono::steady_clock::now() < deadline; ++id) {
    Sql(fmt::format("INSERT INTO t VALUES ({})", id));
  }
  EXPECT_FALSE(captured.following());
  const auto entry = captured.Enter(*sql_, {});
  ASSERT_TRUE(entry.ok());
  EXPECT_TRUE(captured.following());
}

TEST_F(SourceDumpTest, IfTheServerIsBehindTheNeedIsSaid) {
  DumpRequest request = Of("t");
  request.min_lsn = Lsn{LogEnd().value + (1 << 20)};
  EXPECT_TRUE(absl::IsFailedPrecondition(Fail(Server(SourceOptions()), request)));
}

}  // namespace
}  // namespace pgc
