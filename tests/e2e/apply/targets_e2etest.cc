// Targets that are not quite like their source: other types, settings and encodings, roles with few
// rights, a replica that is a source itself.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <string>

#include "e2e/apply/apply_fixture.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class ApplyTargets : public Apply {
 protected:
  // Waits until the two databases hold the same.
  static void ExpectEventuallyEqual(const std::string& expected, const std::string& actual) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    absl::StatusOr<DatabaseDiff> diff = CompareDatabases(expected, actual);
    while (diff.ok() && !diff->differences.empty() && std::chrono::steady_clock::now() < deadline) {
      diff = CompareDatabases(expected, actual);
    }
    ASSERT_TRUE(diff.ok()) << diff.status();
    EXPECT_EQ(diff->differences, std::vector<std::string>());
  }
};

TEST_F(ApplyTargets, ColumnsOfWiderTypesTakeTheValues) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, n int, f real, v varchar(20), at timestamp, j json);"
      "CREATE TABLE whole (a int, b varchar(20)); ALTER TABLE whole REPLICA IDENTITY FULL");
  OnTarget(
      "CREATE TABLE t (id bigint PRIMARY KEY, n numeric, f float8, v text, at text, j jsonb);"
      "CREATE TABLE whole (a bigint, b text)");
  Serve();
  Sql("INSERT INTO t SELECT i, i, i + 0.5, 'v' || i, '2020-01-01 00:00', '{\"a\": 1}' FROM "
      "generate_series(1, 50) i; INSERT INTO whole SELECT i % 5, 'x' FROM generate_series(1, 50) "
      "i");
  Sql("UPDATE t SET n = -n, v = NULL WHERE id % 2 = 0; UPDATE t SET id = id + 100 WHERE id < 5; "
      "DELETE "
      "FROM t WHERE id = 10; DELETE FROM whole WHERE a = 3; UPDATE whole SET b = NULL WHERE a = 2");
  WaitApplied();
  if (HasFatalFailure()) return;
  Stop();
  for (const char* query :
       {"SELECT string_agg(concat_ws(',', id, n, f, v, at, j->'a'), ' ' ORDER BY "
        "id) FROM t",
        "SELECT string_agg(concat_ws(',', a, b), ' ' ORDER BY a, b) FROM whole"}) {
    EXPECT_EQ(AskTarget(query), Ask(query));
  }
}

TEST_F(ApplyTargets, SettingsOfTheTargetChangeNothing) {
  Both(
      "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, i interval, b bytea, f float8, v text)");
  OnTarget(fmt::format(
      "ALTER DATABASE {0} SET datestyle = 'German'; ALTER DATABASE {0} SET timezone = "
      "'Asia/Kathmandu'; ALTER DATABASE {0} SET intervalstyle = 'iso_8601'; ALTER DATABASE {0} SET "
      "bytea_output = 'escape'; ALTER DATABASE {0} SET extra_float_digits = 0; ALTER DATABASE {0} "
      "SET "
      "standard_conforming_strings = off; ALTER DATABASE {0} SET default_transaction_isolation = "
      "'serializable'; ALTER DATABASE {0} SET default_transaction_read_only = on; ALTER DATABASE "
      "{0} "
      "SET statement_timeout = '20ms'; ALTER DATABASE {0} SET lock_timeout = '20ms'; ALTER "
      "DATABASE "
      "{0} SET idle_in_transaction_session_timeout = '20ms'; ALTER DATABASE {0} SET "
      "default_transaction_deferrable = on; ALTER DATABASE {0} SET client_encoding = 'LATIN1'; "
      "ALTER "
      "DATABASE {0} SET check_function_bodies = on; ALTER DATABASE {0} SET search_path = ''",
      name()));
  Serve();
  Sql("INSERT INTO t SELECT i, '2020-02-03 04:05:06.789+01', '1 mon 2 days 03:04:05', "
      "'\\x00ff5c27', "
      "0.1 + i, 'é\\' || i FROM generate_series(1, 20000) i");
  Sql("UPDATE t SET v = v || '€' WHERE id % 2 = 0");
  Sql("CREATE TABLE later (id int PRIMARY KEY, v text DEFAULT 'a\\b', at timestamptz DEFAULT "
      "'2020-02-03 04:05:06+00'); INSERT INTO later VALUES (1)");
  StopAndCompare();
}

TEST_F(ApplyTargets, AnotherEncodingHoldsTheSameText) {
  const auto admin = Connect(target_->Url("postgres"));
  ASSERT_NE(admin, nullptr);
  const absl::Status made =
      admin->Execute("CREATE DATABASE " + name() +
                     "_latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
  ASSERT_TRUE(made.ok()) << made;
  const std::string url = target_->Url(name() + "_latin");
  const auto latin = Connect(url);
  ASSERT_NE(latin, nullptr);
  const std::string tables =
      "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE whole (v text); ALTER TABLE whole "
      "REPLICA IDENTITY FULL";
  Both(tables);
  const absl::Status same = latin->Execute("CREATE TABLE marker (n bigint PRIMARY KEY); " + tables);
  ASSERT_TRUE(same.ok()) << same;
  Serve({"--replica", url});
  Sql("INSERT INTO t VALUES (1, 'été'), (2, 'x'); INSERT INTO whole VALUES ('é'), ('è'), ('é')");
  Sql("UPDATE t SET v = 'ß' WHERE id = 2; DELETE FROM whole WHERE v = 'è'; UPDATE whole SET v = "
      "'ü'");
  WaitApplied();
  if (HasFatalFailure()) return;
  const auto text = latin->Execute("SET client_encoding = 'UTF8'");
  ASSERT_TRUE(text.ok()) << text;
  const std::string query =
      "SELECT (SELECT string_agg(v, ',' ORDER BY id) FROM t) || (SELECT string_agg(v, ',') FROM "
      "whole)";
  const auto deadline = std::chrono::steady_clock::now() + seconds(30);
  std::string got;
  while (got != "été,ßü,ü" && std::chrono::steady_clock::now() < deadline) {
    const auto rows = latin->Query(query);
    ASSERT_TRUE(rows.ok()) << rows.status();
    got = rows->Text(0, 0);
  }
  EXPECT_EQ(got, "été,ßü,ü") << serve().process().errors();
  StopAndCompare();
}

TEST_F(ApplyTargets, AReplicaIsASourceForTheNext) {
  auto last = PostgresServer::StartOf(ExtensionBin(), {});
  ASSERT_TRUE(last.ok()) << last.status();
  const std::string url = (*last)->Url("postgres");
  const auto last_sql = Connect(url);
  ASSERT_NE(last_sql, nullptr);
  const std::string tables =
      "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE keyless (a int); ALTER TABLE "
      "keyless "
      "REPLICA IDENTITY FULL;";
  Both(tables);
  const absl::Status made =
      last_sql->Execute("CREATE TABLE marker (n bigint PRIMARY KEY); " + tables);
  ASSERT_TRUE(made.ok()) << made;
  ServeProcess second({.program = PGC_BINARY_DIR "/pgcapture",
                       .source = target_url(),
                       .data_dir = folder().path() / "second",
                       .flags = {"--topic", "next", "--replica", url},
                       .wrapper = {}});
  const absl::Status started = second.Start();
  ASSERT_TRUE(started.ok()) << started;
  Serve();
  for (int i = 0; i < 30; ++i) {
    Sql(fmt::format("INSERT INTO t VALUES ({0}, 'v'); INSERT INTO keyless VALUES ({0}), ({0})", i));
  }
  Sql("CREATE TABLE later (id int PRIMARY KEY, v text); INSERT INTO later VALUES (1, 'x')");
  Sql("ALTER TABLE later ADD n int DEFAULT 5; UPDATE later SET v = 'y'; DELETE FROM keyless WHERE "
      "a = "
      "7; CREATE TABLE made AS SELECT * FROM t; TRUNCATE keyless");
  WaitApplied();
  ExpectEqual();
  ExpectEventuallyEqual(source_url(), url);
  EXPECT_FALSE(second.process().WaitForLine("replica stopped", std::chrono::milliseconds(1)))
      << second.process().errors();
  EXPECT_EQ(second.Stop(), 0);
  Stop();
  // It would keep the target's WAL.
  OnTarget("SELECT pg_drop_replication_slot('next')");
}

TEST_F(ApplyTargets, ManyTablesInOneTransaction) {
  std::string create;
  std::string insert;
  std::string update;
  for (int i = 0; i < 500; ++i) {
    create += fmt::format("CREATE TABLE t{} (id int PRIMARY KEY, v text);", i);
    insert += fmt::format("INSERT INTO t{} VALUES (1, 'v'), (2, 'v');", i);
    update += fmt::format("UPDATE t{0} SET v = 'w'; DELETE FROM t{0} WHERE id = 2;", i);
  }
  Both(create);
  Serve();
  Sql(insert + update);
  StopAndCompare();
}

TEST_F(ApplyTargets, ARoleWithFewRightsKeepsWhatItOwns) {
  const std::string role = name() + "_role";
  Both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  OnTarget(
      fmt::format("CREATE ROLE {0} LOGIN; GRANT CREATE ON DATABASE {1} TO {0}; GRANT CREATE, "
                  "USAGE ON SCHEMA public TO {0}; ALTER TABLE t OWNER TO {0}; ALTER TABLE marker "
                  "OWNER TO {0}",
                  role, name()));
  const std::string url = target_->Url(name(), role);
  ServeWithout({"--replica", url});
  EXPECT_THAT(WhyStopped(), HasSubstr("replication-role"));
  Stop();
  ServeWithout({"--replica", url, "--replication-role", "origin", "--ddl-role", "session"});
  Sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i; UPDATE t SET v = 'w' WHERE id < "
      "9");
  Sql("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (1)");
  StopAndCompare();
  EXPECT_EQ(AskTarget("SELECT tableowner FROM pg_tables WHERE tablename = 'later'"), role);
}

}  // namespace
}  // namespace pgc
