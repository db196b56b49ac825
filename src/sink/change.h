#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/block.h"
#include "event/encoder.h"
#include "event/pg_timestamp.h"

namespace pgc {

// One column of a change as an event has it; views of the event's bytes.
struct ChangeField {
  std::string_view name;
  uint32_t oid = 0;  // of its type on the source
  FieldValue value;  // kNull, kBinary or kText
};

// The change in an event, taken apart; views of the event's bytes.
struct Change {
  Operation op = Operation::kInsert;
  std::string_view schema;
  std::string_view table;
  std::vector<ChangeField> new_row;
  std::vector<ChangeField> old_row;
};

// Reads the serialized protobuf `Message` of a change into `change`, whose memory is used again.
// DataLoss when the bytes are none: stored events do not change, so that it is damage.
absl::Status ParseChange(std::span<const uint8_t> message, Change& change);

// The same of other events. The time in a Commit:
absl::StatusOr<PgTimestamp> ParseCommitTime(std::span<const uint8_t> message);

// The tables of a Truncate; views of the event's bytes.
struct Truncation {
  std::vector<TableName> tables;
  bool restart_identity = false;
};
absl::StatusOr<Truncation> ParseTruncate(std::span<const uint8_t> message);

// The positions of sequences, which are views of the event's bytes.
absl::StatusOr<std::vector<SequencePosition>> ParseSequences(std::span<const uint8_t> message);

}  // namespace pgc
