#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "store/topic.h"

namespace pgc {

struct RetentionLimits {
  std::optional<int64_t> age_us;
  std::optional<uint64_t> bytes;  // of a topic
  uint64_t hard_bytes = UINT64_MAX;
};

// Removes the oldest whole blocks of these topics: those beyond the age or the bytes that no
// subscription needs, and, while all topics together have more than the hard limit, the oldest
// whoever needs them. The newest block of a topic always stays. Logs what cannot be removed.
void Retain(const std::vector<std::shared_ptr<Topic>>& topics, const RetentionLimits& limits,
            int64_t now_us);

}  // namespace pgc
