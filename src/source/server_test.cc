#include "source/server.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

TEST(Origin, ReadsBackWhateverTheDatabaseIsCalled) {
  for (const char* database : {"app", "a b", " timeline=2 database=x", ""}) {
    const Origin origin{.system = "7231", .timeline = 12, .database = database};
    const auto read = ParseOrigin(ToString(origin));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, origin);
  }
}

TEST(Origin, RefusesAnotherText) {
  for (const char* text : {"", "x", "system=1", "system=1 timeline=x database=d",
                           "system=1 timeline=99999999999 database=d"}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(ParseOrigin(text).status())) << text;
  }
}

TEST(History, TellsWhereATimelineWasLeft) {
  constexpr char kHistory[] =
      "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore 2020-01-01\n";
  EXPECT_EQ(LeftAt(kHistory, 1), Lsn{0x3000000});
  EXPECT_EQ(LeftAt(kHistory, 2), Lsn{0x5000000});
  EXPECT_EQ(LeftAt(kHistory, 3), std::nullopt);
  EXPECT_EQ(LeftAt("", 1), std::nullopt);
  EXPECT_EQ(LeftAt("1\tx\n", 1), std::nullopt);
}

TEST(CheckVersion, NamesTheVersionThatIsTooOld) {
  const absl::Status status = CheckVersion(130023);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(
      status.message(),
      "the server is PostgreSQL 13.23: capture needs 14 or newer, which can send binary values");
  EXPECT_TRUE(CheckVersion(140000).ok());
}

}  // namespace
}  // namespace pgc
