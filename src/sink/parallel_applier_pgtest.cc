#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "sink/checkpoint_row.h"
#include "sink/parallel_applier.h"
#include "sink/session.h"
#include "sink/sink_testing.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

using testing::HasSubstr;

// Whether a backend has done what it can ahead, and waits for its turn.
constexpr char kWaitsForItsTurn[] =
    "SELECT count(*) = 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname "
    "= current_database() AND locktype = 'advisory' AND NOT granted";

class ParallelApplierTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    Sql("ALTER DATABASE " + name_ +
        " SET deadlock_timeout = '50ms'; CREATE TABLE t (id int PRIMARY KEY, note text);"
        "INSERT INTO t VALUES (1, 'old'), (2, 'old')");
    NewApplier(4);
  }
  void TearDown() override {
    applier_ = nullptr;
    DatabaseTest::TearDown();
  }
  void NewApplier(size_t connections) {
    applier_ = nullptr;
    std::vector<std::unique_ptr<Connection>> targets;
    for (size_t i = 0; i < connections; ++i) {
      auto target = Connection::Open(server_->Url(name_));
      ASSERT_TRUE(target.ok()) << target.status();
      ASSERT_TRUE(PrepareSession(**target, true, {}).ok());
      targets.push_back(*std::move(target));
    }
    const auto row = ReadCheckpointRow(*targets[0], "log", {});
    ASSERT_TRUE(row.ok()) << row.status();
    applier_ = std::make_unique<ParallelApplier>(
        std::move(targets),
        ParallelApplier::Options{.apply = {.source_id = "log"}, .checkpoint = row->stored},
        std::stop_token());
  }
  // What the log has since the last call, as a unit of its own.
  void Apply() {
    const absl::Status status = applier_->Apply(log_.TakeUnit(), false);
    ASSERT_TRUE(status.ok()) << status;
  }
  void Insert(const std::string& table, int32_t id, const std::string& note) {
    log_.Begin();
    log_.Insert(table, {Int(id), Text(note)});
    log_.Commit();
    Apply();
  }
  void Update(int32_t id, const std::string& note) {
    log_.Begin();
    log_.Update("t", {Int(id), Text(note)});
    log_.Commit();
    Apply();
  }
  std::string IsApplied() {
    return "SELECT commit = '" + ToString(log_.checkpoint().lsn) +
           "' FROM pgcapture.sources WHERE id = 'log'";
  }
  std::string Rows(const std::string& table = "t") {
    return Ask("SELECT x::text FROM " + table + " x ORDER BY x::text");
  }
  // Waits for the error with which it ends.
  absl::Status Failure() {
    Mutex mutex;
    CondVar changed;
    MutexLock lock(mutex);
    changed.WaitUntil(mutex, applier_->ended(), std::chrono::steady_clock::now() + kTestTimeout,
                      [] { return false; });
    return applier_->status();
  }
  std::unique_ptr<Connection> Other(const std::string& sql) {
    auto other = Connection::Open(server_->Url(name_));
    EXPECT_TRUE(other.ok()) << other.status();
    const absl::Status status = (*other)->Execute(sql);
    EXPECT_TRUE(status.ok()) << status;
    return *std::move(other);
  }

  TestLog log_;
  std::unique_ptr<ParallelApplier> applier_;
};

TEST_F(ParallelApplierTest, WhatMeetsNothingIsWrittenAtOnceAndSeenInOrder) {
  const auto other = Other("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
  Update(1, "first");
  Update(2, "second");
  EXPECT_TRUE(Eventually(kWaitsForItsTurn)) << "the second is done but for its commit";
  EXPECT_EQ(Rows(), "(1,old),(2,old)");
  ASSERT_TRUE(other->Execute("COMMIT").ok());
  EXPECT_TRUE(Eventually(IsApplied()));
  EXPECT_EQ(Rows(), "(1,first),(2,second)");
}

TEST_F(ParallelApplierTest, RowsAndCheckpointAreOneForWhoeverLooks) {
  Sql("CREATE TABLE u (id int PRIMARY KEY, note text); CREATE TABLE keyless (id int, note text)");
  const std::string look =
      "SELECT c = (SELECT count(*) FROM keyless) AND c = (SELECT count(*) FROM u) FROM (SELECT "
      "coalesce(commit - '0/1000', 0) / 256 AS c FROM pgcapture.sources) s";
  for (int32_t i = 0; i < 200; ++i) {
    log_.Begin();
    log_.Insert("u", {Int(i), Text("a")});
    log_.Insert("keyless", {Int(i), Text("a")});
    log_.Commit();
    Apply();
    EXPECT_EQ(Ask(look), "t");
  }
  EXPECT_TRUE(Eventually(IsApplied()));
  EXPECT_EQ(Ask(look), "t");
  EXPECT_EQ(applier_->progress().changes, 400U);
  EXPECT_EQ(applier_->progress().checkpoint, log_.checkpoint());
}

TEST_F(ParallelApplierTest, ChangesOfTheSameRowsKeepTheirOrder) {
  Sql("CREATE TABLE keyless (id int, note text); CREATE TABLE uniques (id int PRIMARY KEY, note "
      "text UNIQUE)");
  std::mt19937 random(7);
  std::map<int32_t, std::string> rows{{1, "old"}, {2, "old"}};
  for (int unit = 0; unit < 300; ++unit) {
    log_.Begin();
    for (int i = 0; i < 5; ++i) {
      const auto id = static_cast<int32_t>(random() % 8);
      const auto moved = static_cast<int32_t>(random() % 8);
      const std::string note = std::to_string(unit);
      if (rows.contains(id) && random() % 3 == 0) {
        log_.Delete("t", {Int(id), Absent()});
        rows.erase(id);
      } else if (rows.contains(id) && !rows.contains(moved)) {
        log_.Update("t", {Int(moved), Text(note)}, {Int(id), Absent()});
        rows.erase(id);
        rows[moved] = note;
      } else if (rows.contains(id)) {
        log_.Update("t", {Int(id), Text(note)});
        rows[id] = note;
      } else {
        log_.Insert("t", {Int(id), Text(note)});
        rows[id] = note;
      }
    }
    const std::string same = std::to_string(unit / 2);
    if (unit % 2 == 0) {
      log_.Insert("keyless", {Int(1), Text(same)});
      log_.Insert("uniques", {Int(unit), Text("passed on")});
    } else {
      log_.Delete("keyless", {Int(1), Text(same)});
      log_.Delete("uniques", {Int(unit - 1), Absent()});
    }
    log_.Commit();
    Apply();
  }
  EXPECT_TRUE(Eventually(IsApplied())) << applier_->status();
  std::string expected;
  for (const auto& [id, note] : rows) {
    expected += (expected.empty() ? "(" : ",(") + std::to_string(id) + "," + note + ")";
  }
  EXPECT_EQ(Rows(), expected);
  EXPECT_EQ(Ask("SELECT count(*) FROM keyless"), "0");
  EXPECT_EQ(Ask("SELECT count(*) FROM uniques"), "0");
}

TEST_F(ParallelApplierTest, AConflictIsOneOnlyOnceAllBeforeItIsCommitted) {
  const auto other = Other("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
  Update(1, "first");
  Insert("t", 2, "there already");
  Insert("t", 3, "after it");
  EXPECT_TRUE(
      Eventually("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND "
                 "wait_event_type = 'Lock'"));
  EXPECT_TRUE(applier_->status().ok());
  ASSERT_TRUE(other->Execute("COMMIT").ok());
  const absl::Status status = Failure();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("another row is in its way"));
  applier_ = nullptr;
  EXPECT_EQ(Rows(), "(1,first),(2,old)");
  EXPECT_EQ(Ask("SELECT commit FROM pgcapture.sources"), "0/1100");
}

TEST_F(ParallelApplierTest, ADeadlockAcrossConnectionsIsSeenAndTheUnitsAreAppliedAgain) {
  // The first waits for the other session, that for the second, and the second for the first.
  const auto other = Other("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
  Update(1, "first");
  Update(2, "second");
  ASSERT_TRUE(Eventually(kWaitsForItsTurn));
  const absl::Status status = other->Execute("SELECT FROM t WHERE id = 2 FOR UPDATE");
  EXPECT_TRUE(status.ok() || SqlStateOf(status) == "40P01") << status;
  (void)other->Execute("ROLLBACK");
  EXPECT_TRUE(Eventually(IsApplied())) << applier_->status();
  EXPECT_EQ(Rows(), "(1,first),(2,second)");
  Update(1, "third");
  EXPECT_TRUE(Eventually(IsApplied())) << "and goes on at once";
}

TEST_F(ParallelApplierTest, TablesWithTriggersThatActKeepTheirPlace) {
  Sql("CREATE TABLE seen (n int); CREATE TABLE watched (id int PRIMARY KEY, note text);"
      "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO "
      "public.seen SELECT count(*) FROM public.t; RETURN NEW; END $$;"
      "CREATE TRIGGER note AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION note();"
      "ALTER TABLE watched ENABLE ALWAYS TRIGGER note; DELETE FROM t");
  std::string expected;
  for (int32_t i = 1; i <= 20; ++i) {
    Insert("t", i, "a");
    Insert("watched", i, "a");
    expected += (i > 1 ? "," : "") + std::to_string(i);
  }
  EXPECT_TRUE(Eventually(IsApplied())) << applier_->status();
  EXPECT_EQ(Ask("SELECT n FROM seen ORDER BY n"), expected);
}

TEST_F(ParallelApplierTest, DdlWaitsForWhatIsBeforeItAndIsKnownToAllConnections) {
  for (int32_t i = 10; i < 30; ++i) {
    Insert("t", i, "a");
    if (i % 5 != 0) continue;
    log_.Begin();
    log_.Ddl("ALTER TABLE t ADD COLUMN c" + std::to_string(i) + " int", "ALTER TABLE");
    log_.Commit();
    Apply();
  }
  EXPECT_TRUE(Eventually(IsApplied())) << applier_->status();
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), "22");
}

TEST_F(ParallelApplierTest, WhatAnEarlierSinkCommitsLateIsNotAppliedAgain) {
  Insert("t", 3, "a");
  ASSERT_TRUE(Eventually(IsApplied()));
  Sql("UPDATE pgcapture.sources SET commit = '0/1200'");
  log_.Begin();
  log_.Insert("t", {Int(4), Text("a")});
  log_.Commit();
  ASSERT_TRUE(applier_->Apply(log_.TakeUnit(), false).ok());
  const absl::Status status = Failure();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  applier_ = nullptr;
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), "3");
}

}  // namespace
}  // namespace pgc
