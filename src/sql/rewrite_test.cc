#include "sql/rewrite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "sql/names.h"
#include "sql/statement.h"
#include "sql/tokens.h"

namespace pgc {
namespace {

using ::testing::ElementsAre;

std::string Of(const absl::StatusOr<std::string>& text) {
  return text.ok() ? *text : "ERROR " + std::string(absl::StatusCodeToString(text.status().code()));
}

TEST(WithNoData, LeavesTheRowsOutOfCreateTableAs) {
  const std::vector<std::pair<std::string, std::string>> kCases = {
      {"CREATE TABLE t AS SELECT 1 AS a", "CREATE TABLE t AS SELECT 1 AS a WITH NO DATA"},
      {"CREATE TABLE t AS SELECT 1 AS a WITH DATA", "CREATE TABLE t AS SELECT 1 AS a WITH NO DATA"},
      {"create table if not exists t as table x with no data",
       "create table if not exists t as table x WITH NO DATA"},
      {"CREATE TABLE t (a, b) WITH (fillfactor = 50) AS VALUES (1, 2) WITH /* x */ NO -- y\n DATA",
       "CREATE TABLE t (a, b) WITH (fillfactor = 50) AS VALUES (1, 2) WITH NO DATA"},
      {"CREATE TABLE t AS WITH data AS (SELECT 1 AS data) SELECT data FROM data",
       "CREATE TABLE t AS WITH data AS (SELECT 1 AS data) SELECT data FROM data WITH NO DATA"},
      {"CREATE TABLE \"as\" AS SELECT 'x WITH DATA' AS \"with\" -- WITH DATA",
       "CREATE TABLE \"as\" AS SELECT 'x WITH DATA' AS \"with\" WITH NO DATA"},
      {"CREATE TABLE t AS SELECT $$ ) WITH DATA$$",
       "CREATE TABLE t AS SELECT $$ ) WITH DATA$$"
       " WITH NO DATA"},
  };
  for (const auto& [from, to] : kCases) EXPECT_EQ(Of(WithNoData(from)), to);
}

TEST(WithNoData, MakesCreateTableAsOfSelectInto) {
  const std::vector<std::pair<std::string, std::string>> kCases = {
      {"SELECT 8 AS eight INTO t8", "CREATE TABLE t8 AS SELECT 8 AS eight WITH NO DATA"},
      {"SELECT a INTO TABLE s.\"T t\" FROM x WHERE b",
       "CREATE TABLE s.\"T t\" AS SELECT a FROM x WHERE b WITH NO DATA"},
      {"WITH x AS (SELECT 9 AS n) SELECT n INTO UNLOGGED t9 FROM x",
       "CREATE UNLOGGED TABLE t9 AS WITH x AS (SELECT 9 AS n) SELECT n FROM x WITH NO DATA"},
      {"WITH delete AS (DELETE FROM a RETURNING *), x (a) AS MATERIALIZED (SELECT 1) (SELECT * "
       "INTO t FROM delete)",
       "CREATE TABLE t AS WITH delete AS (DELETE FROM a RETURNING *), x (a) AS MATERIALIZED "
       "(SELECT 1) (SELECT * FROM delete) WITH NO DATA"},
      {"select into unlogged from x", "CREATE TABLE unlogged AS select from x WITH NO DATA"},
      {"(SELECT 1 AS x INTO t) UNION SELECT 2",
       "CREATE TABLE t AS (SELECT 1 AS x ) UNION SELECT 2 WITH NO DATA"},
      {"SELECT (SELECT 1) AS x, ARRAY[(2)] INTO unlogged.t UNION ALL SELECT 3, '{}'",
       "CREATE TABLE unlogged.t AS SELECT (SELECT 1) AS x, ARRAY[(2)] UNION ALL SELECT 3, '{}'"
       " WITH NO DATA"},
      {"SELECT 'INTO a' AS \"into\" /* INTO b */ INTO c",
       "CREATE TABLE c AS SELECT 'INTO a' AS \"into\" WITH NO DATA"},
  };
  for (const auto& [from, to] : kCases) EXPECT_EQ(Of(WithNoData(from)), to);
}

TEST(WithNoData, LeavesAMaterializedViewUnfilled) {
  EXPECT_EQ(Of(WithNoData("CREATE MATERIALIZED VIEW m (a) AS SELECT 1 WITH DATA")),
            "CREATE MATERIALIZED VIEW m (a) AS SELECT 1 WITH NO DATA");
}

TEST(WithNoData, RefusesWhatOnlyItsSessionCanRun) {
  EXPECT_EQ(Of(WithNoData("CREATE TABLE t AS EXECUTE p (1)")), "ERROR FAILED_PRECONDITION");
}

TEST(WithNoData, RefusesWhatMakesNoTableOfAQuery) {
  for (const char* sql : {"", "SELECT 1", "CREATE TABLE t (a int)", "CREATE TABLE t AS", "INTO",
                          "SELECT 1 INTO", "SELECT 'open", "INSERT INTO t SELECT 1",
                          "CREATE TABLE t AS WITH NO DATA", "WITH NO DATA", "CREATE AS DATA"}) {
    EXPECT_EQ(Of(WithNoData(sql)), "ERROR INVALID_ARGUMENT") << sql;
  }
}

TEST(WithIndexName, GivesANameOnlyWhereThereIsNone) {
  EXPECT_EQ(Of(WithIndexName("create index on t (a)", "t\"_idx")),
            "create index \"t\"\"_idx\" on t (a)");
  EXPECT_EQ(Of(WithIndexName("CREATE UNIQUE INDEX CONCURRENTLY ON ONLY t (a)", "i")),
            "CREATE UNIQUE INDEX CONCURRENTLY \"i\" ON ONLY t (a)");
  for (const char* sql : {"CREATE INDEX i ON t (a)", "CREATE INDEX CONCURRENTLY \"on\" ON t (a)",
                          "CREATE INDEX IF NOT EXISTS i ON t (a)"}) {
    EXPECT_EQ(Of(WithIndexName(sql, "other")), sql);
  }
  EXPECT_EQ(Of(WithIndexName("DROP INDEX i", "i")), "ERROR INVALID_ARGUMENT");
}

TEST(DropIndexIfExists, IsWrittenOnce) {
  EXPECT_EQ(Of(DropIndexIfExists("drop index a, s.b cascade")),
            "drop index IF EXISTS a, s.b cascade");
  EXPECT_EQ(Of(DropIndexIfExists("DROP INDEX /* x */ CONCURRENTLY \"if\"")),
            "DROP INDEX /* x */ CONCURRENTLY IF EXISTS \"if\"");
  EXPECT_EQ(Of(DropIndexIfExists("DROP INDEX IF EXISTS a")), "DROP INDEX IF EXISTS a");
  EXPECT_EQ(Of(DropIndexIfExists("DROP INDEX")), "ERROR INVALID_ARGUMENT");
  EXPECT_EQ(Of(DropIndexIfExists("DROP TABLE a")), "ERROR INVALID_ARGUMENT");
}

TEST(NameOf, IsWhatPostgresMakesOfAnIdentifier) {
  EXPECT_EQ(NameOf("PgCapture"), "pgcapture");
  EXPECT_EQ(NameOf("\"PgCapture\""), "PgCapture");
  EXPECT_EQ(NameOf("\"a\"\"b\""), "a\"b");
  EXPECT_EQ(NameOf("Größe"), "größe");
  EXPECT_EQ(NameOf("U&\"d\\0061t\\+000061\""), "data");
  EXPECT_EQ(NameOf("u&\"\\\\ \\00e4 \\+01F600 \\zz\""), "\\ \u00e4 \U0001F600 \\zz");
  EXPECT_EQ(NameOf("U&\"\\00\""), "\\00");
}

TEST(ReadName, EndsWhereTheNameEnds) {
  const auto read = [](std::string_view sql) {
    const auto tokens = Tokenize(sql);
    size_t at = 0;
    std::vector<std::string> name = ReadName(*tokens, at);
    name.push_back(std::to_string(at));
    return name;
  };
  EXPECT_THAT(read("a"), ElementsAre("a", "1"));
  EXPECT_THAT(read("S . \"T\" (x)"), ElementsAre("s", "T", "3"));
  EXPECT_THAT(read("a b"), ElementsAre("a", "1"));
  EXPECT_THAT(read("(a)"), ElementsAre("0"));
  EXPECT_THAT(read("'a'"), ElementsAre("0"));
  EXPECT_THAT(read("E'a'"), ElementsAre("0"));
}

}  // namespace
}  // namespace pgc
