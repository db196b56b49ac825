#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>

#include "base/backoff.h"
#include "base/mutex.h"
#include "event/checkpoint.h"

namespace pgc {

// Remembers at which large events the streams of consumers broke: a gRPC client that receives a
// message above its limit ends the call without a word to the gateway, and comes back for the same
// message.
//
// Thread-safe. Bounded: of more than kMaxEvents some are forgotten, and then sent again at once.
class LargeEvents {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // What gRPC's clients take unless they are told otherwise.
  static constexpr size_t kUsualLimitBytes = size_t{4} << 20;
  static constexpr size_t kMaxEvents = 4'096;
  // Streams that broke before the event is refused.
  static constexpr int kMaxBreaks = 2;
  static constexpr std::chrono::milliseconds kFirstDelay{1'000};
  static constexpr std::chrono::milliseconds kLastDelay{60'000};

  // Zero when the event may be sent now; else how long it will still be refused.
  std::chrono::milliseconds RefusedFor(const std::string& uri, const Checkpoint& event, Time now);
  // The consumer went away after the event was sent and before it acknowledged it.
  void Broke(const std::string& uri, const Checkpoint& event);
  // The consumer has answered for it.
  void Passed(const std::string& uri, const Checkpoint& event);

 private:
  struct Entry {
    int breaks = 0;
    bool refused = false;  // since the last stream that broke
    Time retry_at;
    Backoff delays{kFirstDelay, kLastDelay};
  };

  Mutex mutex_;
  std::map<std::pair<std::string, Checkpoint>, Entry> events_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
