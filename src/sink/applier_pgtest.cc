#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "sink/applier.h"
#include "sink/checkpoint_row.h"
#include "sink/session.h"
#include "sink/sink_testing.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

using testing::HasSubstr;
using testing::Not;

// Units of a made-up log, applied to a real target that has the table t (id, note).
class ApplierTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    Sql("CREATE TABLE t (id int PRIMARY KEY, note text)");
    NewApplier();
  }
  void NewApplier(OnConflict on_conflict = OnConflict::kStop) {
    applier_ = nullptr;
    auto target = Connection::Open(server_->Url(name_));
    ASSERT_TRUE(target.ok()) << target.status();
    target_ = *std::move(target);
    ASSERT_TRUE(PrepareSession(*target_, true, {}).ok());
    const auto row = ReadCheckpointRow(*target_, "log", {});
    ASSERT_TRUE(row.ok()) << row.status();
    applier_ = std::make_unique<Applier>(
        *target_, ApplierOptions{.source_id = "log", .on_conflict = on_conflict},
        std::stop_token());
  }
  // What the log has since the last call.
  absl::Status Apply() { return applier_->Apply(log_.TakeUnit(), true); }
  std::string Rows(const std::string& table = "t") {
    return Ask("SELECT x::text FROM " + table + " x ORDER BY x::text");
  }
  std::string Applied() { return Ask("SELECT commit FROM pgcapture.sources WHERE id = 'log'"); }

  TestLog log_;
  std::unique_ptr<Connection> target_;
  std::unique_ptr<Applier> applier_;
};

TEST_F(ApplierTest, RowsAndCheckpointAreThereTogether) {
  log_.Begin();
  log_.Insert("t", {Int(1), Text("a")});
  log_.Insert("t", {Int(2), Null()});
  log_.Commit();
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(Rows(), "(1,a),(2,)");
  EXPECT_EQ(Applied(), ToString(log_.checkpoint().lsn));
  EXPECT_EQ(Ask("SELECT seq FROM pgcapture.sources"), "3");
  EXPECT_EQ(Ask("SELECT mid FROM pgcapture.sources"), R"(\x0000000000000003)");
  const auto row = ReadCheckpointRow(*target_, "log", {});
  ASSERT_TRUE(row.ok() && row->checkpoint.has_value());
  EXPECT_EQ(*row->checkpoint, log_.checkpoint());
  EXPECT_EQ(row->place, std::string("\0\0\0\0\0\0\0\3", 8));
}

TEST_F(ApplierTest, AValueThatIsNotSentStaysWhatItIs) {
  Sql("INSERT INTO t VALUES (1, 'large')");
  log_.Begin();
  log_.Update("t", {Int(1), Absent()});
  log_.Update("t", {Int(9), Absent()}, {Int(1), Absent()});
  log_.Commit();
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(Rows(), "(9,large)");
}

TEST_F(ApplierTest, WhatASetCannotDoIsDoneRowByRowInOrder) {
  // The second unique index is in the way of the set, though not of its rows one after the other.
  Sql("CREATE UNIQUE INDEX ON t (note); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
  log_.Begin();
  log_.Update("t", {Int(1), Text("c")});
  log_.Update("t", {Int(2), Text("a")});
  log_.Update("t", {Int(1), Text("b")});
  log_.Commit();
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(Rows(), "(1,b),(2,a)");
}

TEST_F(ApplierTest, AConflictStopsWithTableKeyAndPlaceAndChangesNothing) {
  Sql("INSERT INTO t VALUES (2, 'mine')");
  log_.Begin();
  log_.Insert("t", {Int(1), Text("secret")});
  log_.Insert("t", {Int(2), Text("secret")});
  log_.Commit();
  const absl::Status status = Apply();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  const std::string text(status.message());
  EXPECT_THAT(text, HasSubstr(R"("public"."t")"));
  EXPECT_THAT(text, HasSubstr(R"(key: "id")"));
  EXPECT_THAT(text, HasSubstr(ToString(log_.checkpoint().lsn) + "|2"));
  EXPECT_THAT(text, HasSubstr("--on-conflict"));
  EXPECT_THAT(text, Not(HasSubstr("secret")));
  applier_ = nullptr;
  target_ = nullptr;
  EXPECT_EQ(Rows(), "(2,mine)");
  EXPECT_EQ(Applied(), "");
}

TEST_F(ApplierTest, ConflictsAreSkippedOrOverwrittenWhereTheOperatorSaysSo) {
  for (const OnConflict choice : {OnConflict::kSkip, OnConflict::kOverwrite}) {
    NewApplier(choice);
    Sql("TRUNCATE t; INSERT INTO t VALUES (2, 'mine')");
    log_.Begin();
    log_.Insert("t", {Int(1), Text("a")});
    log_.Insert("t", {Int(2), Text("b")});  // exists
    log_.Update("t", {Int(3), Text("c")});  // is missing
    log_.Delete("t", {Int(4), Absent()});   // is missing
    log_.Update("t", {Int(5), Absent()});   // is missing, and is not known whole
    log_.Commit();
    const absl::Status status = Apply();
    if (choice == OnConflict::kSkip) {
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(Rows(), "(1,a),(2,mine)");
      EXPECT_EQ(applier_->progress().conflicts, 4U);
    } else {
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << "a row cannot be made of a part of it";
    }
  }
  NewApplier(OnConflict::kOverwrite);
  Sql("TRUNCATE t; INSERT INTO t VALUES (2, 'mine')");
  log_.Begin();
  log_.Insert("t", {Int(2), Text("b")});
  log_.Update("t", {Int(3), Text("c")});
  log_.Delete("t", {Int(4), Absent()});
  log_.Commit();
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(Rows(), "(2,b),(3,c)");
}

TEST_F(ApplierTest, RowsWithoutAKeyAreFoundByAllOfTheirValuesAsOftenAsOnTheSource) {
  for (const std::string made :
       {"CREATE TABLE k (id int, note text)",
        "CREATE TABLE k (id int, note text); CREATE INDEX ON k (id)",
        "CREATE TABLE k (id int, note text) PARTITION BY LIST (id); CREATE TABLE k1 PARTITION OF k "
        "FOR VALUES IN (1); CREATE TABLE k2 PARTITION OF k DEFAULT",
        "CREATE TABLE k (gone int, id int, note text); ALTER TABLE k DROP COLUMN gone"}) {
    Sql("DROP TABLE IF EXISTS k; " + made);
    Sql("INSERT INTO k VALUES (1, 'a'), (1, 'a'), (1, 'a'), (1, 'A'), (1, NULL), (1, NULL), (NULL, "
        "'a'), (2, 'b'), (3, 'c')");
    NewApplier();
    log_.Begin();
    log_.Delete("k", {Int(1), Text("a")});
    log_.Delete("k", {Int(1), Absent()});
    log_.Delete("k", {Absent(), Text("a")});
    log_.Update("k", {Int(2), Text("a")}, {Int(1), Text("a")});
    log_.Update("k", {Int(5), Null()}, {Int(2), Text("b")});
    log_.Update("k", {Int(6), Absent()}, {Int(3), Text("c")});
    log_.Update("k", {Int(7), Text("c")}, {Int(6), Text("c")});
    log_.Commit();
    const absl::Status status = Apply();
    ASSERT_TRUE(status.ok()) << status << made;
    EXPECT_EQ(Rows("k"), "(1,),(1,A),(1,a),(2,a),(5,),(7,c)") << made;
    const auto sets = target_->Query(
        "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%row_number()%'");
    ASSERT_TRUE(sets.ok()) << sets.status();
    EXPECT_EQ(sets->Int(0, 0), 3) << "found by both columns, or by one of them: " << made;
    log_.Begin();
    log_.Delete("k", {Int(1), Text("a")});
    log_.Delete("k", {Int(1), Text("a")});
    log_.Commit();
    const absl::Status missing = Apply();
    EXPECT_THAT(std::string(missing.message()), HasSubstr("the row is not there")) << made;
  }
}

TEST_F(ApplierTest, ManyRowsWithoutAKeyAreFoundInOneReadOfTheTable) {
  Sql("CREATE TABLE k (id int, note text)");
  log_.Begin();
  for (int32_t i = 0; i < 3000; ++i) log_.Insert("k", {Int(i), Text("a")});
  log_.Commit();
  ASSERT_TRUE(Apply().ok());
  log_.Begin();
  for (int32_t i = 0; i < 2000; ++i) log_.Update("k", {Int(i + 1), Text("b")}, {Int(i), Text("a")});
  log_.Commit();
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(Ask("SELECT count(*) FROM k WHERE note = 'b'"), "2000");
  (void)target_->Execute("SELECT pg_stat_force_next_flush()");
  // Not once for each row; one scan more is this test's own.
  EXPECT_TRUE(Eventually("SELECT n_tup_del = 2000 FROM pg_stat_user_tables WHERE relname = 'k'"));
  EXPECT_EQ(Ask("SELECT seq_scan <= 2 FROM pg_stat_user_tables WHERE relname = 'k'"), "t");
}

TEST_F(ApplierTest, AnUpdateThatFindsNoRowDoesNotPassForOneThatDid) {
  log_.Begin();
  log_.Update("t", {Int(1), Text("a")});
  log_.Commit();
  const absl::Status status = Apply();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the row is not there"));
}

TEST_F(ApplierTest, PartsOfALargeTransactionAreSeenTogetherAtItsEnd) {
  UnitCutter cutter;
  std::vector<LogUnit> units;
  const std::string large(250'000, 'x');
  log_.Begin();
  int32_t id = 0;
  while (units.size() < 3) {
    log_.Insert("t", {Int(++id), Text(large)});
    ASSERT_TRUE(cutter.Add(log_.TakeSlice(), units).ok());
  }
  log_.Commit();
  ASSERT_TRUE(cutter.Add(log_.TakeSlice(), units).ok());
  ASSERT_EQ(units.size(), 4U);
  for (const LogUnit& unit : units) {
    EXPECT_EQ(Ask("SELECT count(*) FROM t"), "0");
    const absl::Status status = applier_->Apply(unit, false);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(applier_->in_transaction(), !unit.complete);
  }
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), std::to_string(id));
  EXPECT_EQ(Applied(), ToString(log_.checkpoint().lsn));
}

TEST_F(ApplierTest, APartThatIsRepeatedRowByRowLeavesTheEarlierPartsAlone) {
  Sql("CREATE TABLE u (id int, note text); CREATE UNIQUE INDEX ON t (note);"
      "INSERT INTO t VALUES (3, 'c'), (4, 'd')");
  UnitCutter cutter;
  std::vector<LogUnit> units;
  const std::string large(250'000, 'x');
  log_.Begin();
  log_.Insert("t", {Int(1), Text("a")});
  while (units.empty()) {
    log_.Insert("u", {Int(1), Text(large)});
    ASSERT_TRUE(cutter.Add(log_.TakeSlice(), units).ok());
  }
  log_.Update("t", {Int(3), Text("e")});
  log_.Update("t", {Int(4), Text("c")});
  log_.Update("t", {Int(3), Text("d")});
  log_.Commit();
  ASSERT_TRUE(cutter.Add(log_.TakeSlice(), units).ok());
  ASSERT_EQ(units.size(), 2U);
  for (const LogUnit& unit : units) {
    const absl::Status status = applier_->Apply(unit, false);
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(Rows(), "(1,a),(3,d),(4,c)");
}

TEST_F(ApplierTest, SequencesGetTheirPositions) {
  Sql(R"(CREATE SCHEMA "S"; CREATE SEQUENCE "S"."one")");
  BlockStream stream;
  std::string positions;
  AppendSequence(positions, {.schema = "S", .name = "one", .last_value = 41, .is_called = true});
  AppendSequence(positions, {.schema = "S", .name = "gone", .last_value = 1, .is_called = true});
  ASSERT_TRUE(EncodeSequences(
                  stream, {reinterpret_cast<const uint8_t*>(positions.data()), positions.size()},
                  {.lsn = Lsn{5}, .seq = 0})
                  .ok());
  const auto block = stream.Flush();
  UnitCutter cutter;
  std::vector<LogUnit> units;
  ASSERT_TRUE(cutter.Add({.block = block, .begin = 0, .end = 1}, units).ok());
  ASSERT_EQ(units.size(), 1U);
  const absl::Status status = applier_->Apply(units[0], false);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Ask(R"(SELECT nextval('"S"."one"'))"), "42");
  EXPECT_EQ(Applied(), "") << "it is no transaction";
}

TEST_F(ApplierTest, AMissingTableIsNamed) {
  log_.Begin();
  log_.Insert("nowhere", {Int(1), Null()});
  log_.Commit();
  const absl::Status status = Apply();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(R"("public"."nowhere")"));
}

TEST_F(ApplierTest, RowsOfAnExtensionsScriptAreMadeByTheScript) {
  log_.Begin();
  log_.Insert("config", {Int(1), Text("a")});
  log_.Ddl("CREATE TABLE config (id int, note text)", "CREATE TABLE");
  log_.Ddl("ALTER EXTENSION plpgsql ADD TABLE config", "ALTER EXTENSION");
  log_.Insert("config", {Int(2), Text("b")});
  log_.Commit();
  const absl::Status status = Apply();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Rows("config"), "(2,b)");
}

TEST_F(ApplierTest, RowsOfATableThatComesTooLateAreNotPassedOver) {
  log_.Begin();
  log_.Insert("late", {Int(1), Text("a")});
  log_.Ddl("CREATE TABLE late (id int, note text)", "CREATE TABLE");
  log_.Commit();
  const absl::Status status = Apply();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(R"("public"."late")"));
}

TEST_F(ApplierTest, ACommandAndTheRowsAroundItAreOneTransaction) {
  log_.Begin();
  log_.Insert("t", {Int(1), Text("a")});
  log_.Ddl("CREATE TABLE made AS SELECT * FROM t", "CREATE TABLE AS");
  log_.Insert("made", {Int(1), Text("from the log")});
  log_.Insert("t", {Int(2), Text("b")});
  log_.Commit();
  const absl::Status status = Apply();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Rows(), "(1,a),(2,b)");
  EXPECT_EQ(Rows("made"), R"((1,"from the log"))");
}

TEST_F(ApplierTest, ACommandThatFailsTakesTheRowsBeforeItAlong) {
  log_.Begin();
  log_.Insert("t", {Int(1), Text("a")});
  log_.Ddl("ALTER TABLE nowhere ADD COLUMN x int", "ALTER TABLE");
  log_.Commit();
  const absl::Status status = Apply();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--skip-lsn"));
  applier_ = nullptr;
  target_ = nullptr;
  EXPECT_EQ(Rows(), "");
}

TEST_F(ApplierTest, ATableThatOthersChangeIsReadAgain) {
  log_.Begin();
  log_.Insert("t", {Int(1), Text("a")});
  log_.Commit();
  ASSERT_TRUE(Apply().ok());
  Sql("ALTER TABLE t ADD COLUMN mine text DEFAULT 'x'");
  log_.Begin();
  log_.Insert("t", {Int(2), Text("b")});
  log_.Commit();
  const absl::Status status = Apply();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Rows(), "(1,a,x),(2,b,x)");
}

TEST_F(ApplierTest, AConnectionThatIsGoneIsUnavailable) {
  Sql("SELECT pg_terminate_backend(" + std::to_string(target_->backend_pid()) + ")");
  log_.Begin();
  log_.Insert("t", {Int(1), Text("a")});
  log_.Commit();
  const absl::Status status = Apply();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

}  // namespace
}  // namespace pgc
