#include "gateway/pages_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "event/wire_testing.h"

namespace pgc {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
using wire::Bytes;
using wire::Field;
using wire::Number;

// An UPDATE of a table with one column.
std::string Change(std::string_view value, std::string_view table = "t") {
  return Number(1, 1) + Field(2, "public") + Field(3, table) +
         Field(4, Field(1, "note") + Number(2, 25) + Field(3, value));
}

TEST(PagesAnswer, AnEmptyOneHasNothing) {
  const auto answer = ParsePagesAnswer(Bytes(""));
  ASSERT_TRUE(answer.ok());
  EXPECT_THAT(answer->rows, SizeIs(0));
  EXPECT_FALSE(answer->last);
  EXPECT_EQ(answer->header.applied, Lsn{});
}

TEST(PagesAnswer, HasWhatTheAgentSaysOfTheDump) {
  const std::string bytes = Number(20, 1'000) + Field(21, "500:510:505,507") +
                            Number(22, UINT64_MAX) + Number(23, 16'384) + Number(24, UINT32_MAX) +
                            Number(25, 1) + Field(26, "elsewhere") + Number(27, 2'000) +
                            Number(28, 1) + Number(29, 1) + Number(99, 5);
  const auto answer = ParsePagesAnswer(Bytes(bytes));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->header.applied, Lsn{1'000});
  EXPECT_EQ(answer->header.store_position, "elsewhere");
  EXPECT_EQ(answer->header.upper, Lsn{2'000});
  EXPECT_EQ(answer->header.snapshot.xmin, 500U);
  EXPECT_EQ(answer->header.system_identifier, UINT64_MAX);
  EXPECT_EQ(answer->header.relfilenode, 16'384U);
  EXPECT_EQ(answer->header.pages, UINT32_MAX);
  EXPECT_TRUE(answer->header.sweep_needed);
  EXPECT_TRUE(answer->header.no_key);
  EXPECT_TRUE(answer->last);
}

TEST(PagesAnswer, ASnapshotThatIsNoneIsRefused) {
  for (const std::string text : {"", "500", ":", "x:1:", "-1:2:", "99999999999999999999:1:"}) {
    const std::string bytes = Field(21, text);
    EXPECT_TRUE(absl::IsInvalidArgument(ParsePagesAnswer(Bytes(bytes)).status())) << text;
  }
}

TEST(PagesAnswer, EachRowIsItsLengthAndItsBytesWhereverTheyAre) {
  std::vector<std::string> changes;
  std::string bytes = Number(20, 7);
  for (const size_t size : {0U, 1U, 90U, 110U, 127U, 128U, 20'000U, 3'000'000U}) {
    changes.push_back(Change(std::string(size, 'x')));
    bytes += Field(1, changes.back()) + Number(99, size);
  }
  const auto answer = ParsePagesAnswer(Bytes(bytes));
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_THAT(answer->rows, SizeIs(changes.size()));
  for (size_t i = 0; i < changes.size(); ++i) {
    const auto row = answer->rows[i];
    // Behind the tag a row is just what a field of a message holds.
    const std::string field = Field(1, changes[i]);
    EXPECT_TRUE(std::string(row.begin(), row.end()) == field.substr(1)) << i;
    const auto change = ChangeOf(row);
    EXPECT_TRUE(std::string(change.begin(), change.end()) == changes[i]) << i;
    EXPECT_GE(row.data(), Bytes(bytes).data());
  }
}

TEST(PagesAnswer, EveryTruncationIsRefusedOrHasFewerRows) {
  const std::string whole =
      Number(20, 7) + Field(1, Change("one")) + Field(1, Change("two")) + Field(21, "5:6:");
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string cut = whole.substr(0, length);  // so that reading behind it is found
    const auto answer = ParsePagesAnswer(Bytes(cut));
    if (answer.ok()) {
      EXPECT_LE(answer->rows.size(), 2U);
    } else {
      EXPECT_TRUE(absl::IsInvalidArgument(answer.status())) << answer.status();
    }
  }
}

TEST(PagesAnswer, ARowWhoseLengthIsWrittenLongerThanNeededIsRefused) {
  for (const size_t size : {1U, 200U, 20'000U}) {
    for (const int longer : {1, 2, 5}) {
      const std::string bytes = Field(1, Change(std::string(size, 'x')), longer);
      EXPECT_TRUE(absl::IsInvalidArgument(ParsePagesAnswer(Bytes(bytes)).status())) << longer;
    }
  }
}

TEST(PagesAnswer, BytesThatAreNoAnswerAreRefused) {
  for (const std::string& bytes :
       {std::string("\xFF"), std::string("\x0A"), std::string("\x0A\x05x"), std::string("\x0B"),
        Number(1, 5), std::string("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"),
        std::string("\xA0\x01") + std::string(11, '\xFF'), std::string(100, '\xFF')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParsePagesAnswer(Bytes(bytes)).status()));
  }
}

TEST(PagesAnswer, ARowThatIsNoChangeIsRefusedWhereverItStands) {
  for (const std::string& garbage :
       {std::string("\xFF"), std::string("\x22\x02\xFF\xFF"), std::string("\x2A\x01\x0A"),
        std::string("\x02\x00", 2), Field(4, std::string("\x02\x00", 2))}) {
    const std::string bytes = Field(1, Change("one")) + Field(1, garbage);
    const auto answer = ParsePagesAnswer(Bytes(bytes));
    EXPECT_TRUE(absl::IsInvalidArgument(answer.status()));
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr("no change"));
  }
}

TEST(PagesAnswer, RowsOfTwoTablesAreRefused) {
  const std::string bytes = Field(1, Change("one")) + Field(1, Change("two", "u"));
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePagesAnswer(Bytes(bytes)).status()));
}

TEST(PagesAnswer, AChangeSaysItsTableItsOperationAndHowManyColumnsItHas) {
  const std::string bytes = Change("x") + Field(4, Field(1, "other")) + Field(5, Field(1, "id"));
  const auto change = Summarize(Bytes(bytes));
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->schema, "public");
  EXPECT_EQ(change->table, "t");
  EXPECT_TRUE(change->is_update);
  EXPECT_EQ(change->new_fields, 2U);
  EXPECT_FALSE(Summarize(Bytes("\x0A")).has_value());
  const auto empty = Summarize(Bytes(""));
  ASSERT_TRUE(empty.has_value());
  EXPECT_FALSE(empty->is_update);
}

}  // namespace
}  // namespace pgc
