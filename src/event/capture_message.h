#pragma once

#include <cstdint>

namespace pgc::capture_message {

// The members of a protobuf `CaptureMessage` by their numbers (docs/contract.md, sections 7 and
// 12).
enum Field : uint32_t {
  kCheckpoint = 1,
  kChange = 2,
  kDumpLsn = 20,
  kBegin = 21,
  kCommit = 22,
  kTruncate = 23,
  kLogicalMessage = 24,
  kMore = 25,
};

}  // namespace pgc::capture_message
