#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace pgc {

// PostgreSQL's own clock: microseconds since 2000-01-01 00:00 UTC.
struct PgTimestamp {
  int64_t us = 0;

  auto operator<=>(const PgTimestamp&) const = default;
};

inline constexpr std::chrono::sys_days kPgEpoch{std::chrono::year{2000} / 1 / 1};

inline PgTimestamp PgNow() {
  const auto now = std::chrono::system_clock::now() - kPgEpoch;
  return {std::chrono::duration_cast<std::chrono::microseconds>(now).count()};
}

}  // namespace pgc
