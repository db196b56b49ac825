#include "base/holds.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <utility>

namespace pgc {
namespace {

TEST(HoldsTest, ItsEndWaitsForTheLast) {
  std::optional<Holds> holds(std::in_place);
  std::shared_ptr<void> first = holds->Take();
  std::shared_ptr<void> copy = first;
  std::shared_ptr<void> second = holds->Take();
  std::atomic<bool> ended = false;
  std::jthread end([&] {
    holds.reset();
    ended = true;
  });
  first.reset();
  second.reset();
  EXPECT_FALSE(ended);
  copy.reset();
  end.join();
  EXPECT_TRUE(ended);
}

TEST(HoldsTest, ThereAreNoMoreThanMay) {
  Holds holds;
  std::shared_ptr<void> first = holds.Take(2);
  const std::shared_ptr<void> second = holds.Take(2);
  EXPECT_NE(second, nullptr);
  EXPECT_EQ(holds.Take(2), nullptr);
  first.reset();
  EXPECT_NE(holds.Take(2), nullptr);
}

}  // namespace
}  // namespace pgc
