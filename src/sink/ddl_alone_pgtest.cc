// Commands that run outside a transaction only, also when a sink was killed in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "sink/ddl_replay_testing.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Alone : public DdlReplayTest {
 protected:
  void SetUp() override {
    DdlReplayTest::SetUp();
    Sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)");
  }
  static DdlCommand CreateIndex(std::string query) {
    return Command(std::move(query), "CREATE INDEX",
                   Object("CREATE INDEX", "index", "public", "t_a_idx"));
  }
  std::string Indexes() {
    return Ask(
        "SELECT indexrelid::regclass || CASE WHEN indisvalid THEN '' ELSE ' invalid' END "
        "FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1");
  }
  // What is left of a CREATE INDEX CONCURRENTLY that ends in its midst.
  void LeaveInvalid(const std::string& name) {
    Sql("INSERT INTO t VALUES (1)");
    EXPECT_FALSE(sql_->Execute("CREATE UNIQUE INDEX CONCURRENTLY " + name + " ON t (a)").ok());
    Sql("DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t)");
    ASSERT_EQ(Indexes(), name + " invalid");
  }
  // A detachment that ends in its midst: it has committed once, and waits for a reader.
  void LeavePending() {
    Sql("CREATE TABLE p (a int) PARTITION BY LIST (a);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)");
    auto reader = Connection::Open(server_->Url(name_));
    ASSERT_TRUE(reader.ok()) << reader.status();
    ASSERT_TRUE((*reader)->Execute("BEGIN; SELECT FROM p").ok());
    Sql("SET lock_timeout = '50ms'");
    EXPECT_FALSE(sql_->Execute("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY").ok());
    Sql("RESET lock_timeout");
    ASSERT_EQ(Ask("SELECT inhdetachpending FROM pg_inherits WHERE inhparent = 'p'::regclass"), "t");
  }
};

TEST_F(Alone, AnIndexIsMadeOnceUnderTheNameOfTheSource) {
  for (const char* sql :
       {"CREATE INDEX CONCURRENTLY ON t (a)", "CREATE INDEX CONCURRENTLY \"t_a_idx\" ON t (a)"}) {
    EXPECT_TRUE(replay_.RunsAlone(CreateIndex(sql))) << sql;
    Repeat(CreateIndex(sql));
    EXPECT_EQ(Indexes(), "t_a_idx") << sql;
    Repeat(CreateIndex(sql));
    EXPECT_EQ(Indexes(), "t_a_idx") << sql;
    Sql("DROP INDEX t_a_idx");
  }
}

TEST_F(Alone, AnIndexThatWasNotFinishedIsMadeAgain) {
  LeaveInvalid("t_a_idx");
  Repeat(CreateIndex("CREATE UNIQUE INDEX CONCURRENTLY ON t (a)"));
  EXPECT_EQ(Indexes(), "t_a_idx");
}

TEST_F(Alone, InRowsOfTheFirstVersionTheTextHasTheName) {
  LeaveInvalid("i");
  DdlCommand command =
      Command("CREATE UNIQUE INDEX CONCURRENTLY i ON public.t (a)", "CREATE INDEX");
  command.search_path.reset();
  command.role.reset();
  command.objects.clear();
  command.exact.reset();
  EXPECT_TRUE(replay_.RunsAlone(command));
  Repeat(command);
  Repeat(command);
  EXPECT_EQ(Indexes(), "i");
}

TEST_F(Alone, AnIndexThatCannotBeMadeIsRefusedAndCanBeTriedAgain) {
  Sql("INSERT INTO t VALUES (1)");
  const DdlCommand command = CreateIndex("CREATE UNIQUE INDEX CONCURRENTLY ON t (a)");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(Refusal(replay_, command), AllOf(HasSubstr("23505"), HasSubstr("--skip-lsn")));
  }
  Sql("DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t)");
  Repeat(command);
  EXPECT_EQ(Indexes(), "t_a_idx");
}

TEST_F(Alone, AnIndexIsDroppedWhateverIsLeftOfIt) {
  LeaveInvalid("t_a_idx");
  const DdlCommand command = Command("DROP INDEX CONCURRENTLY t_a_idx", "DROP INDEX");
  EXPECT_TRUE(replay_.RunsAlone(command));
  Repeat(command);
  EXPECT_EQ(Indexes(), "");
  Repeat(command);
}

TEST_F(Alone, APartitionIsDetachedWhateverWasDone) {
  Sql("CREATE TABLE p (a int) PARTITION BY LIST (a);"
      "CREATE TABLE \"P 1\" PARTITION OF p FOR VALUES IN (1)");
  for (const char* how : {"CONCURRENTLY", "FINALIZE"}) {
    const DdlCommand command =
        Command(std::string("ALTER TABLE p DETACH PARTITION \"P 1\" ") + how, "ALTER TABLE");
    EXPECT_TRUE(replay_.RunsAlone(command));
    Repeat(command);
    EXPECT_EQ(Ask("SELECT count(*) FROM pg_inherits WHERE inhparent = 'p'::regclass"), "0");
    Repeat(command);
    Sql("ALTER TABLE p ATTACH PARTITION \"P 1\" FOR VALUES IN (1)");
  }
  EXPECT_THAT(Refusal(replay_, Command("ALTER TABLE p DETACH PARTITION missing CONCURRENTLY",
                                       "ALTER TABLE")),
              HasSubstr("42P01"));
}

TEST_F(Alone, ADetachmentThatWasNotFinishedIsFinished) {
  LeavePending();
  Repeat(Command("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY", "ALTER TABLE"));
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_inherits WHERE inhparent = 'p'::regclass"), "0");
}

TEST_F(Alone, NothingElseIs) {
  for (const char* sql :
       {"CREATE INDEX \"concurrently\" ON t (a)", "DROP INDEX \"concurrently\"", "DROP TABLE t",
        "ALTER TABLE p DETACH PARTITION \"concurrently\"", "ALTER TYPE e ADD VALUE 'a'",
        "CREATE MATERIALIZED VIEW m AS SELECT 1", "REFRESH MATERIALIZED VIEW CONCURRENTLY m"}) {
    EXPECT_FALSE(replay_.RunsAlone(Command(sql, "X"))) << sql;
  }
}

}  // namespace
}  // namespace pgc
