#pragma once

#include <limits>
#include <optional>

#include "event/block.h"
#include "event/pg_timestamp.h"

namespace pgc {

// Before every commit time: that of a log without transactions.
constexpr PgTimestamp kNoCommit{std::numeric_limits<int64_t>::min()};

// When the transaction of a Begin event was committed; nothing for all other events, and for one
// that does not say.
std::optional<PgTimestamp> CommitTime(const Event& event);

// The later of `before` and the newest commit time in `block`.
PgTimestamp NewestCommit(const Block& block, PgTimestamp before);

}  // namespace pgc
