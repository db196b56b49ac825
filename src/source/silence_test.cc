#include "source/silence.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

using std::chrono::seconds;

TEST(Silence, AsksOnceAndThenGivesUp) {
  const Silence::TimePoint start{seconds(1000)};
  Silence silence;
  silence.Heard(start);
  EXPECT_FALSE(silence.Check(start + seconds(19)).value());
  EXPECT_TRUE(silence.Check(start + seconds(20)).value());
  EXPECT_FALSE(silence.Check(start + seconds(25)).value());
  EXPECT_FALSE(silence.Check(start + seconds(59)).value());
  EXPECT_TRUE(absl::IsUnavailable(silence.Check(start + seconds(60)).status()));
}

TEST(Silence, EndsWithEveryMessage) {
  const Silence::TimePoint start{seconds(1000)};
  Silence silence;
  silence.Heard(start);
  EXPECT_TRUE(silence.Check(start + seconds(30)).value());
  silence.Heard(start + seconds(31));
  EXPECT_FALSE(silence.Check(start + seconds(50)).value());
  EXPECT_TRUE(silence.Check(start + seconds(51)).value());
  EXPECT_TRUE(silence.Check(start + seconds(90)).ok());
}

}  // namespace
}  // namespace pgc
