#include "sink/change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sink/sink_testing.h"

namespace pgc {
namespace {

std::string_view View(const ChangeField& field) {
  return {reinterpret_cast<const char*>(field.value.bytes.data()), field.value.bytes.size()};
}

// The bytes of the only change in a unit; valid as long as it.
std::span<const uint8_t> OnlyChange(const LogUnit& unit) {
  Block::Cursor cursor(*unit.slices[0].block);
  while (cursor.Next()) {
    if (cursor.event().kind == EventKind::kChange) return cursor.event().message;
  }
  return {};
}

LogUnit OneUpdate() {
  TestLog log;
  log.Begin();
  log.Update("t", {Int(1), Null()}, {Int(2), Text("")});
  log.Commit();
  return log.TakeUnit();
}

TEST(ParseChangeTest, TakesNamesTypesAndValuesApart) {
  const LogUnit unit = OneUpdate();
  Change change;
  ASSERT_TRUE(ParseChange(OnlyChange(unit), change).ok());
  EXPECT_EQ(change.op, Operation::kUpdate);
  EXPECT_EQ(change.schema, "public");
  EXPECT_EQ(change.table, "t");
  ASSERT_EQ(change.new_row.size(), 2U);
  EXPECT_EQ(change.new_row[0].name, "id");
  EXPECT_EQ(change.new_row[0].oid, kInt4Oid);
  EXPECT_EQ(View(change.new_row[0]), Int(1).bytes);
  EXPECT_EQ(change.new_row[1].value.kind, FieldValue::Kind::kNull);
  ASSERT_EQ(change.old_row.size(), 2U);
  EXPECT_EQ(change.old_row[1].value.kind, FieldValue::Kind::kBinary) << "empty is not NULL";
}

TEST(ParseChangeTest, EveryTruncationIsDataLossOrAnotherChange) {
  const LogUnit unit = OneUpdate();
  const auto bytes = OnlyChange(unit);
  Change change;
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseChange(bytes.first(length), change))) << length;
  }
}

TEST(ParseChangeTest, WhatIsNoChangeIsDataLoss) {
  const std::vector<uint8_t> begin{0x0A, 0x02, 0x08, 0x01};
  Change change;
  EXPECT_TRUE(absl::IsDataLoss(ParseChange(begin, change)));
}

TEST(ParseTruncateTest, NamesAllTables) {
  BlockStream stream;
  const TableName tables[] = {{.schema = "a", .name = "b"}, {.schema = "c", .name = "d"}};
  ASSERT_TRUE(
      EncodeTruncate(stream, tables, {.restart_identity = true}, {.lsn = Lsn{1}, .seq = 1}).ok());
  const auto block = stream.Flush();
  Block::Cursor cursor(*block);
  ASSERT_TRUE(cursor.Next());
  const auto truncation = ParseTruncate(cursor.event().message);
  ASSERT_TRUE(truncation.ok()) << truncation.status();
  EXPECT_THAT(truncation->tables, testing::ElementsAreArray(tables));
  EXPECT_TRUE(truncation->restart_identity);
  const auto message = cursor.event().message;
  EXPECT_TRUE(absl::IsDataLoss(ParseTruncate(message.first(message.size() - 1)).status()));
}

TEST(ParseSequencesTest, HasEachPosition) {
  BlockStream stream;
  std::string bytes;
  AppendSequence(bytes, {.schema = "s", .name = "one", .last_value = -5, .is_called = true});
  AppendSequence(bytes, {.schema = "s", .name = "two", .last_value = 1, .is_called = false});
  ASSERT_TRUE(EncodeSequences(stream,
                              {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                              {.lsn = Lsn{1}, .seq = 0})
                  .ok());
  const auto block = stream.Flush();
  Block::Cursor cursor(*block);
  ASSERT_TRUE(cursor.Next());
  const auto positions = ParseSequences(cursor.event().message);
  ASSERT_TRUE(positions.ok()) << positions.status();
  ASSERT_EQ(positions->size(), 2U);
  EXPECT_EQ((*positions)[0].name, "one");
  EXPECT_EQ((*positions)[0].last_value, -5);
  EXPECT_TRUE((*positions)[0].is_called);
  EXPECT_EQ((*positions)[1].last_value, 1);
  EXPECT_FALSE((*positions)[1].is_called);
}

}  // namespace
}  // namespace pgc
