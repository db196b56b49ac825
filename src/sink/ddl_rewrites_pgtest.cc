// Commands that give rows other values than on the source.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "sink/ddl_replay_testing.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Rewrites : public DdlReplayTest {
 protected:
  void SetUp() override {
    DdlReplayTest::SetUp();
    Sql("CREATE SCHEMA \"S\"; CREATE TABLE \"S\".t (a text, b timestamp, c int); INSERT INTO "
        "\"S\".t VALUES ('1', '2000-01-01', 1); CREATE SEQUENCE public.seq");
  }
  // The log of a command on the table.
  std::string LogOf(const std::string& what) {
    DdlCommand command = Command("ALTER TABLE t " + what, "ALTER TABLE",
                                 Object("ALTER TABLE", "table", R"(\"S\")", "t"));
    command.search_path = "\"S\", public";
    LogText log;
    Repeat(command);
    return log.Take();
  }
};

TEST_F(Rewrites, ThatDifferAreReportedWithTheTable) {
  for (const char* what :
       {"ADD d1 timestamptz DEFAULT now()", "ADD COLUMN d2 uuid DEFAULT gen_random_uuid()",
        "ADD d3 serial", "ADD d4 int GENERATED ALWAYS AS IDENTITY",
        "ADD d5 date NOT NULL DEFAULT current_date, ADD plain5 int",
        "ADD d6 float8 DEFAULT 1 + random()", "ADD d7 bigint DEFAULT nextval('seq')",
        "ADD COLUMN IF NOT EXISTS \"D 8\" text DEFAULT 'x' || CURRENT_USER",
        "ALTER c TYPE float8 USING c + random()", "ALTER b TYPE timestamptz",
        "ALTER COLUMN b SET DATA TYPE text USING b::text"}) {
    EXPECT_THAT(LogOf(what), AllOf(HasSubstr("warning"), HasSubstr("S\\\".t"), HasSubstr("16/0|"),
                                   HasSubstr("copy the table again")))
        << what;
  }
}

TEST_F(Rewrites, ThatAreTheSameEverywhereAreNot) {
  for (const char* what :
       {"ADD e1 int", "ADD e2 int NOT NULL DEFAULT 7", "ALTER e2 DROP DEFAULT",
        "ADD e3 timestamptz DEFAULT '2000-01-01'", "ADD e4 int GENERATED ALWAYS AS (c + 1) STORED",
        "ADD e5 text DEFAULT upper('x')", "ADD CONSTRAINT k CHECK (c > 0)",
        "ALTER c SET DEFAULT random()", "ALTER e2 ADD GENERATED ALWAYS AS IDENTITY",
        "ALTER e2 TYPE bigint", "ALTER a TYPE int USING a::int",
        "ALTER e2 TYPE int USING abs(e2) * 2",
        "ALTER b TYPE timestamptz USING b AT TIME ZONE 'UTC'", "DROP e3", "SET LOGGED",
        "SET (fillfactor = 50)"}) {
    EXPECT_THAT(LogOf(what), Not(HasSubstr("warning"))) << what;
  }
}

TEST_F(Rewrites, OfDomainsTakeTheirDefaults) {
  Sql("CREATE DOMAIN fresh AS uuid DEFAULT gen_random_uuid(); CREATE DOMAIN fixed AS int DEFAULT "
      "1");
  EXPECT_THAT(LogOf("ADD f1 fresh"), HasSubstr("the new column f1"));
  EXPECT_THAT(LogOf("ADD f2 fixed"), Not(HasSubstr("warning")));
  EXPECT_THAT(LogOf("ADD f3 fresh DEFAULT NULL"), Not(HasSubstr("warning")));
}

TEST_F(Rewrites, OfAnEmptyTableDifferInNothing) {
  Sql("DELETE FROM \"S\".t");
  EXPECT_THAT(LogOf("ADD d uuid DEFAULT gen_random_uuid()"), Not(HasSubstr("warning")));
}

TEST_F(Rewrites, OfAParentAreThoseOfItsPartitions) {
  Sql("CREATE TABLE \"S\".p (a int) PARTITION BY LIST (a); CREATE TABLE \"S\".p1 PARTITION OF "
      "\"S\".p DEFAULT; INSERT INTO \"S\".p VALUES (1)");
  DdlCommand command =
      Command("ALTER TABLE \"S\".p ADD u uuid DEFAULT gen_random_uuid()", "ALTER TABLE");
  // Without a list of objects the name is that of the text.
  command.objects.clear();
  LogText log;
  Repeat(command);
  EXPECT_THAT(log.Take(), HasSubstr("S\\\".p"));
}

TEST_F(Rewrites, RowsOfUnloggedTablesWereNotInTheLog) {
  Sql("ALTER TABLE \"S\".t SET UNLOGGED");
  EXPECT_THAT(LogOf("SET LOGGED"), AllOf(HasSubstr("while it was UNLOGGED"), HasSubstr("copy")));
}

}  // namespace
}  // namespace pgc
