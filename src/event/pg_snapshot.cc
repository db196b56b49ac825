#include "event/pg_snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace pgc {
namespace {

// Takes a number off the front of `text`.
bool TakeNumber(std::string_view& text, uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool TakeColon(std::string_view& text) {
  if (!text.starts_with(':')) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

bool PgSnapshot::Sees(uint32_t xid) const {
  const auto distance = static_cast<int32_t>(xid - static_cast<uint32_t>(xmax));
  if (distance >= 0) return false;
  const uint64_t full = xmax - static_cast<uint64_t>(-static_cast<int64_t>(distance));
  return !std::binary_search(running.begin(), running.end(), full);
}

absl::StatusOr<PgSnapshot> ParseSnapshot(std::string_view text) {
  PgSnapshot snapshot;
  std::string_view rest = text;
  bool good = TakeNumber(rest, snapshot.xmin) && TakeColon(rest) &&
              TakeNumber(rest, snapshot.xmax) && TakeColon(rest);
  while (good && !rest.empty()) {
    uint64_t xid = 0;
    good = TakeNumber(rest, xid);
    snapshot.running.push_back(xid);
    if (good && rest.starts_with(',')) {
      rest.remove_prefix(1);
      good = !rest.empty();
    } else {
      break;
    }
  }
  if (!good || !rest.empty() || snapshot.xmin > snapshot.xmax) {
    return absl::DataLossError(fmt::format("'{}' is no snapshot", text));
  }
  std::sort(snapshot.running.begin(), snapshot.running.end());
  return snapshot;
}

}  // namespace pgc
