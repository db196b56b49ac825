#include "store/ack_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace pgc {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(AckRanges, RangesThatTouchBecomeOne) {
  AckRanges acked(10);
  EXPECT_TRUE(acked.Add(12, 14, 9));
  EXPECT_TRUE(acked.Add(16, 18, 9));
  EXPECT_THAT(acked.above(), ElementsAre(Pair(12, 14), Pair(16, 18)));
  EXPECT_TRUE(acked.Add(14, 16, 9));
  EXPECT_THAT(acked.above(), ElementsAre(Pair(12, 18)));
  EXPECT_TRUE(acked.Add(0, 12, 9));
  EXPECT_THAT(acked.above(), IsEmpty());
  EXPECT_EQ(acked.low(), 18u);
}

TEST(AckRanges, AddsNothingWhenThatWouldMakeTooMany) {
  AckRanges acked;
  EXPECT_TRUE(acked.Add(2, 3, 2));
  EXPECT_TRUE(acked.Add(5, 6, 2));
  EXPECT_FALSE(acked.Add(8, 9, 2));
  EXPECT_FALSE(acked.Contains(8));
  EXPECT_TRUE(acked.Add(6, 9, 2)) << "makes none more";
  EXPECT_TRUE(acked.Add(0, 1, 2)) << "below all";
  EXPECT_EQ(acked.low(), 1u);
}

TEST(AckRanges, IsTheSetOfAllThatWasAdded) {
  constexpr uint64_t kEnd = 200;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    AckRanges acked(random() % 10);
    std::set<uint64_t> model;
    for (uint64_t i = 0; i < acked.low(); ++i) model.insert(i);
    for (int step = 0; step < 60; ++step) {
      const uint64_t begin = random() % kEnd;
      const uint64_t end = begin + random() % 8;
      ASSERT_TRUE(acked.Add(begin, end, kEnd));
      for (uint64_t i = begin; i < end; ++i) model.insert(i);
    }
    for (uint64_t i = 0; i < kEnd + 10; ++i) {
      ASSERT_EQ(acked.Contains(i), model.count(i) == 1) << "seed " << seed << " ordinal " << i;
      uint64_t missing = i;
      while (model.count(missing) == 1) ++missing;
      ASSERT_EQ(acked.NextMissing(i), missing) << "seed " << seed;
      const auto contained = model.lower_bound(i);
      ASSERT_EQ(acked.NextContained(i),
                contained == model.end() ? std::nullopt : std::optional(*contained))
          << "seed " << seed;
    }
    ASSERT_FALSE(acked.Contains(acked.low()));
  }
}

}  // namespace
}  // namespace pgc
