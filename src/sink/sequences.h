#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pgc {

// Where a sequence of the source stands; views of the event's bytes.
struct SequencePosition {
  std::string_view schema;
  std::string_view name;
  int64_t last_value = 0;
  bool is_called = false;
};

// Reads the serialized protobuf `Message` of positions. DataLoss when it is none.
absl::StatusOr<std::vector<SequencePosition>> ParseSequences(std::span<const uint8_t> message);

}  // namespace pgc
