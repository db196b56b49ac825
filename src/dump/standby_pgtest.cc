// Dumps of physical standbys: of the source, and of a replica.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dump/dump_testing.h"

namespace pgc {
namespace {

class StandbyDumpTest : public DumpTest {
 protected:
  void SetUp() override {
    DumpTest::SetUp();
    Sql("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t SELECT generate_series(1, "
        "3)");
  }
  void TearDown() override {
    standby_sql_ = nullptr;
    servers_.clear();
    standby_ = nullptr;
    DumpTest::TearDown();
  }
  void StartStandby() {
    Sql("SELECT pg_create_physical_replication_slot('standby', true)");
    auto standby = PostgresServer::StartStandby(*server_, "standby", {});
    ASSERT_TRUE(standby.ok()) << standby.status();
    standby_ = *std::move(standby);
    auto sql = Connection::Open(standby_->Url(name_));
    ASSERT_TRUE(sql.ok()) << sql.status();
    standby_sql_ = *std::move(sql);
    WaitForStandby();
  }
  void WaitForStandby() {
    const std::string end = Ask("SELECT pg_current_wal_flush_lsn()");
    while (AskStandby("SELECT pg_last_wal_replay_lsn() >= '" + end + "'") != "t") {
    }
  }
  std::string AskStandby(const std::string& query) {
    const auto row = standby_sql_->Query(query);
    EXPECT_TRUE(row.ok()) << row.status();
    return row.ok() ? std::string(row->Text(0, 0)) : "t";
  }
  DumpServerOptions StandbyOptions() {
    DumpServerOptions options = ReplicaOptions();
    options.url = standby_->Url(name_);
    return options;
  }

  std::unique_ptr<PostgresServer> standby_;
  std::unique_ptr<Connection> standby_sql_;
};

TEST_F(StandbyDumpTest, ThePlaceIsBelowWhatIsApplied) {
  Capture();
  StartStandby();
  Sql("INSERT INTO t VALUES (4)");
  WaitUntilCaptured();
  const Lsn shown = LogEnd();
  WaitForStandby();
  AskStandby("SELECT pg_wal_replay_pause()");
  while (AskStandby("SELECT pg_get_wal_replay_pause_state() = 'paused'") != "t") {
  }
  const Lsn replayed = *ParseLsn(AskStandby("SELECT pg_last_wal_replay_lsn()"));
  Sql("INSERT INTO t VALUES (5)");
  WaitUntilCaptured();
  const Lsn not_shown = LogEnd();
  DumpServer& server = Server(StandbyOptions());
  DumpRequest request = Of("t");
  const DumpCollector dump = Read(server, request);
  EXPECT_EQ(Numbers(dump.rows_), UpTo(1, 4));
  EXPECT_EQ(dump.header_.applied, Lsn{replayed.value - 1});
  EXPECT_GE(dump.header_.applied, shown);
  EXPECT_LT(dump.header_.applied, not_shown);
  EXPECT_GE(dump.header_.upper, replayed);
  EXPECT_LE(dump.header_.upper.value, replayed.value + 40);
  EXPECT_TRUE(dump.header_.store_position.empty());
  EXPECT_EQ(Ask("SELECT system_identifier FROM pg_control_system()"),
            std::to_string(dump.header_.identity));
  request.min_lsn = not_shown;
  EXPECT_TRUE(absl::IsFailedPrecondition(Fail(server, request)));
  AskStandby("SELECT pg_wal_replay_resume()");
  WaitForStandby();
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(1, 5));
  const auto tables = server.Tables({});
  ASSERT_TRUE(tables.ok()) << tables.status();
  EXPECT_EQ(tables->size(), 1U);
}

TEST_F(StandbyDumpTest, ATableWithoutAKeyHasBothPlacesAndASmallOneWithAKeyOne) {
  Sql("CREATE TABLE bare (id int); CREATE TABLE keyed (id int PRIMARY KEY)");
  StartStandby();
  DumpServer& server = Server(StandbyOptions());
  EXPECT_GT(Read(server, Of("bare")).header_.upper, Lsn{});
  EXPECT_EQ(Read(server, Of("keyed")).header_.upper, Lsn{});
}

TEST_F(StandbyDumpTest, EachDumpIsBetweenItsPlaces) {
  Capture();
  StartStandby();
  std::atomic<bool> done{false};
  std::jthread load([&] {
    auto session = Connection::Open(server_->Url(name_));
    ASSERT_TRUE(session.ok());
    for (int id = 10; !done && id < 5000; ++id) {
      ASSERT_TRUE((*session)->Execute(fmt::format("INSERT INTO t VALUES ({})", id)).ok());
    }
  });
  DumpServer& server = Server(StandbyOptions());
  std::vector<std::pair<DumpHeader, std::vector<int32_t>>> dumps;
  for (int i = 0; i < 50; ++i) {
    const DumpCollector dump = Read(server, Of("t"));
    dumps.emplace_back(dump.header_, Numbers(dump.rows_));
  }
  done = true;
  load.join();
  WaitUntilCaptured();
  const auto commits = Commits();
  for (const auto& [header, shown] : dumps) {
    for (const auto& [id, lsn] : commits) {
      const bool is_shown = std::binary_search(shown.begin(), shown.end(), id);
      if (lsn <= header.applied) {
        EXPECT_TRUE(is_shown) << id;
      }
      if (lsn > header.upper) {
        EXPECT_FALSE(is_shown) << id;
      }
    }
  }
}

TEST_F(StandbyDumpTest, AStandbyOfAReplicaHasTheReplicasPlace) {
  MakeReplica("0/20");
  StartStandby();
  const DumpCollector dump = Read(Server(StandbyOptions()), Of("t"));
  EXPECT_EQ(dump.header_.applied, Lsn{0x20});
  EXPECT_EQ(dump.header_.upper, Lsn{});
}

TEST_F(StandbyDumpTest, APromotedStandbyIsNoneAnyMore) {
  StartStandby();
  DumpServer& server = Server(StandbyOptions());
  EXPECT_EQ(Read(server, Of("t")).rows_.size(), 3U);
  AskStandby("SELECT pg_promote()");
  EXPECT_TRUE(absl::IsUnavailable(Fail(server, Of("t"))));
}

}  // namespace
}  // namespace pgc
