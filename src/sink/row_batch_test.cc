#include "sink/row_batch.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sink/sink_testing.h"

namespace pgc {
namespace {

using testing::ElementsAre;

// A table (id int4, note text) with the key id.
TargetTable TableOf(bool ordered = false, bool with_key = true) {
  TargetTable table;
  table.schema = "public";
  table.name = "t";
  table.quoted = R"("public"."t")";
  table.columns = {{.name = "id", .type_oid = kInt4Oid, .type = "integer"},
                   {.name = "note", .type_oid = kTextOid, .type = "text"}};
  table.places = {{"id", 0}, {"note", 1}};
  if (with_key) table.key = {0};
  table.ordered = ordered;
  return table;
}

// What is planned for the changes of a log: a text for each run, `-1 ~2=b +3=c`.
class Plan {
 public:
  explicit Plan(TargetTable table) : table_(std::move(table)), batch_(table_) { log_.Begin(); }

  Plan& Insert(int32_t id, TestValue note) {
    log_.Insert("t", {Int(id), std::move(note)});
    return *this;
  }
  Plan& Update(int32_t id, TestValue note) {
    log_.Update("t", {Int(id), std::move(note)});
    return *this;
  }
  Plan& Move(int32_t from, int32_t to, TestValue note) {
    log_.Update("t", {Int(to), std::move(note)}, {Int(from), Absent()});
    return *this;
  }
  Plan& Delete(int32_t id) {
    log_.Delete("t", {Int(id), Absent()});
    return *this;
  }
  Plan& UpdateWhole(const TestRow& before, const TestRow& after) {
    log_.Update("t", after, before);
    return *this;
  }
  Plan& DeleteWhole(const TestRow& row) {
    log_.Delete("t", row);
    return *this;
  }
  std::vector<std::string> Runs() {
    log_.Commit();
    unit_ = log_.TakeUnit();
    Change change;
    Block::Cursor cursor(*unit_.slices[0].block);
    while (cursor.Next()) {
      if (cursor.event().kind != EventKind::kChange) continue;
      EXPECT_TRUE(ParseChange(cursor.event().message, change).ok());
      const absl::Status added = batch_.Add(change, cursor.event().checkpoint);
      EXPECT_TRUE(added.ok()) << added;
    }
    std::vector<std::string> texts;
    for (const RowRun& run : batch_.Plan()) texts.push_back(TextOf(run));
    return texts;
  }

 private:
  std::string Id(uint32_t row) const {
    const auto bytes = batch_.row(row)[0].bytes;
    return bytes.size() == 4 ? std::to_string(static_cast<int>(bytes[3])) : "?";
  }
  std::string Note(uint32_t row) const {
    const FieldValue& note = batch_.row(row)[1];
    if (note.kind == FieldValue::Kind::kAbsent) return "";
    if (note.kind == FieldValue::Kind::kNull) return "=null";
    return fmt::format("={}", std::string_view(reinterpret_cast<const char*>(note.bytes.data()),
                                               note.bytes.size()));
  }
  std::string TextOf(const RowRun& run) const {
    std::string text;
    const auto add = [&text](const std::string& item) { text += (text.empty() ? "" : " ") + item; };
    for (const NetRow& row : run.deletes) add("-" + Id(row.old_row));
    for (const NetRow& row : run.image_deletes) add("-" + Id(row.old_row) + Note(row.old_row));
    for (const NetRow& row : run.updates) add("~" + Id(row.old_row) + Note(row.new_row));
    for (const NetRow& row : run.key_updates) {
      add(Id(row.old_row) + ">" + Id(row.new_row) + Note(row.new_row));
    }
    for (const NetRow& row : run.inserts) add("+" + Id(row.new_row) + Note(row.new_row));
    for (const uint32_t number : run.singles) add(fmt::format("#{}", number));
    return text;
  }

  TargetTable table_;
  TestLog log_;
  LogUnit unit_;
  RowBatch batch_;
};

TEST(RowBatchTest, ChangesOfDifferentRowsAreOneRun) {
  EXPECT_THAT(
      Plan(TableOf()).Insert(1, Text("a")).Update(2, Text("b")).Delete(3).Insert(4, Null()).Runs(),
      ElementsAre("-3 ~2=b +1=a +4=null"));
}

TEST(RowBatchTest, WhatComesOfARowIsItsLastState) {
  EXPECT_THAT(Plan(TableOf()).Insert(1, Text("a")).Update(1, Text("b")).Runs(),
              ElementsAre("+1=b"));
  EXPECT_THAT(Plan(TableOf()).Update(1, Text("a")).Update(1, Text("b")).Runs(),
              ElementsAre("~1=b"));
  EXPECT_THAT(Plan(TableOf()).Update(1, Text("a")).Delete(1).Runs(), ElementsAre("-1"));
  EXPECT_THAT(Plan(TableOf()).Delete(1).Insert(1, Text("a")).Runs(), ElementsAre("-1 +1=a"));
  EXPECT_THAT(Plan(TableOf()).Delete(1).Insert(1, Text("a")).Update(1, Text("b")).Runs(),
              ElementsAre("-1 +1=b"));
  EXPECT_THAT(Plan(TableOf()).Delete(1).Insert(1, Text("a")).Delete(1).Runs(), ElementsAre("-1"));
  EXPECT_THAT(Plan(TableOf()).Insert(1, Text("a")).Delete(1).Insert(1, Text("b")).Runs(),
              ElementsAre("+1=b"));
}

TEST(RowBatchTest, ARowThatCameAndWentLeavesNothing) {
  EXPECT_THAT(Plan(TableOf()).Insert(1, Text("a")).Delete(1).Runs(), ElementsAre(""));
}

TEST(RowBatchTest, AnUnchangedValueStaysWhatTheChangeBeforeMadeIt) {
  EXPECT_THAT(Plan(TableOf()).Insert(1, Text("a")).Update(1, Absent()).Runs(), ElementsAre("+1=a"));
  EXPECT_THAT(Plan(TableOf()).Update(1, Text("a")).Update(1, Absent()).Runs(), ElementsAre("~1=a"));
  EXPECT_THAT(Plan(TableOf()).Update(1, Absent()).Runs(), ElementsAre("~1"));
}

TEST(RowBatchTest, WhatCannotFollowIsLeftForTheTargetToRefuse) {
  EXPECT_THAT(Plan(TableOf()).Insert(1, Text("a")).Insert(1, Text("b")).Runs(),
              ElementsAre("+1=a", "+1=b"));
  EXPECT_THAT(Plan(TableOf()).Delete(1).Update(1, Text("b")).Runs(), ElementsAre("-1", "~1=b"));
}

TEST(RowBatchTest, ChangesOfKeysStandApart) {
  EXPECT_THAT(Plan(TableOf())
                  .Insert(1, Text("a"))
                  .Move(1, 2, Text("b"))
                  .Move(5, 6, Absent())
                  .Update(6, Text("c"))
                  .Runs(),
              ElementsAre("+1=a", "1>2=b 5>6", "~6=c"));
}

TEST(RowBatchTest, AChainOfKeysIsKeptInOrder) {
  EXPECT_THAT(Plan(TableOf()).Move(2, 3, Absent()).Move(1, 2, Absent()).Runs(),
              ElementsAre("2>3", "1>2"));
}

TEST(RowBatchTest, RowsThatAreInEachOthersWayKeepTheirOrder) {
  EXPECT_THAT(Plan(TableOf(true))
                  .Insert(1, Text("a"))
                  .Insert(2, Text("b"))
                  .Delete(1)
                  .Insert(3, Text("a"))
                  .Update(3, Text("x"))
                  .Update(3, Text("y"))
                  .Runs(),
              ElementsAre("+1=a +2=b", "-1", "+3=a", "~3=x", "~3=y"));
}

TEST(RowBatchTest, WithoutAKeyOnlyInsertsAreSets) {
  EXPECT_THAT(Plan(TableOf(false, false))
                  .Insert(1, Null())
                  .Insert(1, Null())
                  .Delete(1)
                  .Insert(2, Null())
                  .Runs(),
              ElementsAre("+1=null +1=null", "#2", "+2=null"));
}

// The table whose rows are found by all of their values.
TargetTable TableOfImages() {
  TargetTable table = TableOf(false, false);
  for (TargetColumn& column : table.columns) column.hash_equals = "OPERATOR(pg_catalog.=)";
  return table;
}

TEST(RowBatchTest, OfRowsWithoutAKeyOnlyTheirNumbersCount) {
  EXPECT_THAT(Plan(TableOfImages())
                  .Insert(1, Text("a"))
                  .DeleteWhole({Int(2), Text("b")})
                  .DeleteWhole({Int(2), Absent()})
                  .DeleteWhole({Int(2), Text("b")})
                  .Runs(),
              ElementsAre("-2=b -2=b -2 +1=a"));
  EXPECT_THAT(Plan(TableOfImages())
                  .UpdateWhole({Int(1), Text("a")}, {Int(2), Text("a")})
                  .UpdateWhole({Int(2), Text("a")}, {Int(3), Null()})
                  .UpdateWhole({Int(3), Absent()}, {Int(4), Absent()})
                  .Runs(),
              ElementsAre("#0 #1 #2"))
      << "a value that is neither in the old row nor in the new one";
  EXPECT_THAT(Plan(TableOfImages())
                  .UpdateWhole({Int(1), Text("a")}, {Int(2), Text("a")})
                  .UpdateWhole({Int(2), Text("a")}, {Int(3), Absent()})
                  .Insert(5, Null())
                  .DeleteWhole({Int(5), Absent()})
                  .Runs(),
              ElementsAre("-1=a +3=a"));
}

TEST(RowBatchTest, RowsWithoutAKeyGoAloneWhereTheTargetHasMoreOrNothingToFindThemBy) {
  TargetTable table = TableOfImages();
  table.columns.push_back({.name = "mine", .type_oid = kTextOid, .type = "text"});
  table.places["mine"] = 2;
  EXPECT_THAT(Plan(table).UpdateWhole({Int(2), Text("b")}, {Int(2), Null()}).Runs(),
              ElementsAre("#0"));
  EXPECT_THAT(Plan(table).DeleteWhole({Int(2), Text("b")}).Runs(), ElementsAre("-2=b"));
  EXPECT_THAT(Plan(TableOfImages()).Insert(1, Null()).DeleteWhole({Absent(), Absent()}).Runs(),
              ElementsAre("+1=null", "#1"));
  table = TableOfImages();
  table.has_triggers = true;
  EXPECT_THAT(Plan(table).Insert(1, Null()).DeleteWhole({Int(2), Text("b")}).Runs(),
              ElementsAre("+1=null", "#1"));
}

TEST(RowBatchTest, AValueInTextIsSentAlone) {
  TestValue text = Text("a");
  text.kind = FieldValue::Kind::kText;
  EXPECT_THAT(Plan(TableOf()).Insert(1, text).Update(2, Null()).Runs(), ElementsAre("#0 #1"));
}

TEST(RowBatchTest, AColumnThatTheTargetDoesNotHaveIsNamed) {
  TargetTable table = TableOf();
  table.places.erase("note");
  RowBatch batch(table);
  TestLog log;
  log.Begin();
  log.Insert("t", {Int(1), Text("a")});
  log.Commit();
  const LogUnit unit = log.TakeUnit();
  Block::Cursor cursor(*unit.slices[0].block);
  cursor.SkipTo(1);
  ASSERT_TRUE(cursor.Next());
  Change change;
  ASSERT_TRUE(ParseChange(cursor.event().message, change).ok());
  const absl::Status status = batch.Add(change, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr(R"("public"."t" has no column "note")"));
}

}  // namespace
}  // namespace pgc
