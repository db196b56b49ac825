#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "event/encoder.h"

namespace pgc {

// Reads the serialized protobuf `Message` of positions, which are views of it. DataLoss when it is
// none.
absl::StatusOr<std::vector<SequencePosition>> ParseSequences(std::span<const uint8_t> message);

}  // namespace pgc
