// Each thing that an operator must mend: one clear message, and nothing changed on the server.
#include <gmock/gmock.h>

#include <fstream>

#include "source/postgres_source.h"
#include "testing/database_test.h"
#include "testing/slots.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SourceChecks : public DatabaseTest {
 protected:
  PostgresSourceOptions Options() const { return OptionsOf<PostgresSourceOptions>(); }
  // Why a source does not open.
  static absl::Status OpenError(const PostgresSourceOptions& options,
                                const ResumePoint& resume = {}) {
    return NewPostgresSource(options)->Open(resume, {});
  }
};

void ExpectFailed(const absl::Status& status, const std::string& thing, const std::string& way_out,
                  absl::StatusCode code = absl::StatusCode::kFailedPrecondition) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(thing), HasSubstr(way_out)));
  EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("secret")));
}

std::unique_ptr<PostgresServer> StartServer(const PostgresServer::Settings& settings) {
  auto server = PostgresServer::Start(settings);
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

PostgresSourceOptions OptionsOfServer(const PostgresServer& server) {
  PostgresSourceOptions options;
  options.url = server.Url("postgres");
  options.no_ddl = true;
  return options;
}

TEST_F(SourceChecks, ATopicThatIsNoSlotName) {
  PostgresSourceOptions options = Options();
  options.topic = "Orders";
  ExpectFailed(OpenError(options), "'Orders'", "--topic");
}

TEST_F(SourceChecks, AnUnknownDatabase) {
  PostgresSourceOptions options = Options();
  options.url = server_->Url("nowhere");
  ExpectFailed(OpenError(options), "\"nowhere\" does not exist", "");
}

TEST_F(SourceChecks, AnUnknownRole) {
  PostgresSourceOptions options = Options();
  options.url = server_->Url(name_, "nobody");
  ExpectFailed(OpenError(options), "\"nobody\" does not exist", "");
}

TEST_F(SourceChecks, AServerThatIsNotThereIsWorthARetry) {
  PostgresSourceOptions options = Options();
  options.url = "postgres://postgres:secret@127.0.0.1:1/db";
  ExpectFailed(OpenError(options), "refused", "", absl::StatusCode::kUnavailable);
}

TEST_F(SourceChecks, ARoleWithoutReplication) {
  Sql("CREATE ROLE plain LOGIN");
  PostgresSourceOptions options = Options();
  options.url = server_->Url(name_, "plain");
  ExpectFailed(OpenError(options), "'plain'", "ALTER ROLE \"plain\" REPLICATION");
  Sql("DROP ROLE plain");
}

TEST_F(SourceChecks, ARoleThatMayNotMakeThePublicationUsesOneMadeBeforehand) {
  Sql("CREATE ROLE capture LOGIN REPLICATION; CREATE TABLE t (id int PRIMARY KEY)");
  PostgresSourceOptions options = Options();
  options.url = server_->Url(name_, "capture");
  const std::string statement =
      "CREATE PUBLICATION \"" + name_ +
      "\" FOR ALL TABLES WITH (publish = 'insert, update, delete, truncate', "
      "publish_via_partition_root = true)";
  ExpectFailed(OpenError(options), "superuser", statement);
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_replication_slots"), "0");
  // As the manual has it.
  Sql("CREATE PUBLICATION " + name_ + " FOR ALL TABLES WITH (publish_via_partition_root = true)");
  {
    SourceReader reader(NewPostgresSource(options));
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    Sql("INSERT INTO t VALUES (1)");
    EXPECT_EQ(reader.WaitForEvents(3).size(), 3U);
  }
  Sql("DROP ROLE capture");
}

TEST_F(SourceChecks, TablesThatAreNone) {
  Sql("CREATE VIEW v AS SELECT 1; CREATE UNLOGGED TABLE u (id int PRIMARY KEY);"
      "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)");
  PostgresSourceOptions options = Options();
  options.tables = {"missing"};
  ExpectFailed(OpenError(options), "--tables: public.missing does not exist", "");
  options.tables = {"v"};
  ExpectFailed(OpenError(options), "--tables: public.v", "does not publish");
  options.tables = {"u"};
  ExpectFailed(OpenError(options), "--tables: public.u is temporary or unlogged", "");
  options.tables = {"pg_catalog.pg_class"};
  ExpectFailed(OpenError(options), "--tables: pg_catalog.pg_class", "system");
  options.tables = {"a."};
  ExpectFailed(OpenError(options), "--tables: 'a.' is not a table's name", "public.orders");
  options.tables = {};
  options.skip_tables = {"missing"};
  ExpectFailed(OpenError(options), "--skip-tables: public.missing does not exist", "");
  options.skip_tables = {"p1"};
  ExpectFailed(OpenError(options), "--skip-tables: public.p1", "partition of public.p");
  options.tables = {"p"};
  ExpectFailed(OpenError(options), "--tables and --skip-tables", "");
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_publication"), "0");
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_replication_slots"), "0");
}

TEST_F(SourceChecks, ASlotOfAnotherKind) {
  Sql("SELECT pg_create_physical_replication_slot('" + name_ + "')");
  ExpectFailed(OpenError(Options()), "'" + name_ + "' is a physical one", "--topic");
  Sql("SELECT pg_drop_replication_slot('" + name_ + "')");
  Sql("SELECT pg_create_logical_replication_slot('" + name_ + "', 'test_decoding')");
  ExpectFailed(OpenError(Options()), "plugin test_decoding", "--topic");
  Sql("SELECT pg_drop_replication_slot('" + name_ + "')");
  auto other = Connection::Open(server_->Url("postgres"));
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE(
      (*other)
          ->Execute("SELECT pg_create_logical_replication_slot('" + name_ + "', 'pgoutput')")
          .ok());
  ExpectFailed(OpenError(Options()), "belongs to the database 'postgres'", "--topic");
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_publication"), "0");
}

TEST_F(SourceChecks, ASlotInUseIsWaitedForAndThenNamedWithItsProcess) {
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  const std::string pid = Ask("SELECT active_pid FROM pg_replication_slots");
  const auto begun = std::chrono::steady_clock::now();
  ExpectFailed(OpenError(Options()),
               "'" + name_ + "' is used by another process (server pid " + pid, "--topic");
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::seconds(9));
  // It was not disturbed.
  Sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
  EXPECT_EQ(reader.WaitForEvents(3).size(), 3U);
}

TEST_F(SourceChecks, ASlotThatIsFreedInTimeIsTaken) {
  auto first = std::make_unique<SourceReader>(NewPostgresSource(Options()));
  ASSERT_TRUE(first->WaitUntilOpen()) << first->Stop();
  SourceReader second(NewPostgresSource(Options()));
  ASSERT_TRUE(
      Eventually("SELECT count(*) >= 2 FROM pg_stat_activity WHERE backend_type = 'walsender'"));
  first.reset();
  EXPECT_TRUE(second.WaitUntilOpen()) << second.Stop();
}

TEST_F(SourceChecks, StoppingEndsTheWaitForASlot) {
  SourceReader first(NewPostgresSource(Options()));
  ASSERT_TRUE(first.WaitUntilOpen()) << first.Stop();
  SourceReader second(NewPostgresSource(Options()));
  ASSERT_TRUE(
      Eventually("SELECT count(*) >= 2 FROM pg_stat_activity WHERE backend_type = 'walsender'"));
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(absl::IsCancelled(second.Stop()));
  // Of the 10 s that it waits.
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
}

TEST_F(SourceChecks, StoppingEndsTheWaitForRunningTransactions) {
  auto other = Connection::Open(server_->Url(name_));
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE((*other)->Execute("BEGIN; CREATE TABLE running (id int)").ok());
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(
      Eventually("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE "
                 "'%pg_create_logical%' AND pid <> pg_backend_pid() AND state = 'active'"));
  // Without a stop it waits as long as they run.
  EXPECT_TRUE(absl::IsCancelled(reader.Stop()));
  EXPECT_TRUE(Eventually("SELECT count(*) = 0 FROM pg_replication_slots"));
}

class SourceHistory : public SourceChecks {
 protected:
  // Captures a little, and gives what the log would know.
  ResumePoint Capture() {
    ResumePoint resume;
    {
      SourceReader reader(NewPostgresSource(Options()));
      EXPECT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
      Sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
      EXPECT_EQ(reader.WaitForEvents(3).size(), 3U);
      resume = reader.resume();
    }
    EXPECT_TRUE(WaitUntilSlotsAreFree(*sql_).ok());
    return resume;
  }
};

TEST_F(SourceHistory, ASlotPastTheLogIsDataLossThatSaysFromWhereToWhere) {
  ResumePoint resume = Capture();
  resume.captured.value -= 64;
  ExpectFailed(OpenError(Options(), resume),
               "between " + ToString(resume.captured) + " and " +
                   Ask("SELECT confirmed_flush_lsn FROM pg_replication_slots"),
               "drop the slot and start with an empty data directory", absl::StatusCode::kDataLoss);
}

TEST_F(SourceHistory, AMissingSlotIsDataLossForALogThatHasSomething) {
  const ResumePoint resume = Capture();
  Sql("SELECT pg_drop_replication_slot('" + name_ + "')");
  ExpectFailed(OpenError(Options(), resume), "no replication slot '" + name_ + "'",
               "empty data directory", absl::StatusCode::kDataLoss);
}

TEST_F(SourceHistory, AServerThatWentBackIsDataLoss) {
  ResumePoint resume = Capture();
  resume.captured.value += uint64_t{1} << 30;
  ExpectFailed(OpenError(Options(), resume), "gone back", ToString(resume.captured),
               absl::StatusCode::kDataLoss);
}

// As of a store that has events and no positions.
TEST_F(SourceHistory, OfALogWithoutPositionsTheSlotMayBeAheadButNotBeGoneNorTheServerGoBack) {
  ResumePoint resume = Capture();
  resume.origin.clear();
  resume.captured_is_least = true;
  resume.captured.value -= 64;
  {
    SourceReader reader(NewPostgresSource(Options()), resume);
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    Sql("INSERT INTO t VALUES (2)");
    EXPECT_THAT(reader.WaitForEvents(3),
                testing::Contains("table public.t: INSERT: id[integer]:2"));
  }
  EXPECT_TRUE(WaitUntilSlotsAreFree(*sql_).ok());
  ResumePoint ahead = resume;
  ahead.captured.value += uint64_t{1} << 30;
  ExpectFailed(OpenError(Options(), ahead), "gone back", "empty topic",
               absl::StatusCode::kDataLoss);
  Sql("SELECT pg_drop_replication_slot('" + name_ + "')");
  ExpectFailed(OpenError(Options(), resume), "no replication slot '" + name_ + "'", "empty topic",
               absl::StatusCode::kDataLoss);
}

TEST_F(SourceHistory, AnotherClusterDatabaseOrTimelineIsNamed) {
  ResumePoint resume = Capture();
  const std::string origin = resume.origin;
  const std::string system = Ask("SELECT system_identifier FROM pg_control_system()");
  ASSERT_EQ(origin, "system=" + system + " timeline=1 database=" + name_);
  resume.origin = "system=1 timeline=1 database=" + name_;
  ExpectFailed(OpenError(Options(), resume), "system identifier 1, this one has " + system, "URL");
  resume.origin = "system=" + system + " timeline=1 database=elsewhere";
  ExpectFailed(OpenError(Options(), resume), "'elsewhere', this is '" + name_ + "'", "URL");
  resume.origin = "system=" + system + " timeline=2 database=" + name_;
  ExpectFailed(OpenError(Options(), resume), "timeline 2", "timeline 1");
  resume.origin = "something else";
  ExpectFailed(OpenError(Options(), resume), "'something else'", "");
  resume.origin = origin;
  EXPECT_TRUE(OpenError(Options(), resume).ok());
}

TEST_F(SourceHistory, APublicationDroppedWhileStreamingIsNamedAtOnceAndCanBeMadeAgain) {
  PostgresSourceOptions options = Options();
  options.heartbeat_interval = std::chrono::milliseconds(100);
  ResumePoint resume;
  {
    SourceReader reader(NewPostgresSource(options));
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    Sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    ASSERT_EQ(reader.WaitForEvents(3).size(), 3U);
    Sql("DROP PUBLICATION " + name_);
    Sql("SELECT pg_stat_force_next_flush()");
    ExpectFailed(reader.End(), "the publication '" + name_ + "' was dropped", "start again");
    resume = reader.resume();
  }
  if (sql_->server_version() >= 180000) {
    // It would pass over what was changed meanwhile, without a word.
    ExpectFailed(OpenError(options, resume), "changes made since are gone", "drop the slot",
                 absl::StatusCode::kDataLoss);
    return;
  }
  // Nothing was changed without it, so nothing is missing.
  SourceReader reader(NewPostgresSource(options), resume);
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO t VALUES (2)");
  EXPECT_THAT(reader.WaitForEvents(3), testing::Contains("table public.t: INSERT: id[integer]:2"));
}

TEST_F(SourceHistory, AChangeMadeWithoutAPublicationIsDataLossThatNamesIt) {
  ResumePoint resume = Capture();
  Sql("DROP PUBLICATION " + name_);
  Sql("INSERT INTO t VALUES (2)");
  for (int i = 0; i < 2; ++i) {
    SourceReader reader(NewPostgresSource(Options()), resume);
    ExpectFailed(reader.End(),
                 "the publication '" + name_ + "' was dropped while the replication slot lived",
                 "gone; to begin anew, drop the slot and start with an empty data directory",
                 absl::StatusCode::kDataLoss);
    EXPECT_TRUE(reader.events().empty());
    // Positions before the change may have come.
    if (reader.resume().captured != Lsn{}) resume = reader.resume();
  }
}

TEST(SourceServers, WalLevelThatIsNotLogical) {
  const auto server = StartServer({{"wal_level", "replica"}});
  ASSERT_NE(server, nullptr);
  ExpectFailed(NewPostgresSource(OptionsOfServer(*server))->Open({}, {}), "wal_level is 'replica'",
               "ALTER SYSTEM SET wal_level = logical");
}

TEST(SourceServers, NoFreeSlotAndNoFreeWalsender) {
  const auto server = StartServer({{"max_replication_slots", "1"}, {"max_wal_senders", "1"}});
  ASSERT_NE(server, nullptr);
  auto sql = Connection::Open(server->Url("postgres"));
  ASSERT_TRUE(sql.ok()) << sql.status();
  ASSERT_TRUE((*sql)->Execute("SELECT pg_create_physical_replication_slot('taken')").ok());
  ExpectFailed(NewPostgresSource(OptionsOfServer(*server))->Open({}, {}),
               "no free replication slot", "max_replication_slots (now 1)");
  auto walsender = Connection::Open(server->Url("postgres"), {.replication = true});
  // That of the source before takes a moment to go.
  for (const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
       !walsender.ok() && std::chrono::steady_clock::now() < deadline;) {
    walsender = Connection::Open(server->Url("postgres"), {.replication = true});
  }
  ASSERT_TRUE(walsender.ok()) << walsender.status();
  ExpectFailed(NewPostgresSource(OptionsOfServer(*server))->Open({}, {}), "no walsender to spare",
               "max_wal_senders");
  EXPECT_EQ((*sql)->Query("SELECT count(*) FROM pg_publication")->Int(0, 0), 0);
}

TEST(SourceServers, AWrongPasswordIsFinalAndNotRepeated) {
  const auto server = StartServer({});
  ASSERT_NE(server, nullptr);
  {
    auto sql = Connection::Open(server->Url("postgres"));
    ASSERT_TRUE(sql.ok()) << sql.status();
    ASSERT_TRUE((*sql)->Execute("CREATE ROLE guarded LOGIN REPLICATION PASSWORD 'right'").ok());
    // Another language must not turn it into something worth a retry.
    (void)(*sql)->Execute("ALTER SYSTEM SET lc_messages = 'de_DE.UTF-8'");
  }
  {
    std::ofstream hba(server->folder() / "data/pg_hba.conf");
    hba << "host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
  }
  ASSERT_TRUE(server->Restart().ok());
  PostgresSourceOptions options = OptionsOfServer(*server);
  options.url = fmt::format("postgres://guarded:secret@127.0.0.1:{}/postgres", server->port());
  ExpectFailed(NewPostgresSource(options)->Open({}, {}), "guarded", "");
  options.url = fmt::format("postgres://guarded@127.0.0.1:{}/postgres", server->port());
  ExpectFailed(NewPostgresSource(options)->Open({}, {}), "no password supplied", "");
  options.url = fmt::format("postgres:///postgres?host={}&port={}&user=guarded",
                            server->folder().string(), server->port());
  ExpectFailed(NewPostgresSource(options)->Open({}, {}), "pg_hba.conf", "");
}

TEST(SourceServers, ALostSlotSaysSo) {
  const auto server = StartServer(
      {{"max_slot_wal_keep_size", "1MB"}, {"min_wal_size", "32MB"}, {"max_wal_size", "32MB"}});
  ASSERT_NE(server, nullptr);
  const PostgresSourceOptions options = OptionsOfServer(*server);
  auto sql = Connection::Open(server->Url("postgres"));
  ASSERT_TRUE(sql.ok()) << sql.status();
  ASSERT_TRUE(NewPostgresSource(options)->Open({}, {}).ok());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE((*sql)->Execute("SELECT pg_logical_emit_message(false, 'x', 'x')").ok());
    ASSERT_TRUE((*sql)->Execute("SELECT pg_switch_wal()").ok());
    ASSERT_TRUE((*sql)->Execute("CHECKPOINT").ok());
  }
  ASSERT_EQ((*sql)->Query("SELECT wal_status FROM pg_replication_slots")->Text(0, 0), "lost");
  ExpectFailed(NewPostgresSource(options)->Open({}, {}), "'pgcapture' is lost", "drop the slot");
}

TEST(SourceServers, AStandbyIsNotCapturedFrom) {
  const auto server = StartServer({});
  ASSERT_NE(server, nullptr);
  std::ofstream(server->folder() / "data/standby.signal").flush();
  ASSERT_TRUE(server->Restart({{"hot_standby", "on"}}).ok());
  ExpectFailed(NewPostgresSource(OptionsOfServer(*server))->Open({}, {}), "standby", "primary");
}

}  // namespace
}  // namespace pgc
