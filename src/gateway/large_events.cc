#include "gateway/large_events.h"

namespace pgc {

using std::chrono::milliseconds;

milliseconds LargeEvents::RefusedFor(const std::string& uri, const Checkpoint& event, Time now) {
  MutexLock lock(mutex_);
  const auto at = events_.find({uri, event});
  if (at == events_.end() || at->second.breaks < kMaxBreaks) return milliseconds(0);
  Entry& entry = at->second;
  if (!entry.refused) {
    entry.refused = true;
    entry.retry_at = now + entry.delays.Next();
  }
  if (now >= entry.retry_at) return milliseconds(0);
  return std::chrono::ceil<milliseconds>(entry.retry_at - now);
}

void LargeEvents::Broke(const std::string& uri, const Checkpoint& event) {
  MutexLock lock(mutex_);
  if (events_.size() >= kMaxEvents && !events_.contains({uri, event})) {
    events_.erase(events_.begin());
  }
  Entry& entry = events_[{uri, event}];
  ++entry.breaks;
  entry.refused = false;
}

void LargeEvents::Passed(const std::string& uri, const Checkpoint& event) {
  MutexLock lock(mutex_);
  events_.erase({uri, event});
}

}  // namespace pgc
