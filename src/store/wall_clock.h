#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace pgc {

// Microseconds since 1970-01-01 UTC, from any thread.
using WallClock = std::function<int64_t()>;

inline int64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace pgc
