#include "event/lsn.h"

#include <fmt/format.h>

#include <charconv>

namespace pgc {
namespace {

bool ParseHalf(std::string_view text, uint32_t& half) {
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, half, 16);
  return !text.empty() && text.size() <= 8 && result.ec == std::errc() && result.ptr == end;
}

}  // namespace

std::string ToString(Lsn lsn) {
  return fmt::format("{:X}/{:X}", lsn.value >> 32, lsn.value & 0xFFFFFFFF);
}

absl::StatusOr<Lsn> ParseLsn(std::string_view text) {
  const size_t slash = text.find('/');
  uint32_t high = 0;
  uint32_t low = 0;
  if (slash == std::string_view::npos || !ParseHalf(text.substr(0, slash), high) ||
      !ParseHalf(text.substr(slash + 1), low)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not an LSN; one looks like 16/B374D848", text));
  }
  return Lsn{(uint64_t{high} << 32) | low};
}

}  // namespace pgc
