#include "store/place_marks.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

Checkpoint At(uint64_t lsn) { return {.lsn = Lsn{lsn}, .seq = 0}; }
pulsar::MessageId Id(int64_t entry, int32_t index = 0) {
  return {.ledger = 1, .entry = entry, .partition = 0, .batch_index = index, .batch_size = 3};
}

TEST(PlaceMarks, TheOneBeforeIsFound) {
  PlaceMarks marks;
  EXPECT_EQ(marks.NewestUpTo(At(100)), std::nullopt);
  marks.Add(At(10), Id(1));
  marks.Add(At(11), Id(1, 1));
  marks.Add(At(20), Id(2));
  EXPECT_EQ(marks.NewestUpTo(At(9)), std::nullopt);
  EXPECT_EQ(marks.NewestUpTo(At(10)), Id(1));
  EXPECT_EQ(marks.NewestUpTo(At(19)), Id(1));
  EXPECT_EQ(marks.NewestUpTo(At(20)), Id(2));
  EXPECT_EQ(marks.NewestUpTo(At(1'000)), Id(2));
}

TEST(PlaceMarks, WhatComesAgainIsNoNewPlace) {
  PlaceMarks marks;
  marks.Add(At(20), Id(2));
  marks.Add(At(10), Id(1));
  marks.Add(At(20), Id(3));
  EXPECT_EQ(marks.NewestUpTo(At(15)), std::nullopt);
  EXPECT_EQ(marks.NewestUpTo(At(30)), Id(2));
}

TEST(PlaceMarks, OneMayBeFarAhead) {
  PlaceMarks marks;
  marks.SetAhead(At(100), Id(10));
  marks.Add(At(20), Id(2));
  EXPECT_EQ(marks.NewestUpTo(At(99)), Id(2));
  EXPECT_EQ(marks.NewestUpTo(At(100)), Id(10));
  marks.Add(At(110), Id(11));
  EXPECT_EQ(marks.NewestUpTo(At(109)), Id(10));
  EXPECT_EQ(marks.NewestUpTo(At(110)), Id(11));
}

TEST(PlaceMarks, TheFurtherBackTheFewerAreKept) {
  PlaceMarks marks;
  constexpr int64_t kAll = 200'000;
  for (int64_t i = 1; i <= kAll; ++i) marks.Add(At(static_cast<uint64_t>(i)), Id(i));
  for (int64_t i = 1; i <= kAll; i += 97) {
    const auto found = marks.NewestUpTo(At(static_cast<uint64_t>(i)));
    ASSERT_TRUE(found.has_value());
    EXPECT_LE(found->entry, i);
    EXPECT_LE(i - found->entry, (kAll - i) / 16 + 1) << i;
  }
}

}  // namespace
}  // namespace pgc
