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

}  // namespace
}  // namespace pgc
