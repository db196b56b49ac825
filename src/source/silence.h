#pragma once

#include <chrono>

#include "absl/status/statusor.h"

namespace pgc {

// Notices a peer that is gone without a word. The server sends something at least every half of
// its wal_sender_timeout, or, where that is off, when it is asked. Not thread-safe.
class Silence {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kToPing{20};
  static constexpr std::chrono::seconds kToFail{60};

  void Heard(TimePoint now) {
    heard_at_ = now;
    pinged_ = false;
  }
  // Whether the server is to be asked for a sign of life now, once a silence; Unavailable when it
  // has been silent for too long.
  absl::StatusOr<bool> Check(TimePoint now);

 private:
  TimePoint heard_at_;
  bool pinged_ = false;
};

}  // namespace pgc
