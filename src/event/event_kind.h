#pragma once

#include <cstdint>
#include <optional>

#include "event/block.h"

namespace pgc {

// The kind with this number, a field of the protobuf `Message`; nothing when it is none.
inline std::optional<EventKind> EventKindOf(uint32_t number) {
  if (number > UINT8_MAX) return std::nullopt;
  switch (static_cast<EventKind>(number)) {
    case EventKind::kBegin:
    case EventKind::kCommit:
    case EventKind::kChange:
    case EventKind::kTruncate:
    case EventKind::kLogicalMessage:
    case EventKind::kSequences:
      return static_cast<EventKind>(number);
  }
  return std::nullopt;
}

}  // namespace pgc
