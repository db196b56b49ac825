#include "sql/alter_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sql/tokens.h"

namespace pgc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

AlterTable Parsed(std::string_view sql) {
  const auto tokens = Tokenize(sql);
  EXPECT_TRUE(tokens.ok()) << tokens.status();
  const auto parsed = ParseAlterTable(*tokens);
  EXPECT_TRUE(parsed.has_value()) << sql;
  return parsed.value_or(AlterTable{});
}

TEST(ParseAlterTable, FindsTheColumnsThatAreAdded) {
  const AlterTable parsed = Parsed(
      "ALTER TABLE IF EXISTS ONLY s.\"T\" ADD a int DEFAULT f(1, 2), ADD COLUMN IF NOT EXISTS "
      "\"B, b\" uuid DEFAULT (ARRAY[1, 2])[1], ADD CONSTRAINT c CHECK (a > 0), ADD CHECK (a < 9), "
      "ADD PRIMARY KEY (a), ADD NOT NULL a, ADD COLUMN \"check\" serial, ALTER a SET DEFAULT 1");
  EXPECT_THAT(parsed.table, ElementsAre("s", "T"));
  EXPECT_THAT(parsed.added, ElementsAre("a", "B, b", "check"));
  EXPECT_THAT(parsed.retyped, IsEmpty());
}

TEST(ParseAlterTable, FindsTheColumnsOfAnotherType) {
  const AlterTable parsed = Parsed(
      "ALTER TABLE ONLY (t) ALTER a TYPE int, ALTER COLUMN b SET DATA TYPE numeric(10, 2) USING "
      "round(b, s.F(1)) + \"G\"(2), ALTER c TYPE date USING CURRENT_DATE, ALTER d TYPE text USING "
      "d::text, ALTER e TYPE timestamptz USING e::timestamp AT TIME ZONE 'UTC', ALTER f DROP NOT "
      "NULL, ALTER type SET NOT NULL");
  EXPECT_THAT(parsed.table, ElementsAre("t"));
  ASSERT_EQ(parsed.retyped.size(), 5u);
  EXPECT_EQ(parsed.retyped[0].column, "a");
  EXPECT_THAT(parsed.retyped[0].functions, IsEmpty());
  EXPECT_TRUE(parsed.retyped[0].converts);
  EXPECT_EQ(parsed.retyped[1].column, "b");
  EXPECT_THAT(parsed.retyped[1].functions, ElementsAre("round", "f", "G"));
  EXPECT_FALSE(parsed.retyped[1].converts);
  EXPECT_THAT(parsed.retyped[2].functions, ElementsAre("current_date"));
  EXPECT_TRUE(parsed.retyped[3].converts);
  EXPECT_FALSE(parsed.retyped[4].converts);
}

TEST(ParseAlterTable, FindsWhatBecomesOfPartitionsAndLogging) {
  const AlterTable concurrently = Parsed("alter table a.p detach partition b.\"Q\" concurrently");
  EXPECT_THAT(concurrently.detached, ElementsAre("b", "Q"));
  EXPECT_TRUE(concurrently.concurrently);
  EXPECT_FALSE(concurrently.finalize);
  EXPECT_TRUE(Parsed("ALTER TABLE p DETACH PARTITION q FINALIZE").finalize);
  const AlterTable plain = Parsed("ALTER TABLE p DETACH PARTITION \"concurrently\"");
  EXPECT_FALSE(plain.concurrently || plain.finalize);
  EXPECT_TRUE(Parsed("ALTER TABLE t SET LOGGED").set_logged);
  EXPECT_FALSE(Parsed("ALTER TABLE t SET UNLOGGED").set_logged);
}

TEST(ParseAlterTable, IsNothingOfOtherCommands) {
  for (const char* sql : {"", "ALTER", "ALTER VIEW t ALTER a SET DEFAULT 1", "CREATE TABLE t ()"}) {
    EXPECT_FALSE(ParseAlterTable(*Tokenize(sql)).has_value()) << sql;
  }
  for (const char* sql : {"ALTER TABLE", "ALTER TABLE t ADD", "ALTER TABLE t ALTER",
                          "ALTER TABLE t ALTER a TYPE", "ALTER TABLE t DETACH PARTITION", ",,"}) {
    const auto parsed = ParseAlterTable(*Tokenize(sql));
    EXPECT_THAT(parsed.value_or(AlterTable{}).added, IsEmpty()) << sql;
  }
}

}  // namespace
}  // namespace pgc
