// DDL on the target: every command, and a mix of them while others write.
#include <fmt/format.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "e2e/apply/apply_fixture.h"
#include "sql/statement.h"
#include "testing/environment.h"

namespace pgc {
namespace {

constexpr char kRole[] = "ddl_other";

// Writes into a table whose columns come and go, and into one whose name does, until stopped.
class Writer {
 public:
  Writer(std::string url, int number) : url_(std::move(url)), number_(number) {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }
  // Ends it; how many transactions were committed.
  int Finish() {
    thread_.request_stop();
    thread_.join();
    return committed_;
  }

 private:
  void Run(const std::stop_token& stop) {
    const auto connection = Connection::Open(url_);
    ASSERT_TRUE(connection.ok()) << connection.status();
    for (int i = 0; !stop.stop_requested(); ++i) {
      const int id = number_ * 1'000'000 + i;
      // A table may have gone or changed meanwhile: then the transaction did not happen.
      const absl::Status status = (*connection)->Execute(Statement(i % 6, id));
      if (status.ok()) ++committed_;
      if (!status.ok()) (void)(*connection)->Execute("ROLLBACK");
    }
  }
  static std::string Statement(int kind, int id) {
    switch (kind) {
      case 0:
        return fmt::format("INSERT INTO busy (id, v) VALUES ({}, 'v'), ({}, NULL)", id, -id);
      case 1:
        return fmt::format("UPDATE busy SET v = v || 'x' WHERE id BETWEEN {} AND {}", id - 20, id);
      case 2:
        return fmt::format("INSERT INTO moving VALUES ({}, 'v'), ({}, 'v')", id % 10, id % 10);
      case 3:
        return fmt::format(
            "BEGIN; DELETE FROM busy WHERE id = {}; UPDATE moving SET v = 'w' WHERE id = {} AND v "
            "= 'v'; INSERT INTO busy (id) VALUES ({}); COMMIT",
            id - 3, id % 10, id);
      case 4:
        return fmt::format("UPDATE busy SET id = id + 500000 WHERE id = {}", id - 4);
      default:
        return fmt::format("DELETE FROM moving WHERE id = {} AND v = 'w'", id % 10);
    }
  }

  const std::string url_;
  const int number_;
  std::atomic<int> committed_ = 0;
  std::jthread thread_;
};

// Strings of commands, each of its own; {0} is the number of the round, {1} that of the one before.
const std::vector<const char*>& Round() {
  static const auto& round = *new std::vector<const char*>{
      "CREATE TABLE d{0} (id int PRIMARY KEY, v text)",
      "INSERT INTO d{0} SELECT i, 'v' FROM generate_series(1, 50) i",
      "ALTER TABLE busy ADD COLUMN c{0} int DEFAULT {0}",
      "UPDATE busy SET c{0} = id WHERE id % 3 = 0",
      "CREATE INDEX CONCURRENTLY busy_c{0} ON busy (c{0})",
      "ALTER TABLE busy RENAME COLUMN c{0} TO r{0}",
      "ALTER TABLE busy ALTER r{0} TYPE bigint, ALTER r{0} DROP DEFAULT",
      "UPDATE busy SET r{0} = 5000000000 WHERE id % 5 = 0",
      "ALTER INDEX busy_c{0} RENAME TO busy_r{0}",
      "CREATE TABLE copy{0} AS SELECT id, v FROM busy WHERE id % 2 = 0",
      "SELECT id, v INTO into{0} FROM busy WHERE id % 2 = 1",
      "INSERT INTO copy{0} SELECT id, 'more' FROM into{0}",
      ("BEGIN; CREATE TABLE t{0} (id int PRIMARY KEY); INSERT INTO t{0} VALUES (1); ALTER TABLE "
       "t{0} ADD v text DEFAULT 'd'; UPDATE t{0} SET v = 'u'; CREATE INDEX ON t{0} (v); INSERT "
       "INTO t{0} VALUES (2, 'i'); CREATE TABLE u{0} AS SELECT * FROM t{0}; DROP TABLE t{0}; "
       "COMMIT"),
      "BEGIN; CREATE TABLE never{0} (id int); INSERT INTO never{0} VALUES (1); ROLLBACK",
      "BEGIN",
      "SAVEPOINT s; CREATE TABLE never{0} (id int)",
      "ROLLBACK TO s; CREATE TABLE kept{0} (id int)",
      "INSERT INTO kept{0} VALUES (1); COMMIT",
      ("CREATE TABLE m{0} (id int PRIMARY KEY); INSERT INTO m{0} VALUES (1); ALTER TABLE m{0} ADD "
       "x text DEFAULT 'd'; INSERT INTO m{0} VALUES (2, 'x'); DROP TABLE IF EXISTS m{1}"),
      ("DO $$ BEGIN EXECUTE 'CREATE TABLE done{0} (id int PRIMARY KEY, v text)'; INSERT INTO "
       "done{0} VALUES (1, 'it''s'); EXECUTE 'ALTER TABLE done{0} RENAME v TO w'; END $$"),
      "ALTER TABLE moving RENAME TO moved",
      "ALTER TABLE moved RENAME TO moving",
      "CREATE TYPE e{0} AS ENUM ('a', 'b')",
      "ALTER TABLE d{0} ADD e e{0}, ADD es e{0}[] DEFAULT '{{a}}'",
      "UPDATE d{0} SET e = 'b', es = '{{b,NULL}}' WHERE id < 20",
      "ALTER TYPE e{0} ADD VALUE 'c' BEFORE 'b'",
      "UPDATE d{0} SET e = 'c' WHERE id < 10",
      "ALTER TYPE e{0} RENAME TO f{0}",
      "INSERT INTO d{0} VALUES (1000, 'v', 'c', '{{c,a}}')",
      ("CREATE SCHEMA s{0}; SET search_path = s{0}, public; CREATE TABLE here (id int PRIMARY "
       "KEY); "
       "INSERT INTO here VALUES ({0}); RESET search_path"),
      "SET ROLE ddl_other; CREATE TABLE owned{0} (id int PRIMARY KEY); RESET ROLE",
      "INSERT INTO owned{0} VALUES (1); GRANT SELECT ON owned{0} TO PUBLIC",
      "ALTER TABLE d{0} SET SCHEMA s{0}; UPDATE s{0}.d{0} SET v = 'moved' WHERE id = 3",
      "CREATE VIEW v{0} AS SELECT id FROM busy WHERE id > 0",
      "CREATE MATERIALIZED VIEW mv{0} AS SELECT count(*) FROM busy",
      "REFRESH MATERIALIZED VIEW mv{0}",
      "CREATE FUNCTION f{0}(a int) RETURNS int LANGUAGE sql AS $f$ SELECT a; SELECT a + 1 $f$",
      "COMMENT ON TABLE copy{0} IS 'it''s; a comment'",
      "ALTER TABLE parts ADD COLUMN p{0} int",
      "CREATE TABLE parts{0} PARTITION OF parts FOR VALUES IN ({0})",
      "INSERT INTO parts (id, k) SELECT i, {0} FROM generate_series(1, 10) i",
      "UPDATE parts SET p{0} = id WHERE k = {0}",
      "ALTER TABLE copy{0} REPLICA IDENTITY FULL",
      "DELETE FROM copy{0} WHERE id % 4 = 0",
      "DROP INDEX CONCURRENTLY busy_r{0}",
      "ALTER TABLE busy DROP COLUMN r{0}",
      "DROP TABLE IF EXISTS copy{1}, into{1}",
      "DROP VIEW IF EXISTS v{1}",
      "TRUNCATE into{0}",
  };
  return round;
}

class ApplyDdl : public Apply {
 protected:
  void SetUp() override {
    Apply::SetUp();
    Both(
        fmt::format("DO $$ BEGIN IF to_regrole('{0}') IS NULL THEN CREATE ROLE {0}; END IF; END $$;"
                    "GRANT CREATE ON SCHEMA public TO {0}",
                    kRole));
  }
  void TearDown() override {
    // Roles are of the whole server, and what they own would be in the way of the next test.
    const auto drop = fmt::format("DROP OWNED BY {} CASCADE", kRole);
    Sql(drop);
    OnTarget(drop);
    Apply::TearDown();
  }
  void RunRounds(int rounds) {
    Both(
        "CREATE TABLE busy (id int PRIMARY KEY, v text);"
        "CREATE TABLE moving (id int, v text); ALTER TABLE moving REPLICA IDENTITY FULL;"
        "CREATE TABLE parts (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k)");
    Serve();
    if (HasFatalFailure()) return;
    std::vector<std::unique_ptr<Writer>> writers;
    for (int i = 1; i <= 2; ++i) writers.push_back(std::make_unique<Writer>(source_url(), i));
    for (int round = 1; round <= rounds; ++round) {
      for (const char* command : Round()) Sql(fmt::format(fmt::runtime(command), round, round - 1));
    }
    for (const auto& writer : writers) {
      const int committed = writer->Finish();
      fmt::print("{} transactions beside the commands\n", committed);
      EXPECT_GT(committed, rounds * 10);
    }
    WaitApplied();
  }
};

TEST_F(ApplyDdl, CommandsAndRowsArriveInTheirOrderUnderLoad) {
  RunRounds(static_cast<int>(FromEnvironment("PGCAPTURE_APPLY_ROUNDS", 6)));
  StopAndCompare();
  ExpectEqualSchema();
  EXPECT_EQ(AskTarget("SELECT count(*) > 100 FROM pgcapture.ddl_logs"), "t")
      << "the target's own triggers have logged what was repeated";
}

TEST_F(ApplyDdl, CommandsThatPlainSqlCapturedArriveTheSame) {
  const auto installed =
      Program({"install", "--source", source_url(), "--sql"})->Wait(std::chrono::seconds(30));
  ASSERT_EQ(installed, 0);
  RunRounds(2);
  StopAndCompare();
  ExpectEqualSchema();
}

TEST_F(ApplyDdl, ASavepointRolledBackInAStringDoesNotShiftItsCommands) {
  for (const char* variant : {"--extension", "--sql"}) {
    const auto installed = Program({"install", "--source", source_url(), variant});
    ASSERT_EQ(installed->Wait(std::chrono::seconds(30)), 0) << installed->errors();
    Serve({"--inexact-ddl", "skip"});
    Sql("BEGIN; SAVEPOINT s; CREATE TABLE never (id int); ROLLBACK TO s; CREATE TABLE kept (id "
        "int); "
        "COMMIT");
    WaitApplied();
    if (HasFatalFailure()) return;
    Stop();
    // A command that is not known may be left out, but another must not be taken for it.
    EXPECT_EQ(AskTarget("SELECT to_regclass('never') IS NULL"), "t") << variant;
    Both("DROP TABLE IF EXISTS never, kept");
  }
}

TEST_F(ApplyDdl, EveryCommandMakesTheSameDatabase) {
  std::ifstream file(PGC_SOURCE_DIR "/tests/ddl/commands.sql");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto statements = SplitSql(text);
  ASSERT_TRUE(statements.ok()) << statements.status();
  Serve();
  for (const SqlStatement& statement : *statements) {
    // From here on the list takes down what it has made.
    if (statement.text == "DROP TABLE t4, t5") {
      WaitApplied();
      ExpectEqual();
      ExpectEqualSchema();
    }
    Sql(std::string(statement.text));
  }
  StopAndCompare();
  ExpectEqualSchema();
}

TEST_F(ApplyDdl, IndexesThatAreBuiltConcurrentlyAreBuiltOnce) {
  Both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Serve();
  Sql("INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 1000) i");
  Sql("CREATE INDEX CONCURRENTLY named ON t (v)");
  Sql("CREATE INDEX CONCURRENTLY ON t (v, id)");
  Sql("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_u ON t (id, v)");
  Sql("REINDEX INDEX CONCURRENTLY named");
  Sql("DROP INDEX CONCURRENTLY IF EXISTS nothing");
  Sql("DROP INDEX CONCURRENTLY named");
  Sql("UPDATE t SET v = 'x' WHERE id < 10");
  StopAndCompare();
  ExpectEqualSchema();
  EXPECT_EQ(AskTarget("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), "0");
}

TEST_F(ApplyDdl, ARewriteThatNobodyCanRepeatIsReported) {
  Both("CREATE TABLE random (id int PRIMARY KEY); CREATE TABLE fixed (id int PRIMARY KEY)");
  Serve();
  Sql("INSERT INTO random SELECT generate_series(1, 10); INSERT INTO fixed VALUES (1), (2)");
  Sql("ALTER TABLE random ADD u uuid DEFAULT gen_random_uuid()");
  Sql("ALTER TABLE fixed ADD u text DEFAULT 'fixed'");
  Sql("INSERT INTO random (id) VALUES (11)");
  WaitApplied();
  EXPECT_EQ(Ask("SELECT u FROM random WHERE id = 11"),
            AskTarget("SELECT u FROM random WHERE id = 11"));
  const std::string log = serve().process().errors();
  bool reported = false;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("warning") == std::string::npos) continue;
    if (line.find("random") != std::string::npos) reported = true;
    EXPECT_EQ(line.find("fixed"), std::string::npos) << line;
  }
  EXPECT_TRUE(reported) << log;
  Stop();
}

}  // namespace
}  // namespace pgc
