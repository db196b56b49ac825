#pragma once

#include <algorithm>
#include <chrono>

namespace pgc {

// Delays that double from `first` up to `most`. Not thread-safe.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds most)
      : first_(first), most_(most), next_(first) {}

  std::chrono::milliseconds Next() {
    const auto delay = next_;
    next_ = std::min(next_ * 2, most_);
    return delay;
  }
  void Reset() { next_ = first_; }

 private:
  const std::chrono::milliseconds first_;
  const std::chrono::milliseconds most_;
  std::chrono::milliseconds next_;
};

}  // namespace pgc
