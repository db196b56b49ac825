// The envelope of what a walsender sends in CopyData (PostgreSQL's documentation, "Streaming
// Replication Protocol"; integers are big-endian):
//
//   w  XLogData   u64 start lsn, u64 end of WAL, i64 time, then a message of the output plugin
//   k  Keepalive  u64 end of WAL, i64 time, u8 reply requested
//
// and of what we send:
//
//   r  Status     u64 written, u64 flushed, u64 applied, i64 time, u8 reply requested
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "event/lsn.h"

namespace pgc {

struct StreamMessage {
  enum class Kind : uint8_t { kData, kKeepalive };
  Kind kind = Kind::kData;
  std::span<const uint8_t> data;  // kData: a message of the output plugin
  Lsn wal_end;                    // kKeepalive: all before it has been decoded and sent
  bool reply_requested = false;   // kKeepalive
};

// DataLoss, naming what is wrong, when it is neither.
absl::StatusOr<StreamMessage> ParseStreamMessage(std::span<const uint8_t> bytes);

using StatusUpdate = std::array<uint8_t, 34>;
// Says that all before `flushed` is durable here.
StatusUpdate MakeStatusUpdate(Lsn flushed, int64_t now_us, bool reply_requested);

}  // namespace pgc
