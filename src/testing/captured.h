// Reads what a source captures, down to the bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "event/pipeline.h"

namespace pgc {

// One event, with the table of a change.
struct CapturedEvent {
  EventKind kind = EventKind::kBegin;
  Checkpoint checkpoint;
  EventKey key;
  std::string message;

  bool operator==(const CapturedEvent&) const = default;
};

// A change taken apart.
struct CapturedField {
  std::string name;
  uint32_t oid = 0;
  bool is_text = false;
  std::optional<std::string> value;  // none: null

  bool operator==(const CapturedField&) const = default;
};
struct CapturedChange {
  int op = 0;
  std::string schema;
  std::string table;
  std::vector<CapturedField> new_row;
  std::vector<CapturedField> old_row;
};

// Opens the source, reads until all up to `end` is captured, acknowledging it, and gives each event
// once, but for positions of sequences, which come when they may. DeadlineExceeded when that takes
// too long.
absl::StatusOr<std::vector<CapturedEvent>> ReadTo(EventSource& source, Lsn end,
                                                  std::chrono::seconds limit);

CapturedChange ParseChange(const CapturedEvent& event);

}  // namespace pgc
