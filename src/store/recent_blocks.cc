#include "store/recent_blocks.h"

#include <iterator>

namespace pgc {

void RecentBlocks::Add(uint32_t topic, const StoredBlock& block) {
  const size_t size = block.block->bytes().size();
  if (size > max_bytes_) return;
  MutexLock lock(mutex_);
  while (bytes_ + size > max_bytes_) {
    const auto oldest = blocks_.find(by_age_.front());
    bytes_ -= oldest->second.block->bytes().size();
    blocks_.erase(oldest);
    by_age_.pop_front();
  }
  bytes_ += size;
  by_age_.emplace_back(topic, block.first);
  blocks_.emplace(by_age_.back(), block);
}

std::optional<StoredBlock> RecentBlocks::Find(uint32_t topic, uint64_t ordinal) const {
  MutexLock lock(mutex_);
  auto after = blocks_.upper_bound({topic, ordinal});
  if (after == blocks_.begin()) return std::nullopt;
  const auto& [key, block] = *--after;
  if (key.first != topic || ordinal >= block.range().end) return std::nullopt;
  return block;
}

}  // namespace pgc
