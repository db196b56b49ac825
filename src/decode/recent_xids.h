#pragma once

#include <cstdint>
#include <vector>

namespace pgc {

// Which transactions were added, among those with about the newest ids. Not thread-safe.
class RecentXids {
 public:
  // It remembers ids up to this far behind the newest.
  static constexpr uint32_t kSize = 1 << 18;

  void Add(uint32_t xid) {
    // Ids wrap around: the difference tells which is newer.
    const auto ahead = static_cast<int32_t>(xid - newest_);
    if (bits_.empty() || ahead >= static_cast<int32_t>(kSize)) {
      bits_.assign(kSize, false);
      newest_ = xid;
    } else if (ahead <= -static_cast<int32_t>(kSize)) {
      return;
    }
    while (static_cast<int32_t>(xid - newest_) > 0) bits_[++newest_ % kSize] = false;
    bits_[xid % kSize] = true;
  }

  bool Has(uint32_t xid) const {
    const auto behind = static_cast<int32_t>(newest_ - xid);
    return !bits_.empty() && behind >= 0 && behind < static_cast<int32_t>(kSize) &&
           bits_[xid % kSize];
  }

 private:
  std::vector<bool> bits_;
  uint32_t newest_ = 0;
};

}  // namespace pgc
