#pragma once

#include <compare>
#include <cstdint>

namespace pgc {

// PostgreSQL's own clock: microseconds since 2000-01-01 00:00 UTC.
struct PgTimestamp {
  int64_t us = 0;

  auto operator<=>(const PgTimestamp&) const = default;
};

}  // namespace pgc
