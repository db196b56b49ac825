#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "source/ddl_testing.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PlainSql : public DdlTest {
 protected:
  PlainSql() : DdlTest(DdlVariant::kSql) {}
};

TEST_F(PlainSql, EachCommandOfAStringComesOnceInItsPlace) {
  Sql("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1); ALTER TABLE a ADD v text;"
      "INSERT INTO a VALUES (2, 'x'); CREATE TABLE b AS SELECT 3 AS id; DROP TABLE b; DROP TABLE "
      "a");
  EXPECT_THAT(Captured(), ElementsAre("true 'CREATE TABLE a (id int PRIMARY KEY)'",
                                      "table public.a: INSERT: id[integer]:1",
                                      "true 'ALTER TABLE a ADD v text'",
                                      "table public.a: INSERT: id[integer]:2 v[text]:'x'",
                                      "true 'CREATE TABLE b AS SELECT 3 AS id'",
                                      "table public.b: INSERT: id[integer]:3",
                                      "true 'DROP TABLE b'", "true 'DROP TABLE a'"));
}

class EveryCommand : public EveryCommandTest {
 protected:
  EveryCommand() : EveryCommandTest(DdlVariant::kSql) {}
};

TEST_F(EveryCommand, IsCapturedOnceInOrderUnderItsTag) {
  RunAlone(statements_);
  ExpectCaptured(statements_);
}

TEST_F(EveryCommand, IsTakenOutOfTheStringItCameIn) { ExpectCaptured(RunInStrings()); }

TEST_F(PlainSql, TemporaryRelationsLeaveNoTrace) {
  Sql("CREATE TEMP TABLE a (id int); CREATE TABLE b (id int PRIMARY KEY); CREATE INDEX ON a (id);"
      "COMMENT ON TABLE a IS 'x'; ALTER TABLE a ADD v int; CREATE TEMP TABLE c AS SELECT 1;"
      "SELECT 1 AS x INTO TEMP d; CREATE TEMP VIEW e AS SELECT 1; ALTER TABLE c RENAME TO f;"
      "DROP TABLE f, b; DROP VIEW e; DROP TABLE a");
  EXPECT_THAT(Captured(), ElementsAre("true 'CREATE TABLE b (id int PRIMARY KEY)'",
                                      "true 'DROP TABLE public.b'"));
}

TEST_F(PlainSql, CommandsOfFunctionsComeWithTheirTextWhereItCanBeSeen) {
  Sql("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE a (id int); END "
      "$$");
  Sql("CREATE FUNCTION g() RETURNS void LANGUAGE sql AS 'DROP TABLE a'");
  Sql("SELECT f(); CREATE TABLE b (id int); SELECT g(); DROP TABLE b");
  Sql("DO $$ BEGIN EXECUTE 'CREATE TABLE c (id int); DROP TABLE c'; END $$; CREATE TABLE d ()");
  EXPECT_THAT(
      Captured(),
      ElementsAre(HasSubstr("true 'CREATE FUNCTION f()"), HasSubstr("true 'CREATE FUNCTION g()"),
                  "true 'CREATE TABLE a (id int)'", "true 'CREATE TABLE b (id int)'", "false null",
                  "true 'DROP TABLE b'", "false null", "false null", "true 'CREATE TABLE d ()'"));
  EXPECT_EQ(Ask("SELECT objects->0->>'object_identity' FROM pgcapture.ddl_logs WHERE query IS NULL "
                "ORDER BY id"),
            "public.a,public.c,public.c");
}

TEST_F(PlainSql, WhatAPreparedStatementRunsIsNotTakenForItsText) {
  Sql("PREPARE p AS SELECT 1 AS one");
  Sql("CREATE TABLE a AS EXECUTE p");
  Sql("PREPARE q AS INSERT INTO a SELECT 2");
  Sql("EXECUTE q");
  EXPECT_THAT(Captured(), ElementsAre("true 'CREATE TABLE a AS EXECUTE p'",
                                      "table public.a: INSERT: one[integer]:1",
                                      "table public.a: INSERT: one[integer]:2"));
}

TEST_F(PlainSql, WhatIsRolledBackAndWhatAnExtensionDoesIsNotThere) {
  Sql("BEGIN; CREATE TABLE a (id int); SAVEPOINT s; DROP TABLE a; ROLLBACK TO s; COMMIT");
  Sql("BEGIN; CREATE TABLE b (id int); ROLLBACK");
  EXPECT_FALSE(sql_->Execute("CREATE TABLE c (id int); SELECT 1 / 0").ok());
  Sql("CREATE EXTENSION hstore; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
  Sql("DROP TABLE IF EXISTS nothing");
  EXPECT_THAT(
      Captured(),
      ElementsAre("true 'CREATE TABLE a (id int)'", "true 'CREATE EXTENSION hstore'",
                  HasSubstr("true 'CREATE FUNCTION f()"), "true 'DROP TABLE IF EXISTS nothing'"));
}

TEST_F(PlainSql, ARoleWithoutRightsRunsDdlAndCannotForgeIt) {
  Sql("CREATE ROLE low; GRANT CREATE ON SCHEMA public TO low");
  Sql("SET ROLE low; SET search_path = public, pg_catalog;"
      // Would be taken for the operators of PostgreSQL, if they were looked for on this path.
      "CREATE FUNCTION forged(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE "
      "'forged'; END $$; CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = forged);"
      "CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = text, FUNCTION = forged)");
  Sql("CREATE TABLE a (id int)");
  EXPECT_EQ(Ask("SHOW search_path"), "public, pg_catalog");
  EXPECT_FALSE(sql_->Execute("INSERT INTO pgcapture.ddl_logs (query) VALUES ('x')").ok());
  EXPECT_FALSE(sql_->Execute("SELECT pgcapture.log_ddl_of('a', 'b', 'c', 'd')").ok());
  Sql("RESET search_path; RESET ROLE; DROP OWNED BY low; DROP ROLE low");
  EXPECT_EQ(Ask("SELECT role || ' ' || search_path FROM pgcapture.ddl_logs "
                "WHERE tags = '{CREATE TABLE}'"),
            "low public, pg_catalog");
}

TEST_F(PlainSql, AMegabyteOfSqlIsOneCommand) {
  const std::string comment = "COMMENT ON TABLE a IS '" + std::string(1 << 20, 'x') + "'";
  Sql("CREATE TABLE a (id int)");
  Sql("SELECT 1; " + comment + "; SELECT 2");
  EXPECT_THAT(Captured(),
              ElementsAre("true 'CREATE TABLE a (id int)'",
                          "true 'COMMENT ON TABLE a IS ''" + std::string(1 << 20, 'x') + "'''"));
}

TEST_F(PlainSql, OldRowsGoAwayUnseen) {
  Sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
  Sql("UPDATE pgcapture.ddl_logs SET activity = activity || "
      R"('{"xact_start": "2001-01-01T00:00:00+00:00"}' WHERE id = 1)");
  EXPECT_EQ(Ask("SELECT pgcapture.prune('1 day')"), "1");
  EXPECT_EQ(Ask("SELECT id FROM pgcapture.ddl_logs"), "2");
  Sql("INSERT INTO a VALUES (1)");
  EXPECT_THAT(Captured(), ElementsAre("true 'CREATE TABLE a (id int PRIMARY KEY)'",
                                      "true 'CREATE TABLE b (id int PRIMARY KEY)'",
                                      "table public.a: INSERT: id[integer]:1"));
}

TEST_F(PlainSql, InstalledAgainItKeepsPositionsAndPublications) {
  Sql("INSERT INTO pgcapture.sources (id, commit, seq, mid) VALUES ('topic', '0/12', 3, '\\\\x01');"
      "CREATE PUBLICATION listed FOR TABLE pgcapture.ddl_logs; CREATE TABLE a (id int)");
  ASSERT_TRUE(Install(variant_).ok());
  EXPECT_EQ(Ask("SELECT id || ' ' || commit || ' ' || seq FROM pgcapture.sources"), "topic 0/12 3");
  EXPECT_EQ(Ask("SELECT tablename FROM pg_publication_tables WHERE pubname = 'listed'"),
            "ddl_logs");
  Sql("CREATE TABLE b (id int)");
  EXPECT_EQ(Ask("SELECT count(*) FROM pgcapture.ddl_logs"), "2");
  Sql("DROP SCHEMA pgcapture CASCADE");
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_event_trigger"), "0");
  Sql("DROP TABLE b");
}

TEST_F(PlainSql, ThePositionOfASinkAloneIsTakenOver) {
  Sql("DROP SCHEMA pgcapture CASCADE; CREATE SCHEMA pgcapture; CREATE TABLE pgcapture.sources (id "
      "text PRIMARY KEY, commit pg_lsn, seq int, commit_ts timestamptz, mid bytea, apply_ts "
      "timestamptz); INSERT INTO pgcapture.sources (id) VALUES ('sink')");
  ASSERT_TRUE(Install(variant_).ok());
  EXPECT_EQ(Ask("SELECT id FROM pgcapture.sources"), "sink");
}

TEST_F(PlainSql, WhatSomebodyElseHasThereIsLeftAlone) {
  Sql("DROP SCHEMA pgcapture CASCADE; CREATE SCHEMA pgcapture; CREATE TABLE pgcapture.ddl_logs (x "
      "int)");
  const auto refused = Install(variant_);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(HasSubstr("other tables: ddl_logs"), HasSubstr("--no-ddl")));
  EXPECT_EQ(Ask("SELECT to_regclass('pgcapture.ddl_logs') IS NOT NULL"), "t");
}

TEST_F(PlainSql, WhoMayInstallNothingIsToldTheWaysOut) {
  Sql("DROP SCHEMA pgcapture CASCADE; CREATE ROLE nobody LOGIN");
  auto other = Connection::Open(server_->Url(name_, "nobody"));
  ASSERT_TRUE(other.ok()) << other.status();
  const absl::Status status = EnsureDdlCapture(**other, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("pgcapture install"), HasSubstr("--no-ddl")));
  other->reset();
  Sql("DROP ROLE nobody");
}

TEST_F(PlainSql, TheExtensionTakesItsPlaceOrIsRefusedWithoutItsFiles) {
  if (Ask("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcapture')") == "t") {
    EXPECT_TRUE(Install(DdlVariant::kExtension).ok());
    EXPECT_EQ(*Install(DdlVariant::kSql), DdlVariant::kSql);
    EXPECT_EQ(Ask("SELECT count(*) FROM pg_extension WHERE extname = 'pgcapture'"), "0");
    return;
  }
  const auto refused = Install(DdlVariant::kExtension);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("--sql"));
}

}  // namespace
}  // namespace pgc
