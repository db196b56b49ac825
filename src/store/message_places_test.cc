#include "store/message_places.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

pulsar::MessageId Id(int64_t entry, int32_t index, int32_t size = 5) {
  return {.ledger = 1, .entry = entry, .partition = 0, .batch_index = index, .batch_size = size};
}

// Events 10 to 12 of entry 7 without a gap, 13 of the same behind one, 14 of the next.
MessagePlaces Some() {
  MessagePlaces places;
  EXPECT_TRUE(places.Add(10, Id(7, 0)));
  EXPECT_FALSE(places.Add(11, Id(7, 1)));
  EXPECT_FALSE(places.Add(12, Id(7, 2)));
  EXPECT_TRUE(places.Add(13, Id(7, 4)));
  EXPECT_TRUE(places.Add(14, Id(8, 0, 1)));
  return places;
}

TEST(MessagePlaces, AnOrdinalHasTheIdThatItCameWith) {
  const MessagePlaces places = Some();
  EXPECT_EQ(places.Find(10), Id(7, 0));
  EXPECT_EQ(places.Find(12), Id(7, 2));
  EXPECT_EQ(places.Find(13), Id(7, 4));
  EXPECT_EQ(places.Find(14), Id(8, 0, 1));
  EXPECT_EQ(places.Find(9), std::nullopt);
  EXPECT_EQ(places.Find(15), std::nullopt);
}

TEST(MessagePlaces, OrdinalsWithAGapBetweenThemAreNoRun) {
  MessagePlaces places;
  EXPECT_TRUE(places.Add(1, Id(7, 0)));
  EXPECT_TRUE(places.Add(3, Id(7, 1)));
  EXPECT_EQ(places.Find(2), std::nullopt);
}

TEST(MessagePlaces, TheEventRightBeforeWhatIsKeptIsKept) {
  MessagePlaces places = Some();
  places.EraseBefore(13);
  EXPECT_EQ(places.Find(12), Id(7, 2));
  places.EraseBefore(14);
  EXPECT_EQ(places.Find(12), std::nullopt);
  EXPECT_EQ(places.Find(13), Id(7, 4));
  places.EraseBefore(100);
  EXPECT_EQ(places.Find(14), std::nullopt);
}

TEST(MessagePlaces, ARunIsForgottenByItsBeginningOrByItsAge) {
  MessagePlaces places = Some();
  places.Erase(13);
  EXPECT_EQ(places.Find(13), std::nullopt);
  EXPECT_EQ(places.Find(12), Id(7, 2));
  places.Shorten(1);
  EXPECT_EQ(places.Find(12), std::nullopt);
  EXPECT_EQ(places.Find(14), Id(8, 0, 1));
}

}  // namespace
}  // namespace pgc
