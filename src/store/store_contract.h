// What every EventStore promises (event/store.h, event/pipeline.h), over every backend: what the
// tests of it share. store_backends_test.cc has those that need nothing else,
// pulsar_backend_pulsartest.cc Pulsar.
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

namespace pgc {

class TempDir;

struct Backend {
  std::string name;
  std::function<std::unique_ptr<EventStore>(const std::filesystem::path&, std::shared_ptr<Timer>)>
      open;
};

class Contract : public testing::TestWithParam<Backend> {
 protected:
  Contract();

  const std::shared_ptr<TempDir> dir_;
  ManualTimer time_;
  std::unique_ptr<EventStore> store_;
};

std::vector<Backend> Backends();

struct BackendName {
  std::string operator()(const testing::TestParamInfo<Backend>& backend) const {
    return backend.param.name;
  }
};

inline std::vector<uint64_t> UpTo(uint64_t begin, uint64_t end) {
  std::vector<uint64_t> ordinals(end - begin);
  std::iota(ordinals.begin(), ordinals.end(), begin);
  return ordinals;
}

}  // namespace pgc
