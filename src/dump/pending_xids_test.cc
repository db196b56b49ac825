#include "dump/pending_xids.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

PgSnapshot Snapshot(const char* text) { return *ParseSnapshot(text); }

class PendingXidsTest : public testing::Test {
 protected:
  // The log: transactions 10 to 14 at 1000 to 1400; 12 waits for a standby.
  PendingXidsTest() {
    for (uint32_t i = 0; i < 5; ++i) pending_.Add(10 + i, Lsn{1000 + uint64_t{i} * 100});
  }
  const Lsn newest_{1400};
  PendingXids pending_;
};

TEST_F(PendingXidsTest, ThePlaceIsBelowTheFirstThatIsNotSeen) {
  const auto ticket = pending_.Enter();
  EXPECT_EQ(pending_.Place(ticket, Snapshot("12:15:12"), newest_), Lsn{1199});
  EXPECT_EQ(pending_.Place(ticket, Snapshot("10:10:"), newest_), Lsn{999});
}

TEST_F(PendingXidsTest, ThePlaceIsTheNewestWhenAllAreSeen) {
  const auto ticket = pending_.Enter();
  EXPECT_EQ(pending_.Place(ticket, Snapshot("15:15:"), newest_), newest_);
}

TEST_F(PendingXidsTest, KeepsOneUntilASnapshotHasShownIt) {
  auto ticket = pending_.Enter();
  (void)pending_.Place(ticket, Snapshot("12:15:12"), newest_);
  pending_.Leave(ticket);
  EXPECT_EQ(pending_.size(), 1U);
  ticket = pending_.Enter();
  EXPECT_EQ(pending_.Place(ticket, Snapshot("12:15:12"), newest_), Lsn{1199});
  pending_.Leave(ticket);
  ticket = pending_.Enter();
  EXPECT_EQ(pending_.Place(ticket, Snapshot("15:15:"), newest_), newest_);
  pending_.Leave(ticket);
  EXPECT_EQ(pending_.size(), 0U);
}

TEST_F(PendingXidsTest, AnOlderSnapshotThatIsPlacedLaterIsStillRight) {
  const auto older = pending_.Enter();
  const auto newer = pending_.Enter();
  EXPECT_EQ(pending_.Place(newer, Snapshot("15:15:"), newest_), newest_);
  pending_.Leave(newer);
  EXPECT_EQ(pending_.Place(older, Snapshot("12:15:12"), newest_), Lsn{1199});
  pending_.Leave(older);
  EXPECT_EQ(pending_.size(), 0U);
}

TEST_F(PendingXidsTest, WhoEntersLaterNeedsNotWhatWasShown) {
  const auto first = pending_.Enter();
  const auto holds = pending_.Enter();
  (void)pending_.Place(first, Snapshot("15:15:"), newest_);
  pending_.Leave(first);
  const auto later = pending_.Enter();
  pending_.Leave(holds);
  EXPECT_EQ(pending_.size(), 0U) << "only those from before the snapshot hold it";
  pending_.Leave(later);
}

}  // namespace
}  // namespace pgc
