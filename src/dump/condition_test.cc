#include "dump/condition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgc {
namespace {

using testing::ElementsAre;
using testing::Optional;

TEST(Condition, ExpressionsPass) {
  for (const char* const text :
       {"a = 1", "name = 'it''s; -- /* ('", "\"odd;)\" > 0", "(a OR b) AND c[1] = 2", "a - -1 > 0",
        "j -> 'x' ->> 'y' = E'\\'); --'", "d < date'2020-01-01'", "a / 2 * 3 = 1", "",
        "x IN (SELECT id FROM other WHERE z = 'a')", "E'\\\\' = a", "a='x'AND b='y'"}) {
    const absl::Status status = CheckCondition(text);
    EXPECT_TRUE(status.ok()) << text << ": " << status;
  }
}

TEST(Condition, NothingGetsOutOfItsParentheses) {
  for (const std::string& text :
       {std::string("true) OR (true"), std::string("true)) TO PROGRAM 'x' --"),
        std::string("1 = 1;"), std::string("a -- b"), std::string("a /* b */"), std::string("(a"),
        std::string("a]"), std::string("(a]"), std::string("'a"), std::string("\"a"),
        std::string("$$a$$ = b"), std::string("a = $1"), std::string("E'\\'"),
        std::string("a\0b", 3),
        // A text of two pieces, of which the second has the escapes of the first.
        std::string("E'a'\n'\\') OR (true'"), std::string("'a' 'b'"),
        // Before 15 a number, and a text with escapes.
        std::string("1e'\\') OR (true --'"), std::string("1E'\\' '"), std::string(100'000, 'a')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckCondition(text))) << text.substr(0, 50);
  }
}

TEST(Condition, ABackslashIsNothingSpecialInAnOrdinaryText) {
  EXPECT_TRUE(CheckCondition("a = '\\' AND b = 1").ok());
  EXPECT_FALSE(CheckCondition("a = '\\') OR (b = '").ok());
  EXPECT_TRUE(CheckCondition("a = E'\\') OR (b = '").ok()) << "it is all one text";
  EXPECT_FALSE(CheckCondition("a = E'\\\\') OR (b = '").ok());
}

TEST(RowText, IsReadAsPostgresWritesIt) {
  EXPECT_THAT(*ParseRowText("(1,a)"),
              ElementsAre(Optional(std::string("1")), Optional(std::string("a"))));
  EXPECT_THAT(*ParseRowText(R"(("a ""b"" \\,(",\,x))"),
              ElementsAre(Optional(std::string(R"(a "b" \,()")), Optional(std::string(",x"))));
  EXPECT_THAT(*ParseRowText(R"((,""))"),
              ElementsAre(testing::Eq(std::nullopt), Optional(std::string())));
  EXPECT_THAT(*ParseRowText("( a b )"), ElementsAre(Optional(std::string(" a b "))));
  for (const char* const text : {"", "1", "(1", "1)", "(\"a)", "(a\\)", "((1))", "(1)(2)"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseRowText(text).status())) << text;
  }
}

}  // namespace
}  // namespace pgc
