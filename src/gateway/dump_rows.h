#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "event/lsn.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// What an agent says of a dump before its rows.
struct DumpAnswer {
  Lsn applied;  // R: each commit at or below it is visible in the rows
  Lsn upper;    // U: no commit above it is; zero when that does not matter
  uint64_t system_identifier = 0;
  uint64_t snapshot_xmin = 0;
  uint32_t relfilenode = 0;
  uint32_t pages = 0;
  bool sweep_needed = false;
  bool no_key = false;
};

// Some rows of a dump in the bytes that came: each is the length and the bytes of a `Change`.
struct DumpRows {
  std::shared_ptr<const grpc::Slice> bytes;
  std::vector<std::span<const uint8_t>> rows;
};

// One message of an agent.
struct DumpPart {
  DumpAnswer answer;  // of the first one
  DumpRows rows;
  bool last = false;
};

// Takes the bytes of an AgentDumpResponse apart; InvalidArgument when they are none.
absl::StatusOr<DumpPart> ReadDumpPart(const grpc::ByteBuffer& bytes);
// The same of the bytes of a Change, which an agent sends that does not know DumpPages.
absl::StatusOr<DumpPart> ReadDumpChange(const grpc::ByteBuffer& bytes);

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

// The number that a dump has in the stream: the seq of its rows' checkpoints (docs/contract.md,
// sections 7 and 12).
uint32_t DumpId(const pb::DumpInfoResponse& info);

}  // namespace pgc
