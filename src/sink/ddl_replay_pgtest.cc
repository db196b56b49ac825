#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "sink/ddl_replay.h"
#include "sink/ddl_replay_testing.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Replay : public DdlReplayTest {};

TEST_F(Replay, LooksNamesUpWhereTheSourceDid) {
  Sql("CREATE SCHEMA \"Sch ema\"; CREATE SCHEMA b");
  DdlCommand command = Command("CREATE TABLE t (a int)", "CREATE TABLE");
  command.search_path = "\"Sch ema\", b";
  Repeat(command);
  EXPECT_TRUE(Exists("\"Sch ema\".t"));
  DdlReplay own({.use_search_path = false});
  EXPECT_TRUE(target_->Run(own, command).ok());
  EXPECT_TRUE(Exists("public.t"));
  DdlCommand nowhere = Command("CREATE TABLE u ()", "CREATE TABLE");
  nowhere.search_path = "";
  EXPECT_THAT(Refusal(replay_, nowhere), HasSubstr("no schema has been selected"));
}

TEST_F(Replay, ARowOfTheFirstVersionIsRunAsTheSessionWouldOnItsOwnPath) {
  Sql("CREATE SCHEMA own; ALTER DATABASE " + name_ + " SET search_path = own, public");
  target_ = std::make_unique<TargetSession>(server_->Url(name_));
  DdlCommand command;
  command.query = "CREATE TABLE t (a int)";
  Repeat(command);
  EXPECT_TRUE(Exists("own.t"));
}

TEST_F(Replay, RunsAsTheRoleThatRanIt) {
  Sql("CREATE ROLE \"some \"\"one\"; GRANT CREATE ON SCHEMA public TO \"some \"\"one\"");
  DdlCommand command = Command("CREATE TABLE t (a int)", "CREATE TABLE");
  command.role = "some \"one";
  Repeat(command);
  static constexpr char kOwner[] = "SELECT relowner::regrole FROM pg_class WHERE relname = '{}'";
  EXPECT_EQ(Ask(fmt::format(kOwner, "t")), "\"some \"\"one\"");
  command.query = "CREATE TABLE u (a int)";
  DdlReplay own({.use_role = false});
  EXPECT_TRUE(target_->Run(own, command).ok());
  EXPECT_EQ(Ask(fmt::format(kOwner, "u")), "postgres");
  Sql("DROP OWNED BY \"some \"\"one\"; DROP ROLE \"some \"\"one\"");
}

TEST_F(Replay, NeverTakesItsOwnRoleForTheSources) {
  DdlReplay own({.use_role = false});
  Sql("CREATE TABLE t (a int)");
  const DdlCommand drop = Command("DROP OWNED BY CURRENT_USER", "DROP OWNED");
  EXPECT_THAT(Refusal(own, drop), HasSubstr("the role that runs it"));
  EXPECT_THAT(Refusal(replay_, Command("DROP OWNED BY SESSION_USER", "DROP OWNED")),
              HasSubstr("SESSION_USER"));
  EXPECT_TRUE(Exists("t"));
}

TEST_F(Replay, TellsOfARoleThatMayLessThanOnTheSource) {
  Sql("CREATE ROLE low");
  DdlCommand command = Command("CREATE TABLE t (a int)", "CREATE TABLE");
  command.role = "low";
  EXPECT_THAT(Refusal(replay_, command),
              AllOf(HasSubstr("42501"), HasSubstr("'low'"), HasSubstr("--ddl-role session")));
  Sql("DROP ROLE low");
}

TEST_F(Replay, NamesARoleThatIsMissing) {
  DdlCommand command = Command("CREATE TABLE t (a int)", "CREATE TABLE");
  command.role = "nobody";
  EXPECT_THAT(Refusal(replay_, command),
              AllOf(HasSubstr("cannot become the role 'nobody'"), HasSubstr("--ddl-role session"),
                    HasSubstr("create the role"), HasSubstr(ToKey(command.checkpoint))));
  EXPECT_FALSE(Exists("t"));
}

TEST_F(Replay, RunsWithTriggersAndPlansOfAnOrdinarySession) {
  Sql("CREATE TABLE seen (role text, path text, seqscan text, bodies text, security text);"
      "CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog "
      "AS $$ BEGIN "
      "IF tg_tag = 'COMMENT' THEN INSERT INTO public.seen SELECT "
      "current_setting('session_replication_role'), '', current_setting('enable_seqscan'), "
      "current_setting('check_function_bodies'), current_setting('row_security'); END IF; END $$;"
      "CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION see()");
  Repeat(Command("COMMENT ON TABLE seen IS 'x'", "COMMENT"));
  EXPECT_EQ(Ask("SELECT concat_ws(' ', role, seqscan, bodies, security) FROM seen"),
            "origin on off on");
  EXPECT_EQ(Ask("SELECT obj_description('seen'::regclass)"), "x");
  // A session that is at origin anyway needs no right to set it.
  Sql("CREATE ROLE low LOGIN; GRANT CREATE ON SCHEMA public TO low");
  auto low = Connection::Open(server_->Url(name_, "low"));
  ASSERT_TRUE(low.ok()) << low.status();
  ASSERT_TRUE(PrepareSession(**low, false, {}).ok());
  DdlCommand command = Command("CREATE TABLE t (a int)", "CREATE TABLE");
  command.role = "low";
  ASSERT_TRUE((*low)->Execute("BEGIN").ok());
  const absl::Status status = replay_.Run(**low, command, {});
  EXPECT_TRUE(status.ok()) << status;
  ASSERT_TRUE((*low)->Execute("COMMIT").ok());
  *low = nullptr;
  Sql("DROP OWNED BY low; DROP ROLE low");
}

TEST_F(Replay, LeavesRowsToTheStream) {
  Repeat(Command("CREATE TABLE a AS SELECT 1 AS one", "CREATE TABLE AS"));
  Repeat(Command("SELECT 2 AS two INTO b", "SELECT"));
  EXPECT_EQ(Ask("SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)"), "0");
  Repeat(Command("CREATE MATERIALIZED VIEW m AS SELECT 3 AS three", "CREATE MATERIALIZED VIEW"));
  EXPECT_EQ(Ask("SELECT three FROM m"), "3");
  EXPECT_THAT(Refusal(replay_, Command("CREATE TABLE t AS EXECUTE p", "CREATE TABLE AS")),
              AllOf(HasSubstr("prepared statement"), HasSubstr("--skip-lsn")));
}

TEST_F(Replay, AViewOfOneThatWasNeverFilledIsNotFilled) {
  const std::string tag = "CREATE MATERIALIZED VIEW";
  Repeat(Command("CREATE MATERIALIZED VIEW a AS SELECT 1 AS x WITH NO DATA", tag));
  // On the source there was a REFRESH.
  LogText log;
  Repeat(Command("CREATE MATERIALIZED VIEW b AS SELECT x + 1 AS y FROM a", tag));
  EXPECT_THAT(log.Take(), AllOf(HasSubstr("warning"), HasSubstr("refresh both")));
  EXPECT_EQ(Ask("SELECT relispopulated FROM pg_class WHERE relname = 'b'"), "f");
  EXPECT_THAT(Refusal(replay_, Command("CREATE MATERIALIZED VIEW c AS SELECT 1 / 0", tag)),
              HasSubstr("22012"));
}

TEST_F(Replay, IndexesHaveTheNamesOfTheSource) {
  Sql("CREATE TABLE t (a int)");
  Repeat(Command("CREATE INDEX ON t (a)", "CREATE INDEX",
                 Object("CREATE INDEX", "index", "public", R"(\"Some i\")")));
  EXPECT_TRUE(Exists("\"Some i\""));
  EXPECT_FALSE(Exists("t_a_idx"));
}

TEST_F(Replay, AnIndexThatTheSourceNeverFinishedIsNoError) {
  for (const char* sql : {"DROP INDEX never", "DROP INDEX CONCURRENTLY never"}) {
    LogText log;
    Repeat(Command(sql, "DROP INDEX",
                   R"([{"dropped": true, "object_type": "index", "schema_name": "public",)"
                   R"( "object_identity": "public.never"}])"));
    EXPECT_THAT(log.Take(), AllOf(HasSubstr("warning"), HasSubstr("public.never"))) << sql;
  }
}

TEST_F(Replay, TellsWhatTheTargetRefusesAndHowToGoOn) {
  const DdlCommand command = Command("DROP TABLE missing", "DROP TABLE");
  EXPECT_THAT(Refusal(replay_, command),
              AllOf(HasSubstr("DROP TABLE at " + ToKey(command.checkpoint)), HasSubstr("42P01"),
                    HasSubstr("the command: DROP TABLE missing"),
                    HasSubstr("--skip-lsn '" + ToKey(command.checkpoint) + "'")));
  const absl::Status status = target_->Run(replay_, command);
  EXPECT_EQ(SqlStateOf(status), "42P01");
}

TEST_F(Replay, NeverTellsARowValueOrAPassword) {
  Sql("CREATE TABLE t (a text); INSERT INTO t VALUES ('secret')");
  EXPECT_THAT(
      Refusal(replay_, Command("ALTER TABLE t ALTER a TYPE int USING a::int", "ALTER TABLE")),
      AllOf(HasSubstr("22P02"), Not(HasSubstr("secret"))));
  EXPECT_THAT(Refusal(replay_, Command("CREATE USER MAPPING FOR x SERVER y OPTIONS (password "
                                       "'secret' \"secret\")",
                                       "CREATE USER MAPPING")),
              AllOf(HasSubstr("42601"), Not(HasSubstr("secret"))));
}

TEST_F(Replay, SkipsWhatItIsToldToAndSaysSo) {
  const DdlCommand first = Command("CREATE TABLE a ()", "CREATE TABLE");
  const DdlCommand second = Command("CREATE TABLE b ()", "CREATE TABLE");
  DdlReplay one({.skip = {first.checkpoint}});
  LogText log;
  EXPECT_TRUE(target_->Run(one, first).ok());
  EXPECT_TRUE(target_->Run(one, second).ok());
  EXPECT_THAT(log.Take(), AllOf(HasSubstr("warning"), HasSubstr("CREATE TABLE"),
                                HasSubstr(ToKey(first.checkpoint))));
  EXPECT_FALSE(Exists("a"));
  EXPECT_TRUE(Exists("b"));
  DdlReplay whole({.skip = {{.lsn = first.checkpoint.lsn, .seq = 0}}});
  DdlCommand concurrently = Command("CREATE INDEX CONCURRENTLY i ON b ((1))", "CREATE INDEX");
  EXPECT_FALSE(whole.RunsAlone(concurrently));
  EXPECT_TRUE(target_->Run(whole, concurrently).ok());
  EXPECT_TRUE(target_->Run(whole, second).ok());
  concurrently.checkpoint.lsn = {5};
  EXPECT_TRUE(whole.RunsAlone(concurrently));
}

TEST_F(Replay, LeavesPgcaptureAlone) {
  Sql("CREATE SCHEMA pgcapture; CREATE TABLE pgcapture.sources (id text)");
  Repeat(Command("DROP SCHEMA pgcapture CASCADE", "DROP SCHEMA"));
  Repeat(Command("DROP TABLE pgcapture.sources", "DROP TABLE"));
  Repeat(Command("CREATE EXTENSION pgcapture", "CREATE EXTENSION"));
  EXPECT_TRUE(Exists("pgcapture.sources"));
  EXPECT_THAT(Refusal(replay_, Command("DROP SCHEMA pgcapture, public", "DROP SCHEMA")),
              HasSubstr("without pgcapture"));
}

TEST_F(Replay, MissesTheIndexOfAReindexOnly) {
  Sql("CREATE TABLE t (a int); CREATE INDEX i ON t (a)");
  Repeat(Command("REINDEX DATABASE another", "REINDEX", Object("REINDEX", "index", "public", "i")));
  LogText log;
  Repeat(Command("REINDEX DATABASE another", "REINDEX",
                 Object("REINDEX", "index", "pg_toast", "pg_toast_16397_index")));
  EXPECT_EQ(log.Take(), "");
  LogText missing;
  Repeat(Command("REINDEX INDEX CONCURRENTLY j", "REINDEX",
                 Object("REINDEX", "index", "public", "j")));
  EXPECT_THAT(missing.Take(), AllOf(HasSubstr("warning"), HasSubstr("public.j")));
}

TEST_F(Replay, StopsWhereTheTextIsNotTheCommandAlone) {
  DdlCommand unknown = Inexact("", "CREATE TABLE");
  unknown.query.reset();
  unknown.objects = Object("CREATE TABLE", "table", "public", "t");
  EXPECT_THAT(
      Refusal(replay_, unknown),
      AllOf(HasSubstr("does not know the text"), HasSubstr("CREATE TABLE of table public.t"),
            HasSubstr("run it by hand"), HasSubstr("--skip-lsn"), HasSubstr("--inexact-ddl run"),
            HasSubstr("--inexact-ddl skip")));
  DdlCommand string = Inexact("CREATE TABLE t (); SELECT 1", "CREATE TABLE");
  EXPECT_THAT(Refusal(replay_, string), HasSubstr("--inexact-ddl run"));
  DdlReplay skip({.inexact = InexactDdl::kSkip});
  LogText log;
  EXPECT_TRUE(target_->Run(skip, unknown).ok());
  EXPECT_TRUE(target_->Run(skip, string).ok());
  EXPECT_THAT(log.Take(), AllOf(HasSubstr(ToKey(unknown.checkpoint)),
                                HasSubstr(ToKey(string.checkpoint)), HasSubstr("left out")));
  EXPECT_FALSE(Exists("t"));
  // Nobody can run what nobody knows.
  DdlReplay run({.inexact = InexactDdl::kRun});
  EXPECT_THAT(Refusal(run, unknown), Not(HasSubstr("--inexact-ddl")));
}

TEST_F(Replay, RunsTheDdlOfAStringOnceInATransaction) {
  DdlReplay replay({.inexact = InexactDdl::kRun});
  Sql("CREATE SCHEMA s; CREATE ROLE other; GRANT USAGE, CREATE ON SCHEMA s TO other");
  DdlCommand string;
  string.checkpoint = {.lsn = {1}, .seq = 1};
  string.query =
      "BEGIN; SET search_path TO s; SET ROLE other; CREATE TABLE t (a int); INSERT INTO t VALUES "
      "(1); CREATE TABLE u AS SELECT * FROM t; COMMIT";
  string.tags = {"BEGIN", "SET", "SET", "CREATE TABLE", "INSERT", "CREATE TABLE AS", "COMMIT"};
  LogText log;
  EXPECT_TRUE(target_->Run(replay, string).ok());
  // The row of its second command.
  string.checkpoint.seq = 2;
  EXPECT_TRUE(target_->Run(replay, string).ok());
  EXPECT_THAT(log.Take(), AllOf(HasSubstr("INSERT"), HasSubstr("0/1|1"), Not(HasSubstr("0/1|2"))));
  EXPECT_TRUE(Exists("s.u"));
  EXPECT_EQ(Ask("SELECT count(*) FROM s.t"), "0");
  EXPECT_EQ(Ask("SELECT relowner::regrole FROM pg_class WHERE relname = 't'"), "other");
  replay.BeginTransaction();
  EXPECT_THAT(Refusal(replay, string), HasSubstr("42P07"));
  Sql("DROP OWNED BY other; DROP ROLE other");
}

TEST_F(Replay, RunsEqualCommandsThatAreKnownEachTime) {
  Sql("CREATE TABLE t (a int)");
  const DdlCommand command = Command("CREATE INDEX ON t (a)", "CREATE INDEX");
  Repeat(command);
  Repeat(command);
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass"), "2");
}

TEST_F(Replay, WhatIsWorthARetryStaysSo) {
  Sql("CREATE TABLE t (a int)");
  ASSERT_TRUE((*target_)->Execute("SET lock_timeout = '1ms'").ok());
  Sql("BEGIN; LOCK TABLE t");
  ASSERT_TRUE((*target_)->Execute("BEGIN").ok());
  const DdlCommand command = Command("ALTER TABLE t ADD b int", "ALTER TABLE");
  const absl::Status status = replay_.Run(**target_, command, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(SqlStateOf(status), "55P03");
  ASSERT_TRUE((*target_)->Execute("ROLLBACK").ok());
  Sql("ROLLBACK");
}

TEST_F(Replay, StopsWhileACommandWaits) {
  Sql("CREATE TABLE t (a int)");
  Sql("BEGIN; LOCK TABLE t");
  std::stop_source stop;
  std::jthread waits([&] {
    EXPECT_TRUE((*target_)->Execute("BEGIN").ok());
    const DdlCommand command = Command("ALTER TABLE t ADD b int", "ALTER TABLE");
    const absl::Status status = replay_.Run(**target_, command, stop.get_token());
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  });
  EXPECT_TRUE(Eventually("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"));
  stop.request_stop();
  waits.join();
  Sql("ROLLBACK");
}

}  // namespace
}  // namespace pgc
