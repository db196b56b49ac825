#include "sink/ddl_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgc {
namespace {

using ::testing::ElementsAre;
using Fate = DdlPlan::Fate;

DdlCommand Exact(std::string query, std::string tag, std::string objects = "[]") {
  DdlCommand command;
  command.query = std::move(query);
  command.tags = {std::move(tag)};
  command.objects = std::move(objects);
  command.exact = true;
  return command;
}

DdlCommand Inexact(std::string query, std::string tag) {
  DdlCommand command = Exact(std::move(query), std::move(tag));
  command.exact = false;
  return command;
}

DdlCommand OfVersion01(std::string query) {
  DdlCommand command;
  command.query = std::move(query);
  return command;
}

Fate FateOf(const DdlCommand& command) {
  const auto plan = PlanDdl(command);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? plan->fate : Fate::kMixed;
}

std::vector<std::string> Steps(const DdlCommand& command) {
  std::vector<std::string> steps;
  const auto plan = PlanDdl(command);
  if (!plan.ok()) return {"ERROR " + std::string(plan.status().message())};
  for (const DdlStep& step : plan->steps) steps.push_back(step.sql);
  return steps;
}

TEST(PlanDdl, WhatIsOfPgcaptureIsLeftAlone) {
  for (const char* sql :
       {"CREATE EXTENSION pgcapture", "CREATE EXTENSION IF NOT EXISTS \"pgcapture\" SCHEMA x",
        "ALTER EXTENSION PgCapture UPDATE TO '0.2'", "DROP EXTENSION IF EXISTS pgcapture CASCADE",
        "CREATE SCHEMA IF NOT EXISTS pgcapture", "CREATE SCHEMA AUTHORIZATION pgcapture",
        "DROP SCHEMA U&\"pgc\\0061pture\" CASCADE", "ALTER SCHEMA pgcapture OWNER TO x",
        "CREATE TABLE pgcapture.sources (id text)", "CREATE TABLE \"pgcapture\" . x AS SELECT 1",
        "CREATE INDEX ON pgcapture.sources (id)", "GRANT SELECT ON pgcapture.ddl_logs TO x",
        "GRANT USAGE ON SCHEMA pgcapture TO x", "COMMENT ON EXTENSION pgcapture IS NULL",
        "REVOKE ALL ON ALL TABLES IN SCHEMA pgcapture FROM x",
        "CREATE OR REPLACE FUNCTION pgcapture.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"}) {
    EXPECT_EQ(FateOf(Exact(sql, "X")), Fate::kOwn) << sql;
    EXPECT_EQ(FateOf(OfVersion01(sql)), Fate::kNothing) << sql;
  }
  EXPECT_EQ(FateOf(Exact("ALTER TABLE sources ADD a int", "ALTER TABLE",
                         R"([{"command_tag": "ALTER TABLE", "object_type": "table",)"
                         R"( "schema_name": "pgcapture", "object_identity": "x"}])")),
            Fate::kOwn);
}

TEST(PlanDdl, WhatOnlyLooksLikePgcaptureIsRun) {
  for (const char* sql :
       {"CREATE SCHEMA \"PgCapture\"", "CREATE EXTENSION pgcapture2",
        "CREATE TABLE pgcapture (a int)", "DROP TABLE x.pgcapture",
        "CREATE TABLE public.pgcapture AS SELECT 1", "COMMENT ON TABLE a IS 'pgcapture.sources'",
        "GRANT SELECT ON a TO pgcapture", "ALTER TABLE a OWNER TO pgcapture",
        "CREATE VIEW v AS SELECT * FROM pgcapture.sources", "DROP TABLE pgcapture.a, public.b"}) {
    EXPECT_EQ(FateOf(Exact(sql, "X")), Fate::kRun) << sql;
  }
  EXPECT_EQ(FateOf(Exact("DROP TABLE a, b", "DROP TABLE",
                         R"([{"dropped": true, "object_type": "table", "schema_name": "pgcapture",)"
                         R"( "object_identity": "x"}, {"dropped": true, "object_type": "table",)"
                         R"( "schema_name": "public", "object_identity": "y"}])")),
            Fate::kRun);
}

TEST(PlanDdl, NeverDropsPgcaptureWithOthers) {
  EXPECT_EQ(FateOf(Exact("DROP SCHEMA a, pgcapture", "DROP SCHEMA")), Fate::kMixed);
  EXPECT_EQ(FateOf(Exact("DROP EXTENSION hstore, pgcapture", "DROP EXTENSION")), Fate::kMixed);
  EXPECT_EQ(FateOf(OfVersion01("SELECT 1; DROP SCHEMA a, pgcapture")), Fate::kMixed);
}

TEST(PlanDdl, WhatACopyHasNoUseForIsNothing) {
  for (const char* sql : {"REFRESH MATERIALIZED VIEW CONCURRENTLY m", "CREATE PUBLICATION p",
                          "DROP SUBSCRIPTION s", "COMMENT ON PUBLICATION p IS 'x'"}) {
    EXPECT_EQ(FateOf(Exact(sql, "X")), Fate::kNothing) << sql;
  }
  DdlCommand refresh = Inexact("", "REFRESH MATERIALIZED VIEW");
  refresh.query.reset();
  EXPECT_EQ(FateOf(refresh), Fate::kNothing);
  EXPECT_EQ(FateOf(Exact("REINDEX TABLE t", "REINDEX")), Fate::kReindex);
  EXPECT_EQ(FateOf(Exact("COMMENT ON LARGE OBJECT 1 IS 'x'", "COMMENT")), Fate::kLargeObjects);
}

TEST(PlanDdl, ARowWithoutTextIsNothingOnlyWhereNothingIsLogged) {
  DdlCommand nothing;
  EXPECT_EQ(FateOf(nothing), Fate::kNothing);
  nothing.tags = {"CREATE TABLE"};
  EXPECT_EQ(FateOf(nothing), Fate::kNothing);
  nothing.exact = false;
  EXPECT_EQ(FateOf(nothing), Fate::kUnknown);
  nothing.query = "";
  EXPECT_EQ(FateOf(nothing), Fate::kUnknown);
  // The library of version 0.1 under the catalog of 0.2.
  nothing.tags.clear();
  EXPECT_EQ(FateOf(nothing), Fate::kNothing);
}

TEST(PlanDdl, RunsACommandAsItIs) {
  for (const char* sql :
       {"CREATE TABLE -- a; b\n größe (\"Ä\" int DEFAULT 1)",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "CREATE MATERIALIZED VIEW m AS SELECT 1", "DROP TABLE t", "DO NOT KNOW THIS"}) {
    EXPECT_THAT(Steps(Exact(sql, "X")), ElementsAre(sql));
  }
}

TEST(PlanDdl, WritesAnewWhatACopyRunsOtherwise) {
  EXPECT_THAT(Steps(Exact("CREATE TABLE a AS SELECT 1", "CREATE TABLE AS")),
              ElementsAre("CREATE TABLE a AS SELECT 1 WITH NO DATA"));
  EXPECT_THAT(Steps(Exact("SELECT 1 AS x INTO a", "SELECT")),
              ElementsAre("CREATE TABLE a AS SELECT 1 AS x WITH NO DATA"));
  EXPECT_THAT(Steps(Exact("DROP INDEX a", "DROP INDEX")), ElementsAre("DROP INDEX IF EXISTS a"));
  EXPECT_THAT(Steps(Exact("CREATE INDEX ON s.t (a)", "CREATE INDEX",
                          R"([{"command_tag": "CREATE INDEX", "object_type": "index",)"
                          R"( "schema_name": "s", "object_identity": "s.\"T_a\""}])")),
              ElementsAre("CREATE INDEX \"T_a\" ON s.t (a)"));
}

TEST(PlanDdl, KnowsWhatRunsAlone) {
  const auto plan = PlanDdl(Exact("CREATE INDEX CONCURRENTLY i ON s.t (a)", "CREATE INDEX"));
  ASSERT_TRUE(plan.ok() && plan->steps.size() == 1u);
  EXPECT_EQ(plan->steps[0].kind, DdlStep::Kind::kCreateIndexAlone);
  EXPECT_EQ(plan->steps[0].relation, "\"i\"");
  EXPECT_EQ(plan->steps[0].table, "\"s\".\"t\"");
  for (const char* sql : {"ALTER TABLE p DETACH PARTITION q CONCURRENTLY",
                          "ALTER TABLE p DETACH PARTITION q FINALIZE"}) {
    const auto detach = PlanDdl(Exact(sql, "ALTER TABLE"));
    ASSERT_TRUE(detach.ok() && detach->steps.size() == 1u);
    EXPECT_EQ(detach->steps[0].kind, DdlStep::Kind::kDetachAlone);
    EXPECT_EQ(detach->steps[0].sql, "ALTER TABLE \"p\" DETACH PARTITION \"q\" ");
  }
  const auto drop = PlanDdl(Exact("DROP INDEX CONCURRENTLY i", "DROP INDEX"));
  ASSERT_TRUE(drop.ok() && drop->steps.size() == 1u);
  EXPECT_EQ(drop->steps[0].kind, DdlStep::Kind::kDropIndexAlone);
  const auto plain = PlanDdl(Exact("DROP INDEX \"concurrently\"", "DROP INDEX"));
  ASSERT_TRUE(plain.ok() && plain->steps.size() == 1u);
  EXPECT_EQ(plain->steps[0].kind, DdlStep::Kind::kPlain);
}

TEST(PlanDdl, OfAStringTakesItsDdlAndWhereItLooksNamesUp) {
  const DdlCommand command = OfVersion01(
      "BEGIN; SET search_path = a; SET SESSION ROLE \"R\"; SET LOCAL work_mem = 1; CREATE TABLE t "
      "();"
      "INSERT INTO t DEFAULT VALUES; CREATE TEMP TABLE u (); CREATE ROLE x; SELECT 1 AS one INTO v;"
      "CREATE EXTENSION pgcapture; REFRESH MATERIALIZED VIEW m; GRANT CONNECT ON DATABASE d TO x;"
      "COMMIT");
  EXPECT_THAT(Steps(command),
              ElementsAre("SET LOCAL search_path = a", "SET LOCAL ROLE \"R\"", "CREATE TABLE t ()",
                          "CREATE TABLE v AS SELECT 1 AS one WITH NO DATA"));
  const auto plan = PlanDdl(command);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->exact);
  EXPECT_THAT(plan->left_out, ElementsAre("BEGIN", "SET", "INSERT", "CREATE TABLE", "CREATE ROLE",
                                          "REFRESH MATERIALIZED VIEW", "GRANT", "COMMIT"));
}

TEST(PlanDdl, InTheFirstVersionASingleStatementIsTheCommand) {
  const auto plan = PlanDdl(OfVersion01("CREATE TABLE t ()"));
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->exact);
  EXPECT_FALSE(PlanDdl(OfVersion01("CREATE TABLE t (); DROP TABLE t"))->exact);
  // It calls a function that runs a command.
  EXPECT_EQ(FateOf(OfVersion01("SELECT f()")), Fate::kUnknown);
  EXPECT_EQ(FateOf(OfVersion01("CREATE TABLE t ('open")), Fate::kUnknown);
}

TEST(PlanDdl, ATextWithoutTheCommandOfItsTagIsUnknown) {
  EXPECT_EQ(FateOf(Inexact("SELECT f(); DROP TABLE b", "CREATE TABLE")), Fate::kUnknown);
  EXPECT_EQ(FateOf(Inexact("SELECT f(); CREATE TABLE b ()", "CREATE TABLE")), Fate::kRun);
  EXPECT_EQ(FateOf(Inexact("SELECT 1 INTO b; SELECT 2", "SELECT")), Fate::kRun);
}

TEST(PlanDdl, ReadsNoTextThatIsTooLong) {
  DdlCommand command = Exact(std::string(kMaxDdlBytes + 1, ' '), "COMMENT");
  EXPECT_EQ(PlanDdl(command).status().code(), absl::StatusCode::kFailedPrecondition);
  command.query->pop_back();
  EXPECT_TRUE(PlanDdl(command).ok());
}

TEST(PlanDdl, APreparedStatementIsOnlyOfItsSession) {
  const auto plan = PlanDdl(Exact("CREATE TABLE t AS EXECUTE p", "CREATE TABLE AS"));
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PlanDdl, ARoleOfTheSessionIsNobodyHere) {
  for (const char* sql :
       {"DROP OWNED BY SESSION_USER", "DROP OWNED BY a, session_user CASCADE",
        "ALTER TABLE t OWNER TO SESSION_USER", "GRANT SELECT ON t TO SESSION_USER",
        "CREATE SCHEMA AUTHORIZATION SESSION_USER"}) {
    EXPECT_EQ(PlanDdl(Exact(sql, "X")).status().code(), absl::StatusCode::kFailedPrecondition)
        << sql;
  }
  const auto of_role = [](const char* sql) {
    const auto plan = PlanDdl(Exact(sql, "X"));
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() && plan->steps.size() == 1 && plan->steps[0].of_role;
  };
  EXPECT_TRUE(of_role("DROP OWNED BY CURRENT_USER"));
  EXPECT_TRUE(of_role("REVOKE ALL ON t FROM a, CURRENT_ROLE"));
  EXPECT_TRUE(of_role("CREATE USER MAPPING FOR USER SERVER s"));
  EXPECT_FALSE(
      of_role("CREATE TABLE t (a text DEFAULT SESSION_USER, b text DEFAULT CURRENT_USER)"));
  EXPECT_FALSE(of_role("GRANT SELECT ON t TO \"CURRENT_USER\""));
}

}  // namespace
}  // namespace pgc
