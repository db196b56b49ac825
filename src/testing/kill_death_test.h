#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>

#include "testing/temp_dir.h"

namespace pgc {

// A test with processes that are killed. Each is a new one that starts the test anew, up to where
// it was made; it has the folder and the seed of the test.
class KillDeathTest : public testing::Test {
 protected:
  KillDeathTest() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    if (getenv(kFolder) == nullptr) {
      temp_.emplace();
      setenv(kFolder, temp_->path().c_str(), 1);
      setenv(kSeed, std::to_string(std::random_device()()).c_str(), 1);
    }
    folder_ = getenv(kFolder);
    seed_ = static_cast<uint32_t>(std::stoul(getenv(kSeed)));
    trace_.emplace(__FILE__, __LINE__, "seed " + std::to_string(seed_));
  }
  ~KillDeathTest() override {
    unsetenv(kFolder);
    unsetenv(kSeed);
  }

  // Runs `until_killed`, with a folder and a seed, in processes that each go on where the one
  // before was killed.
  void KillAgainAndAgain(uint32_t times,
                         void (*until_killed)(const std::filesystem::path&, uint32_t)) {
    for (uint32_t round = 0; round < times; ++round) {
      EXPECT_EXIT(until_killed(folder_, seed_ + round), testing::KilledBySignal(SIGKILL), "");
    }
  }

  // Whether this is the process of the test, and none that is to be killed.
  bool is_first() const { return temp_.has_value(); }

  std::filesystem::path folder_;

 private:
  static constexpr char kFolder[] = "PGCAPTURE_TEST_KILLED_FOLDER";
  static constexpr char kSeed[] = "PGCAPTURE_TEST_KILLED_SEED";

  std::optional<TempDir> temp_;
  uint32_t seed_ = 0;
  std::optional<testing::ScopedTrace> trace_;  // whatever fails says the seed
};

}  // namespace pgc
