#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "event/store.h"

namespace pgc {

// Where a subscription begins, as people and consumers write it (docs/contract.md, section 12):
// `end`, `beginning`, an LSN (`16/B374D848`) or an RFC 3339 time (`2026-01-02T03:04:05Z`).
// InvalidArgument for anything else, also for `snapshot`, which is more than a place.
absl::StatusOr<SubscriptionStart> ParseStart(std::string_view text);

}  // namespace pgc
