#include "source/ddl_rows.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgc {
namespace {

using Kind = FieldValue::Kind;

std::string Word(size_t value) {
  std::string bytes(4, '\0');
  for (size_t i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (24 - 8 * i));
  return bytes;
}

// A text[] of one element, as PostgreSQL sends it.
std::string ArrayOfOne(const std::string& text) {
  return Word(1) + Word(0) + Word(25) + Word(1) + Word(1) + Word(text.size()) + text;
}

// A row as the plain-SQL capture writes it, and what becomes of it.
class DdlRowsTest : public testing::Test {
 protected:
  struct Outcome {
    std::string query;
    bool exact = false;
    bool emitted = false;
  };
  Outcome Take(const std::string& string, const std::string& tag, const std::string& activity) {
    const std::string tags = ArrayOfOne(tag);
    const std::string json = std::string(1, '\1') + activity;
    const std::string inexact(1, '\0');
    std::vector<FieldValue> row = {Value(Word(1)), Value(string), Value(tags), Value(json),
                                   Value(inexact)};
    Outcome outcome;
    outcome.emitted = rows_.Take(columns_, row);
    outcome.query.assign(reinterpret_cast<const char*>(row[1].bytes.data()), row[1].bytes.size());
    outcome.exact = row[4].bytes[0] == 1;
    return outcome;
  }
  static FieldValue Value(const std::string& bytes, Kind kind = Kind::kBinary) {
    return {.kind = kind, .bytes = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}};
  }
  static std::string Nth(int nth) {
    return R"({"nth": )" + std::to_string(nth) + R"(, "usename": "u"})";
  }

  const std::vector<std::string> columns_ = {"id", "query", "tags", "activity", "exact"};
  DdlRows rows_;
};

TEST_F(DdlRowsTest, TakesTheCommandOutOfTheString) {
  const std::string string =
      "CREATE TABLE a (i int); INSERT INTO a VALUES (1); CREATE TABLE b (i int) ;DROP TABLE a";
  const Outcome a = Take(string, "CREATE TABLE", Nth(1));
  EXPECT_EQ(a.query, "CREATE TABLE a (i int)");
  EXPECT_TRUE(a.exact);
  EXPECT_TRUE(a.emitted);
  EXPECT_EQ(Take(string, "CREATE TABLE", Nth(2)).query, "CREATE TABLE b (i int)");
  EXPECT_EQ(Take(string, "DROP TABLE", Nth(1)).query, "DROP TABLE a");
  EXPECT_EQ(Take("DROP TABLE b", "DROP TABLE", Nth(1)).query, "DROP TABLE b");
}

TEST_F(DdlRowsTest, PassesOverCommandsForWhichNoTriggerFires) {
  const std::string string =
      "GRANT CONNECT ON DATABASE d TO u; GRANT SELECT ON t TO u; COMMENT ON ROLE r IS 'x';"
      "COMMENT ON TABLE t IS 'y'";
  EXPECT_EQ(Take(string, "GRANT", Nth(1)).query, "GRANT SELECT ON t TO u");
  EXPECT_EQ(Take(string, "COMMENT", Nth(1)).query, "COMMENT ON TABLE t IS 'y'");
}

TEST_F(DdlRowsTest, WhatIsNotInTheStringStaysInexact) {
  const std::string string = "EXECUTE p; DROP TABLE a";
  const Outcome made = Take(string, "CREATE TABLE AS", Nth(1));
  EXPECT_EQ(made.query, string);
  EXPECT_FALSE(made.exact);
  EXPECT_TRUE(made.emitted);
  EXPECT_FALSE(Take(string, "DROP TABLE", Nth(2)).exact);
  EXPECT_FALSE(Take("SELECT 'open", "SELECT INTO", Nth(1)).exact);
}

TEST_F(DdlRowsTest, WhereCommandsWereUndoneOnlyTheOnlyOneIsKnown) {
  const std::string string = "BEGIN; CREATE TABLE a (i int); ROLLBACK TO s; CREATE TABLE b (i int)";
  const Outcome either = Take(string, "CREATE TABLE", R"({"nth": 1})");
  EXPECT_FALSE(either.exact);
  EXPECT_EQ(either.query, string);
  EXPECT_TRUE(Take("ABORT; CREATE TABLE b (i int)", "CREATE TABLE", R"({"nth": 1})").exact);
}

TEST_F(DdlRowsTest, ATemporaryTableOfAQueryIsNoEvent) {
  EXPECT_FALSE(Take("CREATE TEMP TABLE t AS SELECT 1", "CREATE TABLE AS", Nth(1)).emitted);
  EXPECT_TRUE(Take("CREATE TABLE t AS SELECT 1", "CREATE TABLE AS", Nth(1)).emitted);
}

TEST_F(DdlRowsTest, LeavesRowsOfTheExtensionAsTheyAre) {
  const std::string string = "CREATE TABLE a (i int); DROP TABLE a";
  const Outcome row = Take(string, "DROP TABLE", R"({"application_name": "\"nth\": 1"})");
  EXPECT_EQ(row.query, string);
  EXPECT_FALSE(row.exact);
  // A catalog of version 0.1 has no column `exact`.
  const std::string tags = ArrayOfOne("DROP TABLE");
  std::vector<FieldValue> old = {Value(string), Value(tags)};
  EXPECT_TRUE(rows_.Take(std::vector<std::string>{"query", "tags"}, old));
  EXPECT_EQ(old[0].bytes.size(), string.size());
}

TEST_F(DdlRowsTest, TakesValuesThatComeAsText) {
  const std::string string = "DROP TABLE a; CREATE TABLE b (i int)";
  const std::string tags = R"({"CREATE TABLE"})";
  const std::string activity = Nth(1);
  const std::string exact = "f";
  std::vector<FieldValue> row = {Value("1", Kind::kText), Value(string, Kind::kText),
                                 Value(tags, Kind::kText), Value(activity, Kind::kText),
                                 Value(exact, Kind::kText)};
  EXPECT_TRUE(rows_.Take(columns_, row));
  EXPECT_EQ(std::string(row[1].bytes.begin(), row[1].bytes.end()), "CREATE TABLE b (i int)");
  EXPECT_EQ(row[4].bytes[0], 't');
}

TEST_F(DdlRowsTest, NullsAndDamagedArraysAreLeftAlone) {
  std::vector<FieldValue> nulls(5);
  EXPECT_TRUE(rows_.Take(columns_, nulls));
  const std::string cut = ArrayOfOne("DROP TABLE").substr(0, 22);
  const std::string query = "DROP TABLE a";
  const std::string activity = Nth(1);
  const std::string inexact(1, '\0');
  std::vector<FieldValue> row = {Value(Word(1)), Value(query), Value(cut), Value(activity),
                                 Value(inexact)};
  EXPECT_TRUE(rows_.Take(columns_, row));
  EXPECT_EQ(row[4].bytes[0], 0);
}

}  // namespace
}  // namespace pgc
