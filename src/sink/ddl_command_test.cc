#include "sink/ddl_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace pgc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = FieldValue::Kind;

constexpr Checkpoint kAt{.lsn = {0x1A}, .seq = 3};

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

// A text[] as PostgreSQL sends it.
std::string BinaryArray(const std::vector<std::string>& texts) {
  if (texts.empty()) return BigEndian(0) + BigEndian(0) + BigEndian(25);
  std::string bytes = BigEndian(1) + BigEndian(0) + BigEndian(25);
  bytes += BigEndian(static_cast<uint32_t>(texts.size())) + BigEndian(1);
  for (const std::string& text : texts) {
    bytes += BigEndian(static_cast<uint32_t>(text.size())) + text;
  }
  return bytes;
}

// A row of the log; its values are views.
class Row {
 public:
  Row() {
    change_.schema = "pgcapture";
    change_.table = "ddl_logs";
  }
  Row& Add(std::string_view column, Kind kind, std::string_view value = {}) {
    change_.new_row.push_back(
        {.name = column,
         .oid = 0,
         .value = {.kind = kind,
                   .bytes = {reinterpret_cast<const uint8_t*>(value.data()), value.size()}}});
    return *this;
  }
  absl::StatusOr<DdlCommand> Parse() const { return ParseDdlCommand(change_, kAt); }
  Change& change() { return change_; }

 private:
  Change change_;
};

TEST(ParseDdlCommand, ReadsEveryColumn) {
  const std::string tags = BinaryArray({"CREATE TABLE", "SELECT"});
  const std::string objects = "\x01[{\"object_type\": \"table\"}]";
  const std::string yes(1, '\1');
  const auto command = Row()
                           .Add("id", Kind::kBinary, "\0\0\0\1")
                           .Add("query", Kind::kBinary, "CREATE TABLE größe ()")
                           .Add("tags", Kind::kBinary, tags)
                           .Add("activity", Kind::kNull)
                           .Add("search_path", Kind::kBinary, "a, \"B\"")
                           .Add("role", Kind::kBinary, "me")
                           .Add("objects", Kind::kBinary, objects)
                           .Add("exact", Kind::kBinary, yes)
                           .Parse();
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->checkpoint, kAt);
  EXPECT_EQ(command->query, "CREATE TABLE größe ()");
  EXPECT_THAT(command->tags, ElementsAre("CREATE TABLE", "SELECT"));
  EXPECT_EQ(command->search_path, "a, \"B\"");
  EXPECT_EQ(command->role, "me");
  EXPECT_EQ(command->objects, "[{\"object_type\": \"table\"}]");
  EXPECT_EQ(command->exact, true);
}

TEST(ParseDdlCommand, TakesTextForTheSame) {
  const auto command = Row()
                           .Add("query", Kind::kText, "DROP TABLE a")
                           .Add("tags", Kind::kText, R"({"DROP TABLE",SELECT,"a\"\\,b"})")
                           .Add("objects", Kind::kText, "[]")
                           .Add("exact", Kind::kText, "f")
                           .Parse();
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_THAT(command->tags, ElementsAre("DROP TABLE", "SELECT", "a\"\\,b"));
  EXPECT_EQ(command->objects, "[]");
  EXPECT_EQ(command->exact, false);
}

TEST(ParseDdlCommand, RowsOfTheFirstVersionHaveLess) {
  const auto command = Row().Add("query", Kind::kNull).Add("tags", Kind::kNull).Parse();
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_FALSE(command->query.has_value());
  EXPECT_THAT(command->tags, IsEmpty());
  EXPECT_FALSE(command->search_path.has_value() || command->role.has_value());
  EXPECT_FALSE(command->exact.has_value());
  EXPECT_EQ(command->objects, "");
}

TEST(ParseDdlCommand, EveryTruncationOfItsTagsIsDataLoss) {
  const std::string tags = BinaryArray({"CREATE TABLE", "SELECT"});
  for (size_t size = 0; size < tags.size(); ++size) {
    const auto command = Row()
                             .Add("query", Kind::kNull)
                             .Add("tags", Kind::kBinary, std::string_view(tags).substr(0, size))
                             .Parse();
    EXPECT_EQ(command.status().code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_THAT(std::string(command.status().message()), HasSubstr("0/1A|3"));
  }
}

TEST(ParseDdlCommand, WhatIsNoRowIsDataLoss) {
  const std::string longer = BinaryArray({"a"}) + "x";
  const std::string huge = BigEndian(1) + BigEndian(0) + BigEndian(25) + BigEndian(0x7FFFFFFF) +
                           BigEndian(1) + BigEndian(0x7FFFFFFF);
  const std::string square = BigEndian(2) + BigEndian(0) + BigEndian(25);
  const std::vector<std::pair<const char*, std::string>> kBad = {
      {"tags", longer}, {"tags", huge}, {"tags", square},  {"objects", "\x02[]"},
      {"objects", ""},  {"exact", ""},  {"exact", "\1\1"},
  };
  for (const auto& [column, value] : kBad) {
    const auto command = Row().Add("query", Kind::kNull).Add(column, Kind::kBinary, value).Parse();
    EXPECT_EQ(command.status().code(), absl::StatusCode::kDataLoss) << column;
  }
  for (const char* tags : {"", "{", "x", "{\"a}"}) {
    const auto command = Row().Add("query", Kind::kNull).Add("tags", Kind::kText, tags).Parse();
    EXPECT_EQ(command.status().code(), absl::StatusCode::kDataLoss) << tags;
  }
  EXPECT_EQ(Row().Parse().status().code(), absl::StatusCode::kDataLoss);
  Row update;
  update.Add("query", Kind::kNull).change().op = Operation::kUpdate;
  EXPECT_EQ(update.Parse().status().code(), absl::StatusCode::kDataLoss);
  Row other;
  other.Add("query", Kind::kNull).change().table = "sources";
  EXPECT_EQ(other.Parse().status().code(), absl::StatusCode::kDataLoss);
}

TEST(ObjectsOf, ReadsWhatIsThere) {
  DdlCommand command;
  EXPECT_THAT(ObjectsOf(command), IsEmpty());
  command.objects =
      R"([{"command_tag": "CREATE TABLE", "object_type": "table", "schema_name": "a",)"
      R"( "object_identity": "a.\"B\""}, {"dropped": true, "object_type": "type",)"
      R"( "schema_name": null, "object_identity": 3}, 7, {"more": 12}])";
  const std::vector<DdlObject> objects = ObjectsOf(command);
  ASSERT_EQ(objects.size(), 2u);
  EXPECT_EQ(objects[0].tag, "CREATE TABLE");
  EXPECT_EQ(objects[0].type, "table");
  EXPECT_EQ(objects[0].schema, "a");
  EXPECT_EQ(objects[0].identity, "a.\"B\"");
  EXPECT_EQ(objects[1].tag + objects[1].schema + objects[1].identity, "");
  for (const char* bad : {"{}", "[", "1", "null", "\xFF"}) {
    command.objects = bad;
    EXPECT_THAT(ObjectsOf(command), IsEmpty()) << bad;
  }
}

}  // namespace
}  // namespace pgc
