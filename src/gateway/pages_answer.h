// What an agent answers, taken apart without a copy; no gRPC, no protobuf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/lsn.h"
#include "event/pg_snapshot.h"

namespace pgc {

// What an agent says of a dump before its rows.
struct PagesHeader {
  Lsn applied;                 // R: each commit at or below it is visible in the rows
  Lsn upper;                   // U: no commit above it is; zero when that does not matter
  std::string store_position;  // the `data` of the event at R, where that is known
  uint64_t system_identifier = 0;
  PgSnapshot snapshot;
  // The rows show those transactions of the log that the snapshot sees, also above R, and no other.
  bool by_snapshot = false;
  uint32_t relfilenode = 0;
  uint32_t pages = 0;
  bool sweep_needed = false;
  bool no_key = false;
  // The name that the table's changes have; empty: an older agent, which says it with the rows.
  std::string schema;
  std::string table;
};

// Of one message, in its bytes.
struct PagesAnswer {
  PagesHeader header;                          // of the first one
  std::vector<std::span<const uint8_t>> rows;  // each the length and the bytes of a `Change`
  bool last = false;
};

// Takes the bytes of an AgentDumpResponse apart; InvalidArgument when they are none, or its rows
// are not all changes of one table.
absl::StatusOr<PagesAnswer> ParsePagesAnswer(std::span<const uint8_t> bytes);

// InvalidArgument when they are not all changes of one table: a consumer would break at such a row,
// and come back for it.
absl::Status CheckRows(const std::vector<std::span<const uint8_t>>& rows);

// What a row or an event says of itself.
struct ChangeSummary {
  std::string_view schema;
  std::string_view table;
  bool is_update = false;
  size_t new_fields = 0;
};
// Of the bytes of a `Change`; nullopt when they are none.
std::optional<ChangeSummary> Summarize(std::span<const uint8_t> change);
// The bytes of the `Change` that a row has behind its length.
std::span<const uint8_t> ChangeOf(std::span<const uint8_t> row);

}  // namespace pgc
