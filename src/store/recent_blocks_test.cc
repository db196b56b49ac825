#include "store/recent_blocks.h"

#include <gtest/gtest.h>

#include "store/store_testing.h"

namespace pgc {
namespace {

TEST(RecentBlocks, FindsABlockByEachOfItsEvents) {
  RecentBlocks recent(1 << 20);
  const StoredBlock one{.block = MakeBlock(1, 0, 5), .first = 10};
  const StoredBlock two{.block = MakeBlock(2, 0, 5), .first = 15};
  recent.Add(3, one);
  recent.Add(3, two);
  for (uint64_t ordinal = 10; ordinal < 20; ++ordinal) {
    const auto found = recent.Find(3, ordinal);
    ASSERT_TRUE(found.has_value()) << ordinal;
    EXPECT_EQ(found->block, ordinal < 15 ? one.block : two.block);
  }
  EXPECT_FALSE(recent.Find(3, 9));
  EXPECT_FALSE(recent.Find(3, 20));
  EXPECT_FALSE(recent.Find(2, 12));
  EXPECT_FALSE(recent.Find(4, 12));
}

TEST(RecentBlocks, ForgetsTheOldestAndNeverExceedsItsBytes) {
  const auto block = MakeBlock(1, 0, 5);
  RecentBlocks recent(2 * block->bytes().size());
  for (const uint64_t first : {0, 5, 10}) recent.Add(0, {.block = block, .first = first});
  EXPECT_FALSE(recent.Find(0, 0));
  EXPECT_TRUE(recent.Find(0, 5));
  EXPECT_TRUE(recent.Find(0, 10));
  recent.Add(0, {.block = MakeBlock(2, 0, 500), .first = 15});
  EXPECT_FALSE(recent.Find(0, 15)) << "larger than all that is kept";
  EXPECT_TRUE(recent.Find(0, 10));
}

}  // namespace
}  // namespace pgc
