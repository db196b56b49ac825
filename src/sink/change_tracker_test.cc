#include "sink/change_tracker.h"

#include <gtest/gtest.h>

#include <vector>

namespace pgc {
namespace {

using Keys = std::vector<uint64_t>;

constexpr uint64_t kTable = 1'000;
constexpr uint64_t kOther = 2'000;

TEST(ChangeTrackerTest, ARowWaitsForTheUnitThatTouchedItUntilThatIsCommitted) {
  ChangeTracker tracker;
  tracker.Begin(1, 0);
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{1}));
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{1})) << "a unit does not wait for itself";
  tracker.Begin(2, 0);
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{1}));
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{2}));
  EXPECT_FALSE(tracker.AddRow(kOther, Keys{3}));
  tracker.Begin(3, 1);
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{1})) << "the second has it still";
  tracker.Begin(4, 3);
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{1}));
}

TEST(ChangeTrackerTest, WhatFollowsAChangeThatWaitsWaitsToo) {
  ChangeTracker tracker;
  tracker.Begin(1, 0);
  tracker.AddRow(kTable, Keys{1});
  tracker.Begin(2, 0);
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{3}));
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{1, 2})) << "the row moves from one key to the other";
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{2, 3}));
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{3}));
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{4}));
  EXPECT_TRUE(tracker.AddAnyRow(kTable));
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{5}));
}

TEST(ChangeTrackerTest, AChangeOfAnyRowWaitsForEachOfTheTableAndTheyForIt) {
  ChangeTracker tracker;
  tracker.Begin(1, 0);
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{1}));
  tracker.Begin(2, 0);
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{2})) << "that hides none of the first unit's";
  EXPECT_TRUE(tracker.AddAnyRow(kTable));
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{2}));
  tracker.Begin(3, 0);
  EXPECT_TRUE(tracker.AddRow(kTable, Keys{9}));
  EXPECT_FALSE(tracker.AddAnyRow(kOther));
  EXPECT_FALSE(tracker.AddAnyRow(kOther));
  EXPECT_FALSE(tracker.AddRow(kOther, Keys{8}));
  tracker.Begin(4, 2);
  EXPECT_TRUE(tracker.AddAnyRow(kTable));
  tracker.Begin(5, 4);
  EXPECT_FALSE(tracker.AddAnyRow(kTable));
}

TEST(ChangeTrackerTest, RowsThatTakeNothingDoNotWaitButAreWaitedFor) {
  ChangeTracker tracker;
  tracker.Begin(1, 0);
  EXPECT_FALSE(tracker.AddAnyRow(kTable));
  tracker.Begin(2, 0);
  tracker.AddFreeRow(kTable);
  tracker.Begin(3, 1);
  tracker.AddFreeRow(kTable);
  EXPECT_TRUE(tracker.AddAnyRow(kTable));
  tracker.AddFreeRow(kTable);
  tracker.Begin(4, 3);
  EXPECT_FALSE(tracker.AddAnyRow(kTable));
}

TEST(ChangeTrackerTest, ItKeepsNothingOfWhatIsCommitted) {
  ChangeTracker tracker;
  for (uint64_t unit = 1; unit <= 100; ++unit) {
    tracker.Begin(unit, unit - 1);
    for (uint64_t key = 0; key < 10; ++key) tracker.AddRow(kTable, Keys{unit * 5 + key});
    EXPECT_EQ(tracker.size(), 11U);
  }
  tracker.Clear();
  EXPECT_EQ(tracker.size(), 0U);
  tracker.Begin(1, 0);
  EXPECT_FALSE(tracker.AddRow(kTable, Keys{505}));
}

}  // namespace
}  // namespace pgc
