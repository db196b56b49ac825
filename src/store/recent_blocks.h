#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "store/topic.h"

namespace pgc {

// The newest blocks of all topics, as they were appended, for consumers that are at the end.
//
// Thread-safe. Keeps at most `max_bytes`; a larger block is not kept at all.
class RecentBlocks {
 public:
  explicit RecentBlocks(size_t max_bytes) : max_bytes_(max_bytes) {}

  void Add(uint32_t topic, const StoredBlock& block);
  // The block that has this event, if it is kept.
  std::optional<StoredBlock> Find(uint32_t topic, uint64_t ordinal) const;

 private:
  using Key = std::pair<uint32_t, uint64_t>;  // topic, first ordinal

  const size_t max_bytes_;
  mutable Mutex mutex_;
  size_t bytes_ PGC_GUARDED_BY(mutex_) = 0;
  std::map<Key, StoredBlock> blocks_ PGC_GUARDED_BY(mutex_);
  std::deque<Key> by_age_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
