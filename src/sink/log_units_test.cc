#include "sink/log_units.h"

#include <gtest/gtest.h>

#include "sink/sink_testing.h"

namespace pgc {
namespace {

size_t EventsOf(const LogUnit& unit) {
  size_t events = 0;
  for (const EventSlice& slice : unit.slices) events += slice.end - slice.begin;
  return events;
}

TEST(UnitCutterTest, TransactionsThatFollowOneAnotherAreOneUnitOfOneSlice) {
  TestLog log;
  for (int i = 0; i < 3; ++i) {
    log.Begin();
    log.Insert("t", {Int(i), Null()});
    log.Commit();
  }
  const LogUnit unit = log.TakeUnit();
  EXPECT_TRUE(unit.begins);
  EXPECT_TRUE(unit.complete);
  EXPECT_EQ(unit.events, 9U);
  ASSERT_EQ(unit.slices.size(), 1U);
  EXPECT_EQ(unit.slices[0].end, 9U);
}

TEST(UnitCutterTest, ATransactionThatIsNotAtItsEndIsKept) {
  TestLog log;
  UnitCutter cutter;
  std::vector<LogUnit> units;
  log.Begin();
  log.Insert("t", {Int(1), Null()});
  ASSERT_TRUE(cutter.Add(log.TakeSlice(), units).ok());
  EXPECT_TRUE(units.empty());
  log.Commit();
  log.Begin();
  ASSERT_TRUE(cutter.Add(log.TakeSlice(), units).ok());
  ASSERT_EQ(units.size(), 1U);
  EXPECT_TRUE(units[0].begins && units[0].complete);
  EXPECT_EQ(units[0].slices.size(), 2U);
  EXPECT_EQ(EventsOf(units[0]), 3U);
  EXPECT_EQ(units[0].slices[1].ordinal, 2U);
}

TEST(UnitCutterTest, ALargeTransactionIsCut) {
  TestLog log;
  UnitCutter cutter;
  std::vector<LogUnit> units;
  const std::string large(200'000, 'x');
  log.Begin();
  while (units.empty()) {
    log.Insert("t", {Int(1), Text(large)});
    ASSERT_TRUE(cutter.Add(log.TakeSlice(), units).ok());
  }
  EXPECT_TRUE(units[0].begins);
  EXPECT_FALSE(units[0].complete);
  EXPECT_GE(units[0].bytes, UnitCutter::kMaxUnitBytes);
  EXPECT_LT(units[0].bytes, UnitCutter::kMaxUnitBytes + 300'000);
  log.Commit();
  units.clear();
  ASSERT_TRUE(cutter.Add(log.TakeSlice(), units).ok());
  ASSERT_EQ(units.size(), 1U);
  EXPECT_FALSE(units[0].begins);
  EXPECT_TRUE(units[0].complete);
}

TEST(UnitCutterTest, ATransactionWithDdlIsAloneInItsUnit) {
  TestLog log;
  for (int i = 0; i < 3; ++i) {
    log.Begin();
    if (i == 1) {
      log.Ddl("CREATE TABLE u ()", "CREATE TABLE");
    } else {
      log.Insert("t", {Int(i), Null()});
    }
    log.Commit();
  }
  UnitCutter cutter;
  std::vector<LogUnit> units;
  ASSERT_TRUE(cutter.Add(log.TakeSlice(), units).ok());
  ASSERT_EQ(units.size(), 3U);
  EXPECT_FALSE(units[0].has_ddl);
  EXPECT_TRUE(units[1].has_ddl);
  EXPECT_FALSE(units[2].has_ddl);
}

TEST(UnitCutterTest, ATableThatIsDescribedTwiceInABlockIsKnownBothTimes) {
  TestLog log;
  for (int i = 0; i < 2; ++i) {
    log.Begin();
    log.Ddl("CREATE TABLE u ()", "CREATE TABLE");
    log.Commit();
  }
  const EventSlice slice = log.TakeSlice();
  ASSERT_EQ(slice.block->tables().size(), 2U);
  UnitCutter cutter;
  std::vector<LogUnit> units;
  ASSERT_TRUE(cutter.Add(slice, units).ok());
  ASSERT_EQ(units.size(), 2U);
  EXPECT_TRUE(units[0].has_ddl && units[1].has_ddl);
}

TEST(UnitCutterTest, WhatComesAgainIsLeftOut) {
  TestLog log;
  UnitCutter cutter;
  std::vector<LogUnit> units;
  log.Begin();
  log.Insert("t", {Int(1), Null()});
  const EventSlice first = log.TakeSlice();
  log.Commit();
  const EventSlice rest = log.TakeSlice();
  ASSERT_TRUE(cutter.Add(first, units).ok());
  ASSERT_TRUE(cutter.Add(first, units).ok());
  ASSERT_TRUE(cutter.Add(rest, units).ok());
  ASSERT_TRUE(cutter.Add(rest, units).ok());
  ASSERT_EQ(units.size(), 1U);
  EXPECT_EQ(EventsOf(units[0]), 3U);
}

TEST(UnitCutterTest, AGapInATransactionIsDataLoss) {
  std::vector<LogUnit> units;
  TestLog log;
  log.Begin();
  const EventSlice begin = log.TakeSlice();
  log.Insert("t", {Int(1), Null()});
  const EventSlice change = log.TakeSlice();
  log.Begin();
  const EventSlice next = log.TakeSlice();
  EXPECT_TRUE(absl::IsDataLoss(UnitCutter().Add(change, units)));
  UnitCutter cutter;
  ASSERT_TRUE(cutter.Add(begin, units).ok());
  EXPECT_TRUE(absl::IsDataLoss(cutter.Add(next, units)));
}

}  // namespace
}  // namespace pgc
