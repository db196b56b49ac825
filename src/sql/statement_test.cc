#include "sql/statement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sql/tokens.h"

namespace pgc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Texts(std::string_view sql) {
  std::vector<std::string> texts;
  const auto statements = SplitSql(sql);
  if (!statements.ok()) return {"ERROR " + std::string(statements.status().message())};
  for (const SqlStatement& statement : *statements) texts.emplace_back(statement.text);
  return texts;
}

std::string TagOf(std::string_view sql) {
  const auto tokens = Tokenize(sql);
  return tokens.ok() ? Classify(*tokens).tag : std::string(tokens.status().message());
}

TEST(SplitSql, GivesEachStatementTrimmedAndWithoutItsSemicolon) {
  EXPECT_THAT(Texts("  CREATE TABLE a (i int) ;\n\nINSERT INTO a VALUES (1);; DROP TABLE a"),
              ElementsAre("CREATE TABLE a (i int)", "INSERT INTO a VALUES (1)", "DROP TABLE a"));
}

TEST(SplitSql, KeepsSemicolonsInLiteralsCommentsNamesAndBodies) {
  constexpr std::string_view kBody =
      "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN PERFORM 1; RETURN 2; END $f$";
  constexpr std::string_view kAtomic =
      "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO a VALUES (1);"
      " SELECT CASE WHEN true THEN 1 END; SELECT 1; END";
  constexpr std::string_view kRule =
      "CREATE RULE r AS ON INSERT TO a DO ALSO (DELETE FROM b; DELETE FROM c)";
  const std::string all = std::string("SELECT ';', E'\\';', \"a;b\" /* ; /* ; */ */ -- ;\n, 1; ") +
                          std::string(kBody) + ";" + std::string(kAtomic) + ";" +
                          std::string(kRule);
  EXPECT_THAT(Texts(all), ElementsAre("SELECT ';', E'\\';', \"a;b\" /* ; /* ; */ */ -- ;\n, 1",
                                      kBody, kAtomic, kRule));
}

TEST(SplitSql, KeepsNamesAndLiteralsInUnicodeEscapesWhole) {
  EXPECT_THAT(
      Texts("DROP TABLE U&\"d\\0061;\"\"a\"; SELECT u&'a'';b' \n ';c';; SELECT U&';'"),
      ElementsAre("DROP TABLE U&\"d\\0061;\"\"a\"", "SELECT u&'a'';b' \n ';c'", "SELECT U&';'"));
  EXPECT_THAT(Texts("SELECT U&'a' , U & 'b' UESCAPE '!'; SELECT 1"),
              ElementsAre("SELECT U&'a' , U & 'b' UESCAPE '!'", "SELECT 1"));
}

TEST(SplitSql, LeavesOutCommentsAroundAStatementOnly) {
  EXPECT_THAT(Texts("/* a */ CREATE -- b\nTABLE a (i int) /* c */; -- d\nDROP TABLE a"),
              ElementsAre("CREATE -- b\nTABLE a (i int)", "DROP TABLE a"));
}

TEST(SplitSql, BeginOfATransactionIsNoBlock) {
  EXPECT_THAT(Texts("BEGIN; DROP TABLE a; END; BEGIN; COMMIT"),
              ElementsAre("BEGIN", "DROP TABLE a", "END", "BEGIN", "COMMIT"));
}

TEST(SplitSql, OfNothingIsNothing) {
  EXPECT_THAT(Texts(""), IsEmpty());
  EXPECT_THAT(Texts(" ; ;\n"), IsEmpty());
  EXPECT_THAT(Texts("-- only this\n;/* and this */"), IsEmpty());
}

TEST(SplitSql, SplitsSyntaxThatItDoesNotKnow) {
  EXPECT_THAT(Texts("CREATE GLOBAL TEMPORAL TABLE t (a int); FROB THE 'x;y' ; SELECT 1"),
              ElementsAre("CREATE GLOBAL TEMPORAL TABLE t (a int)", "FROB THE 'x;y'", "SELECT 1"));
}

TEST(SplitSql, RefusesWhatNoScannerCanRead) {
  for (const std::string sql : {"SELECT 'open", "SELECT $a$ open", "SELECT \"open", "/* open"}) {
    const auto statements = SplitSql(sql);
    ASSERT_FALSE(statements.ok()) << sql;
    EXPECT_EQ(statements.status().code(), absl::StatusCode::kInvalidArgument) << sql;
    EXPECT_THAT(statements.status().message(), HasSubstr("cannot be read")) << sql;
  }
  EXPECT_FALSE(SplitSql(std::string_view("SELECT 1\0; SELECT 2", 19)).ok());
}

TEST(SplitSql, TakesTextOfMegabytes) {
  std::string sql = "CREATE VIEW v AS SELECT '" + std::string(4 << 20, 'x') + "' AS x;";
  for (int i = 0; i < 2'000; ++i) sql += "DROP TABLE IF EXISTS t" + std::to_string(i) + ";";
  const auto statements = SplitSql(sql);
  ASSERT_TRUE(statements.ok()) << statements.status();
  EXPECT_EQ(statements->size(), 2'001u);
  EXPECT_EQ(statements->back().text, "DROP TABLE IF EXISTS t1999");
}

TEST(SplitSql, SurvivesNestingDeeperThanTheStack) {
  const std::string deep = "SELECT " + std::string(200'000, '(') + "1" + std::string(200'000, ')');
  EXPECT_THAT(Texts(deep + "; DROP TABLE a"), ElementsAre(deep, "DROP TABLE a"));
}

TEST(Classify, LooksThroughWhatStandsBeforeTheKindOfObject) {
  EXPECT_EQ(TagOf("create or replace /* x */ view v as select 1"), "CREATE VIEW");
  EXPECT_EQ(TagOf("CREATE UNLOGGED TABLE t (a int)"), "CREATE TABLE");
  EXPECT_EQ(TagOf("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)"), "CREATE INDEX");
  EXPECT_EQ(TagOf("CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()"),
            "CREATE TRIGGER");
  EXPECT_EQ(TagOf("CREATE OR REPLACE TRUSTED PROCEDURAL LANGUAGE l HANDLER h"), "CREATE LANGUAGE");
  EXPECT_EQ(TagOf("CREATE DEFAULT CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM f"),
            "CREATE CONVERSION");
  EXPECT_EQ(TagOf("ALTER TEXT SEARCH DICTIONARY d (a = 1)"), "ALTER TEXT SEARCH DICTIONARY");
  EXPECT_EQ(TagOf("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC"),
            "ALTER DEFAULT PRIVILEGES");
  EXPECT_EQ(TagOf("DROP OPERATOR FAMILY f USING btree"), "DROP OPERATOR FAMILY");
  EXPECT_EQ(TagOf("DROP OPERATOR + (int, int)"), "DROP OPERATOR");
  EXPECT_EQ(TagOf("DROP USER u"), "DROP ROLE");
  EXPECT_EQ(TagOf("DROP USER MAPPING FOR u SERVER s"), "DROP USER MAPPING");
}

TEST(Classify, KnowsTheCommandsThatMakeATableOfAQuery) {
  EXPECT_EQ(TagOf("CREATE TABLE t (a, b) WITH (fillfactor = 10) AS SELECT 1, 2"),
            "CREATE TABLE AS");
  EXPECT_EQ(TagOf("CREATE TABLE t (a int GENERATED ALWAYS AS (b + 1) STORED, b int)"),
            "CREATE TABLE");
  EXPECT_EQ(TagOf("CREATE TABLE \"as\" (a int)"), "CREATE TABLE");
  EXPECT_EQ(TagOf("SELECT 1 INTO t"), "SELECT INTO");
  EXPECT_EQ(TagOf("WITH x AS (SELECT 1) SELECT * INTO t FROM x"), "SELECT INTO");
  EXPECT_EQ(TagOf("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x"), "INSERT");
  EXPECT_EQ(TagOf("INSERT INTO t SELECT 1"), "INSERT");
  EXPECT_EQ(TagOf("SELECT 1 AS \"into\""), "SELECT");
  EXPECT_EQ(TagOf("(SELECT 1 AS x INTO t) UNION SELECT 2"), "SELECT INTO");
  EXPECT_EQ(TagOf("((SELECT 1) UNION SELECT 2)"), "SELECT");
  EXPECT_EQ(TagOf("WITH insert AS (SELECT 1) (SELECT * INTO t FROM insert)"), "SELECT INTO");
}

TEST(Classify, TellsPrivilegesFromMembership) {
  EXPECT_EQ(TagOf("GRANT SELECT ON t TO u"), "GRANT");
  EXPECT_EQ(TagOf("GRANT a, b TO u"), "GRANT ROLE");
  EXPECT_EQ(TagOf("REVOKE ALL ON SCHEMA s FROM u"), "REVOKE");
  EXPECT_EQ(TagOf("REVOKE a FROM u"), "REVOKE ROLE");
}

TEST(Classify, KnowsWhatMakesATemporaryRelation) {
  const auto temporary = [](std::string_view sql) {
    const auto statements = SplitSql(sql);
    return statements.ok() && statements->size() == 1 && statements->front().temporary;
  };
  EXPECT_TRUE(temporary("CREATE TEMP TABLE t AS SELECT 1"));
  EXPECT_TRUE(temporary("create global temporary table t (a int)"));
  EXPECT_TRUE(temporary("CREATE TABLE IF NOT EXISTS pg_temp.t AS SELECT 1"));
  EXPECT_TRUE(temporary("CREATE TABLE pg_temp.t AS SELECT 1"));
  EXPECT_TRUE(temporary("SELECT 1 INTO LOCAL TEMPORARY t"));
  EXPECT_TRUE(temporary("SELECT 1 INTO pg_temp.t"));
  EXPECT_FALSE(temporary("CREATE TABLE temp AS SELECT 1"));
  EXPECT_FALSE(temporary("CREATE UNLOGGED TABLE t AS SELECT 1"));
  EXPECT_FALSE(temporary("SELECT 1 INTO t"));
  EXPECT_FALSE(temporary("DROP TABLE pg_temp.t"));
}

TEST(Classify, KnowsWhatNoEventTriggerFiresFor) {
  const auto shared = [](std::string_view sql) {
    const auto statements = SplitSql(sql);
    return statements.ok() && statements->size() == 1 && statements->front().shared;
  };
  EXPECT_TRUE(shared("GRANT CONNECT ON DATABASE d TO u"));
  EXPECT_TRUE(shared("COMMENT ON ROLE r IS 'x'"));
  EXPECT_TRUE(shared("REVOKE CREATE ON TABLESPACE t FROM u"));
  EXPECT_TRUE(shared("COMMENT ON EVENT TRIGGER e IS 'x'"));
  EXPECT_TRUE(shared("SECURITY LABEL FOR p ON DATABASE d IS 'x'"));
  EXPECT_FALSE(shared("GRANT SELECT ON t TO u"));
  EXPECT_FALSE(shared("COMMENT ON TABLE database IS 'x'"));
}

TEST(Classify, OfNothingIsEmpty) { EXPECT_EQ(Classify({}).tag, ""); }

}  // namespace
}  // namespace pgc
