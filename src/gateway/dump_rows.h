#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/pages_answer.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// Some rows of a dump in the bytes that came: each is the length and the bytes of a `Change`.
struct PagesRows {
  std::shared_ptr<const grpc::Slice> bytes;
  std::vector<std::span<const uint8_t>> rows;
};

// One message of an agent.
struct PagesPart {
  PagesHeader answer;  // of the first one
  PagesRows rows;
  bool last = false;
};

// Takes the bytes of an AgentDumpResponse apart; InvalidArgument when they are none.
absl::StatusOr<PagesPart> ReadPagesPart(const grpc::ByteBuffer& bytes);
// The same of the bytes of a Change, which an agent sends that does not know DumpPages.
absl::StatusOr<PagesPart> ReadDumpChange(const grpc::ByteBuffer& bytes);

// The number that a dump has in the stream: the seq of its rows' checkpoints (docs/contract.md,
// sections 7 and 12).
uint32_t DumpId(const pb::DumpInfoResponse& info);

}  // namespace pgc
