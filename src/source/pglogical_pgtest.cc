// What capture through pglogical_output does with set-ups, catalogs and connections that change.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "source/pglogical.h"
#include "source/postgres_source.h"
#include "testing/pglogical_database_test.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Pglogical : public PglogicalDatabaseTest {
 protected:
  // Topic and slot have the database's name.
  PostgresSourceOptions Options() const {
    PostgresSourceOptions options;
    options.url = server_->Url(name_);
    options.topic = name_;
    options.no_ddl = true;
    options.decode_plugin = DecodePlugin::kPglogical;
    return options;
  }
  absl::Status OpenError(const PostgresSourceOptions& options) {
    return NewPostgresSource(options)->Open({}, {});
  }
  void Refused(const PostgresSourceOptions& options, const std::string& thing,
               const std::string& way_out) {
    const absl::Status status = OpenError(options);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(thing), HasSubstr(way_out)));
    EXPECT_EQ(Ask("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '" + name_ + "'"),
              "0")
        << "nothing was made";
  }
  // A node with a table in the set `default`.
  void SetUpNode() {
    MakeNode();
    Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    AddTable("t");
  }
};

std::vector<std::string> Oids(const std::vector<CapturedField>& row) {
  std::vector<std::string> oids;
  for (const CapturedField& field : row)
    oids.push_back(fmt::format("{}:{}", field.name, field.oid));
  return oids;
}

TEST(PglogicalServer, WithoutThePreloadIsRefusedAndSaysWhatToSet) {
  auto server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  PostgresSourceOptions options;
  options.url = (*server)->Url("postgres");
  options.decode_plugin = DecodePlugin::kPglogical;
  const absl::Status status = NewPostgresSource(options)->Open({}, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("shared_preload_libraries"), HasSubstr("restart")));
  auto sql = Connection::Open(options.url);
  ASSERT_TRUE(sql.ok()) << sql.status();
  const auto findings = ExaminePglogical(**sql, {.sets = {"default"}}, {});
  ASSERT_TRUE(findings.ok()) << findings.status();
  std::vector<std::string> mend;
  for (const Finding& finding : *findings) {
    if (finding.level != Finding::Level::kMend) continue;
    mend.push_back(finding.check);
    EXPECT_FALSE(finding.remedy.empty());
  }
  const auto known =
      (*sql)->Query("SELECT FROM pg_settings WHERE name = 'output_plugin_libraries'");
  ASSERT_TRUE(known.ok());
  std::vector<std::string> expected{"shared_preload_libraries", "output_plugin_libraries",
                                    "pglogical"};
  if (known->rows() == 0) expected.erase(expected.begin() + 1);
  EXPECT_EQ(mend, expected);
}

TEST_F(Pglogical, ADatabaseThatWouldStreamNoRowsIsRefused) {
  Refused(Options(), "not installed", "CREATE EXTENSION pglogical");
  Sql("CREATE EXTENSION pglogical");
  Refused(Options(), "no node", "pglogical.create_node");
  Sql("SELECT pglogical.create_node('provider', 'dbname=' || current_database())");
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  Refused(Options(), "no table is in any of default, default_insert_only",
          "replication_set_add_all_tables('default'");
  AddTable("t");
  PostgresSourceOptions options = Options();
  options.replication_sets = {"default", "mine"};
  Refused(options, "there is no set mine: the node has ddl_sql, default, default_insert_only",
          "--replication-sets");
  options.replication_sets = {"default_insert_only"};
  Refused(options, "no table is in any of default_insert_only", "add_all_tables");
  EXPECT_TRUE(OpenError(Options()).ok());
}

TEST_F(Pglogical, OptionsOfPgoutputAreRefused) {
  SetUpNode();
  PostgresSourceOptions options = Options();
  options.tables = {"t"};
  Refused(options, "--tables", "--replication-sets");
  options = Options();
  options.skip_tables = {"t"};
  Refused(options, "--skip-tables", "--replication-sets");
  options = Options();
  options.replica_identity_full = true;
  Refused(options, "--replica-identity-full", "--replication-sets");
}

TEST_F(Pglogical, ASlotOfAnotherPluginIsRefusedBothWays) {
  SetUpNode();
  MakeSlot();
  PostgresSourceOptions options = Options();
  options.decode_plugin = DecodePlugin::kPgOutput;
  EXPECT_THAT(std::string(OpenError(options).message()),
              HasSubstr("is one of the plugin pglogical_output, not of pgoutput"));
  options = Options();
  options.topic = "other_plugin";
  Sql("SELECT pg_create_logical_replication_slot('other_plugin', 'pgoutput')");
  EXPECT_THAT(std::string(OpenError(options).message()),
              HasSubstr("is one of the plugin pgoutput, not of pglogical_output"));
}

TEST_F(Pglogical, ADatabaseInAnotherEncodingIsRefused) {
  const std::string latin = name_ + "_latin1";
  Sql(fmt::format("CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", latin));
  PostgresSourceOptions options = Options();
  options.url = server_->Url(latin);
  EXPECT_THAT(std::string(OpenError(options).message()),
              AllOf(HasSubstr("LATIN1"), HasSubstr("--decode-plugin pgoutput")));
}

TEST_F(Pglogical, ARoleThatMayNotReadItsTablesIsToldWhatToGrant) {
  SetUpNode();
  Sql("DROP ROLE IF EXISTS capture; CREATE ROLE capture LOGIN REPLICATION");
  PostgresSourceOptions options = Options();
  options.url = server_->Url(name_, "capture");
  Refused(options, "capture", "GRANT USAGE ON SCHEMA pglogical TO");
  Sql("GRANT USAGE ON SCHEMA pglogical TO capture;"
      "GRANT SELECT ON ALL TABLES IN SCHEMA pglogical TO capture");
  Sql("INSERT INTO t VALUES (1, 'before')");
  MakeSlot();
  Sql("INSERT INTO t VALUES (2, 'after')");
  const auto events = Read(NewPostgresSource(options), End());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_THAT(Oids(ParseChange(events[1]).new_row), ElementsAre("id:23", "v:25"))
      << "a role without a right on the table";
}

TEST_F(Pglogical, WhatASetLeavesOutIsNamed) {
  SetUpNode();
  Sql("CREATE TABLE outside (id int PRIMARY KEY);"
      "CREATE TABLE keyless (id int);"
      "CREATE TABLE filtered (id int PRIMARY KEY);"
      "CREATE SCHEMA pgcapture; CREATE TABLE pgcapture.ddl_logs (id int PRIMARY KEY);"
      "CREATE TABLE pgcapture.sources (id text PRIMARY KEY)");
  AddTable("keyless", "default_insert_only");
  Sql("SELECT pglogical.replication_set_add_table('default', 'filtered', row_filter := 'id > 3')");
  std::vector<std::string> warnings;
  auto findings = ExaminePglogical(*sql_, {.sets = Options().replication_sets, .ddl = true}, {});
  ASSERT_TRUE(findings.ok()) << findings.status();
  for (const Finding& finding : *findings) {
    ASSERT_NE(finding.level, Finding::Level::kMend) << finding.message;
    if (finding.level == Finding::Level::kWarning) {
      warnings.push_back(finding.check + ": " + finding.message);
      EXPECT_FALSE(finding.remedy.empty());
    }
  }
  EXPECT_THAT(
      warnings,
      ElementsAre("tables: in none of the sets, so not captured: public.outside",
                  "operations: only in sets that leave out some of INSERT, UPDATE, DELETE, "
                  "TRUNCATE: public.keyless",
                  "rows and columns: a row filter or a list of columns leaves out some of: "
                  "public.filtered",
                  "DDL: pgcapture.ddl_logs is in none of the replication sets, so DDL is not "
                  "captured"));

  ReplicationSetWatch watch({.sets = Options().replication_sets, .ddl = false});
  const auto look = [&] {
    testing::internal::CaptureStderr();
    EXPECT_TRUE(watch.Look(*sql_, {}).ok());
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(look(), AllOf(HasSubstr("public.outside"), Not(HasSubstr("ddl_logs"))));
  EXPECT_EQ(look(), "");
  Sql("CREATE TABLE later (id int PRIMARY KEY)");
  EXPECT_THAT(look(), AllOf(HasSubstr("public.later"), Not(HasSubstr("public.outside"))));
  AddTable("later");
  EXPECT_EQ(look(), "");
}

TEST_F(Pglogical, WhatHappenedToTheCatalogSinceIsSaidAndNothingIsDropped) {
  MakeNode();
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text, w text);"
      "CREATE TABLE gone (id int PRIMARY KEY);"
      "CREATE TABLE steady (id int PRIMARY KEY, v text)");
  for (const char* table : {"t", "gone", "steady"}) AddTable(table);
  MakeSlot();
  Sql("INSERT INTO t VALUES (1, '2', '3')");
  Sql("INSERT INTO gone VALUES (7)");
  Sql("INSERT INTO steady VALUES (1, 'x')");
  Sql("ALTER TABLE t ALTER v TYPE int USING v::int");
  Sql("ALTER TABLE t DROP w");
  Sql("INSERT INTO t VALUES (2, 3)");
  Sql("SELECT pglogical.replication_set_remove_table('default', 'gone'); DROP TABLE gone");

  testing::internal::CaptureStderr();
  std::vector<CapturedChange> changes;
  for (const CapturedEvent& event : Read(NewPostgresSource(Options()), End())) {
    if (event.kind == EventKind::kChange) changes.push_back(ParseChange(event));
  }
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_EQ(changes.size(), 4u);
  EXPECT_THAT(Oids(changes[0].new_row), ElementsAre("id:23", "v:23", "w:0"));
  EXPECT_EQ(changes[0].new_row[1].value, "2") << "the text, with the OID that the column has today";
  EXPECT_EQ(changes[0].new_row[2].value, "3");
  EXPECT_EQ(changes[1].table, "gone");
  EXPECT_THAT(Oids(changes[1].new_row), ElementsAre("id:0"));
  EXPECT_EQ(changes[1].new_row[0].value, std::string("\0\0\0\7", 4));
  EXPECT_THAT(Oids(changes[2].new_row), ElementsAre("id:23", "v:25"));
  EXPECT_THAT(Oids(changes[3].new_row), ElementsAre("id:23", "v:23"));
  EXPECT_THAT(log, HasSubstr("columns were dropped or renamed"));
  EXPECT_THAT(log, HasSubstr("the table was dropped"));
  EXPECT_THAT(log, HasSubstr("another type"));
  EXPECT_THAT(log, HasSubstr("public.gone"));
  EXPECT_THAT(log, Not(HasSubstr("public.steady")));
}

TEST_F(Pglogical, DdlThatIsFollowedInTimeIsNotWarnedOf) {
  SetUpNode();
  Sql("CREATE TABLE made (id serial PRIMARY KEY, v text NOT NULL DEFAULT 'x')");
  AddTable("made");
  testing::internal::CaptureStderr();
  {
    SourceReader reader(NewPostgresSource(Options()));
    ASSERT_TRUE(reader.WaitUntilOpen());
    Sql("ALTER TABLE t ALTER v TYPE varchar(10)");
    Sql("INSERT INTO t VALUES (1, 'a')");
    ASSERT_EQ(reader.WaitForEvents(3).size(), 3u);
    Sql("BEGIN; ALTER TABLE t ADD w int; UPDATE t SET w = 1; COMMIT");
    ASSERT_EQ(reader.WaitForEvents(6).size(), 6u);
    Sql("BEGIN; CREATE TABLE own (id serial PRIMARY KEY, v int DEFAULT 3);"
        "SELECT pglogical.replication_set_add_table('default', 'own');"
        "INSERT INTO own DEFAULT VALUES; INSERT INTO made DEFAULT VALUES; COMMIT");
    const auto events = reader.WaitForEvents(10);
    ASSERT_EQ(events.size(), 10u);
    EXPECT_EQ(events[4], "table public.t: UPDATE: id[integer]:1 v[?]:1043:61 w[integer]:1");
    EXPECT_EQ(events[7], "table public.own: INSERT: id[integer]:1 v[integer]:3");
    EXPECT_EQ(events[8], "table public.made: INSERT: id[integer]:1 v[text]:'x'");
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr("today")));
}

// A commit that waits for a synchronous standby is in the stream, and nobody sees what it did.
class PglogicalInvisible : public Pglogical {
 protected:
  void SetUp() override {
    Pglogical::SetUp();
    SetUpNode();
    MakeSlot();
    // Sql() itself is not to wait.
    Sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    Sql("SELECT pg_reload_conf(); SET synchronous_commit = local");
    ASSERT_TRUE(Eventually("SELECT current_setting('synchronous_standby_names') = 'nobody'"));
    writer_ = std::jthread([url = server_->Url(name_)] {
      auto sql = Connection::Open(url);
      ASSERT_TRUE(sql.ok()) << sql.status();
      const absl::Status status = (*sql)->Execute(
          "BEGIN; ALTER TABLE t ADD w int; INSERT INTO t VALUES (1, 'a', 3); COMMIT");
      EXPECT_TRUE(status.ok()) << status;
    });
    ASSERT_TRUE(
        Eventually("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"));
  }
  void TearDown() override {
    LetCommit();
    writer_ = std::jthread();
    Pglogical::TearDown();
  }
  void LetCommit() {
    Sql("ALTER SYSTEM RESET synchronous_standby_names");
    Sql("SELECT pg_reload_conf()");
  }
  // That the source asks whether it sees the transaction.
  bool IsAsking() {
    return Eventually(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'pgcapture catalog' "
        "AND "
        "datname = current_database() AND query LIKE '%pg_visible_in_snapshot%'");
  }

  std::jthread writer_;
};

TEST_F(PglogicalInvisible, ATransactionThatNobodySeesYetIsWaitedFor) {
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(IsAsking());
  LetCommit();
  const auto events = reader.WaitForEvents(3);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1], "table public.t: INSERT: id[integer]:1 v[text]:'a' w[integer]:3");
}

TEST_F(PglogicalInvisible, ACommitThatWaitsForTheCaptureItselfIsCapturedWithoutTypes) {
  testing::internal::CaptureStderr();
  {
    SourceReader reader(NewPostgresSource(Options()));
    const auto events = reader.WaitForEvents(3);
    ASSERT_EQ(events.size(), 3u);
    EXPECT_EQ(events[1], "table public.t: INSERT: id[integer]:1 v[text]:'a' w[?]:0:00000003");
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("before the server shows what it did"));
}

TEST_F(PglogicalInvisible, StoppingEndsTheWait) {
  testing::internal::CaptureStderr();
  {
    SourceReader reader(NewPostgresSource(Options()));
    EXPECT_TRUE(IsAsking());
    EXPECT_TRUE(absl::IsCancelled(reader.Stop()));
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, Not(HasSubstr("before the server shows what it did")));
}

TEST_F(Pglogical, GoesOnWithItsCatalogConnectionGone) {
  SetUpNode();
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen());
  Sql("INSERT INTO t VALUES (1, 'a')");
  ASSERT_EQ(reader.WaitForEvents(3).size(), 3u);
  EXPECT_EQ(Ask("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE "
                "application_name = 'pgcapture catalog' AND datname = current_database()"),
            "t");
  Sql("ALTER TABLE t ADD w int; INSERT INTO t VALUES (2, 'b', 3)");
  const auto events = reader.WaitForEvents(6);
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[4], "table public.t: INSERT: id[integer]:2 v[text]:'b' w[integer]:3");
}

TEST_F(Pglogical, ARestartedSourceGoesOnWhereTheSinkStopped) {
  SetUpNode();
  ResumePoint resume;
  {
    SourceReader reader(NewPostgresSource(Options()));
    ASSERT_TRUE(reader.WaitUntilOpen());
    Sql("INSERT INTO t VALUES (1, 'a')");
    ASSERT_EQ(reader.WaitForEvents(3).size(), 3u);
    reader.WaitForPosition(End());
    resume = reader.resume();
  }
  Sql("INSERT INTO t VALUES (2, 'b')");
  SourceReader reader(NewPostgresSource(Options()), resume);
  const auto events = reader.WaitForEvents(3);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1], "table public.t: INSERT: id[integer]:2 v[text]:'b'");
}

TEST_F(Pglogical, AnIdleDatabasesSlotMovesWithTheHeartbeat) {
  SetUpNode();
  PostgresSourceOptions options = Options();
  options.heartbeat_interval = std::chrono::milliseconds(100);
  SourceReader reader(NewPostgresSource(options));
  ASSERT_TRUE(reader.WaitUntilOpen());
  const Lsn before = WalEnd();
  EXPECT_TRUE(Eventually(fmt::format(
      "SELECT confirmed_flush_lsn > '{}' FROM pg_replication_slots WHERE slot_name = '{}'",
      ToString(before), name_)));
  EXPECT_THAT(reader.events(), IsEmpty());
}

TEST(ListsLibrary, ReadsNamesAsTheServerShowsThem) {
  EXPECT_TRUE(ListsLibrary("pgoutput, test_decoding,pglogical_output", "pglogical_output"));
  EXPECT_TRUE(ListsLibrary("\"pglogical_output\"", "pglogical_output"));
  EXPECT_FALSE(ListsLibrary("\"pgoutput, pglogical_output\"", "pglogical_output"));
  EXPECT_FALSE(ListsLibrary("pgoutput, pglogical_output2", "pglogical_output"));
  EXPECT_FALSE(ListsLibrary("", "pglogical_output"));
}

}  // namespace
}  // namespace pgc
