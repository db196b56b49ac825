// What every EventStore promises (event/store.h, event/pipeline.h), over every backend: what the
// tests of it share. store_contract_test.cc has the backends.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "event/store.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

namespace pgc {

struct Backend {
  std::string name;
  std::function<std::unique_ptr<EventStore>(const std::filesystem::path&, std::shared_ptr<Timer>)>
      open;
};

class Contract : public testing::TestWithParam<Backend> {
 protected:
  TempDir dir_;
  ManualTimer time_;
  std::unique_ptr<EventStore> store_ = GetParam().open(dir_.path(), time_.timer());
};

inline std::vector<uint64_t> UpTo(uint64_t begin, uint64_t end) {
  std::vector<uint64_t> ordinals(end - begin);
  std::iota(ordinals.begin(), ordinals.end(), begin);
  return ordinals;
}

}  // namespace pgc
