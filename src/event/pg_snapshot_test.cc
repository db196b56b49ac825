#include "event/pg_snapshot.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

TEST(PgSnapshot, SeesAllButWhatRunsAndWhatComesLater) {
  const auto snapshot = ParseSnapshot("100:110:100,103,105");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->xmin, 100U);
  EXPECT_EQ(snapshot->xmax, 110U);
  for (const uint32_t seen : {3U, 99U, 101U, 104U, 109U}) EXPECT_TRUE(snapshot->Sees(seen)) << seen;
  for (const uint32_t unseen : {100U, 103U, 105U, 110U, 111U, 2'000'000'000U}) {
    EXPECT_FALSE(snapshot->Sees(unseen)) << unseen;
  }
}

TEST(PgSnapshot, NumbersGoRound) {
  // xmax is 5 in epoch 3.
  const auto snapshot = ParseSnapshot("12884901880:12884901893:12884901886");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_TRUE(snapshot->Sees(4));
  EXPECT_FALSE(snapshot->Sees(5));
  EXPECT_FALSE(snapshot->Sees(6));
  EXPECT_TRUE(snapshot->Sees(0xFFFFFFFF));
  EXPECT_FALSE(snapshot->Sees(0xFFFFFFFE)) << "it runs";
  EXPECT_TRUE(snapshot->Sees(0x80000006));
  EXPECT_FALSE(snapshot->Sees(0x80000004)) << "that is so far ahead";
}

TEST(PgSnapshot, OneWithoutRunningTransactionsIsWhole) {
  const auto snapshot = ParseSnapshot("7:7:");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_TRUE(snapshot->running.empty());
}

TEST(PgSnapshot, WhatIsNoSnapshotIsDataLoss) {
  for (const char* const text : {"", "1", "1:2", "1:2:x", "1:2:3,", "1:2:3,4x",
                                 "x:2:", "2:1:", "-1:2:", "1:99999999999999999999:", " 1:2:"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSnapshot(text).status())) << text;
  }
}

}  // namespace
}  // namespace pgc
