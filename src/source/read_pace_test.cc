#include "source/read_pace.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

using std::chrono::microseconds;

TEST(ReadPace, NapsOnceBeforeItCallsTheStreamIdle) {
  for (const bool is_unix : {false, true}) {
    ReadPace pace(is_unix);
    EXPECT_EQ(pace.AfterNothing(), microseconds(0));
    EXPECT_EQ(pace.AfterData(100, 1), microseconds(0));
    EXPECT_GT(pace.AfterNothing(), microseconds(0));
    EXPECT_EQ(pace.AfterNothing(), microseconds(0));
  }
}

TEST(ReadPace, OnTcpNapsShrinkWhileThereIsMoreAndGrowWhenThereIsNot) {
  ReadPace pace(false);
  const microseconds first = pace.AfterData(16'000, 160);
  const microseconds second = pace.AfterData(16'000, 160);
  EXPECT_LT(second, first);
  const microseconds empty = pace.AfterNothing();
  EXPECT_GT(pace.AfterData(16'000, 160), empty);
}

TEST(ReadPace, NapsStayBetweenALatencyAndAUselessWakeUp) {
  ReadPace pace(false);
  for (int i = 0; i < 1000; ++i) (void)pace.AfterData(16'000, 160);
  EXPECT_EQ(pace.AfterData(16'000, 160), microseconds(300));
  for (int i = 0; i < 1000; ++i) {
    (void)pace.AfterData(100, 1);
    (void)pace.AfterNothing();
  }
  (void)pace.AfterData(100, 1);
  EXPECT_EQ(pace.AfterNothing(), microseconds(1'500));
  // An idle stream begins anew.
  EXPECT_EQ(pace.AfterNothing(), microseconds(0));
  (void)pace.AfterData(100, 1);
  EXPECT_EQ(pace.AfterNothing(), microseconds(500));
}

TEST(ReadPace, DoesNotSlowDownLargeMessages) {
  ReadPace pace(false);
  for (int i = 0; i < 149; ++i) {
    EXPECT_EQ(pace.AfterData(1'000'000, 1), microseconds(0)) << i;
  }
}

TEST(ReadPace, OnAUnixSocketReadsOnWhileThereIsData) {
  ReadPace pace(true);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(pace.AfterData(16'000, 160), microseconds(0)) << i;
}

}  // namespace
}  // namespace pgc
