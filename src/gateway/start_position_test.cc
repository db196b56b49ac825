#include "gateway/start_position.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>

namespace pgc {
namespace {

int64_t TimeUs(std::string_view text) {
  const auto start = ParseStart(text);
  if (!start.ok() || !std::holds_alternative<FromTime>(*start)) {
    ADD_FAILURE() << text << ": " << start.status();
    return 0;
  }
  return std::get<FromTime>(*start).time.us;
}

TEST(ParseStart, ReadsTheTwoWords) {
  EXPECT_TRUE(std::holds_alternative<FromEnd>(*ParseStart("end")));
  EXPECT_TRUE(std::holds_alternative<FromBeginning>(*ParseStart("beginning")));
}

TEST(ParseStart, ReadsAnLsn) {
  const auto start = ParseStart("16/B374D848");
  ASSERT_TRUE(start.ok()) << start.status();
  EXPECT_EQ(std::get<FromAfterLsn>(*start).lsn.value, 0x16B374D848U);
}

TEST(ParseStart, ReadsATimeAsMicrosecondsSince2000) {
  EXPECT_EQ(TimeUs("2000-01-01T00:00:00Z"), 0);
  EXPECT_EQ(TimeUs("1999-12-31T23:59:59Z"), -1'000'000);
  EXPECT_EQ(TimeUs("2000-01-01T00:00:00.000001Z"), 1);
  EXPECT_EQ(TimeUs("2000-01-01T00:00:00.5z"), 500'000);
  EXPECT_EQ(TimeUs("2000-01-01 01:30:00.123456789+01:30"), 123'456);
  EXPECT_EQ(TimeUs("1999-12-31t19:00:00-05:00"), 0);
  EXPECT_EQ(TimeUs("2026-01-02T03:04:05.678901Z"), 820'638'245'678'901);
}

TEST(ParseStart, WhatIsNoneIsInvalidAndNamed) {
  for (const char* text :
       {"", "End", "now", "16", "16/", "/1", "16/G", "16/1/2", "2026-01-02", "2026-01-02T03:04:05",
        "2026-13-02T03:04:05Z", "2026-02-30T03:04:05Z", "2026-01-02T24:04:05Z",
        "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05+01", "2026-01-02T03:04:05Z ",
        "2026-01-02T03:04:0", "20260-1-02T03:04:05Z", "-026-01-02T03:04:05Z"}) {
    const auto start = ParseStart(text);
    EXPECT_TRUE(absl::IsInvalidArgument(start.status())) << text;
  }
  EXPECT_THAT(std::string(ParseStart("now").status().message()), testing::HasSubstr("'now'"));
}

TEST(ParseStart, ASnapshotIsNotThereYet) {
  EXPECT_TRUE(absl::IsInvalidArgument(ParseStart("snapshot").status()));
}

}  // namespace
}  // namespace pgc
