#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pgc {

// What pg_current_snapshot() prints: `xmin:xmax:running,running`.
struct PgSnapshot {
  uint64_t xmin = 0;              // all before it have ended
  uint64_t xmax = 0;              // none from it on is seen
  std::vector<uint64_t> running;  // between the two, ascending

  // Whether what a transaction that has committed wrote is seen. `xid` is its number without the
  // epoch, as rows and the log have it: one of the two thousand million around xmax.
  bool Sees(uint32_t xid) const;
};

// DataLoss when it is none.
absl::StatusOr<PgSnapshot> ParseSnapshot(std::string_view text);

}  // namespace pgc
