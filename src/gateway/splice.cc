#include "gateway/splice.h"

#include <grpc/slice.h>
#include <grpcpp/support/slice.h>

#include <cstring>

#include "event/wire.h"

namespace pgc {
namespace {

using wire::Tag;
using wire::Type;
using wire::VarintSize;

constexpr uint8_t kMessageChange = Tag(3, Type::kBytes);
constexpr uint8_t kCheckpointLsn = Tag(1, Type::kVarint);
constexpr uint8_t kCheckpointSeq = Tag(2, Type::kVarint);
constexpr uint8_t kCheckpointData = Tag(3, Type::kBytes);
constexpr uint8_t kReplyCheckpoint = Tag(1, Type::kBytes);
constexpr uint8_t kReplyChange = Tag(2, Type::kBytes);

// Zero and empty are left out, as proto3 does.
size_t NumberBytes(uint64_t value) { return value == 0 ? 0 : 1 + VarintSize(value); }
size_t TextBytes(std::string_view text) {
  return text.empty() ? 0 : 1 + VarintSize(text.size()) + text.size();
}

uint8_t* WriteNumber(uint8_t* out, uint8_t tag, uint64_t value) {
  if (value == 0) return out;
  *out++ = tag;
  return wire::WriteVarint(out, value);
}

grpc::Slice NewSlice(size_t bytes, uint8_t*& out) {
  grpc_slice slice = grpc_slice_malloc(bytes);
  out = GRPC_SLICE_START_PTR(slice);
  return {slice, grpc::Slice::STEAL_REF};
}

// A slice of the block's own bytes, which it keeps alive.
grpc::Slice ReferenceTo(const std::shared_ptr<const Block>& block, std::span<const uint8_t> bytes) {
  auto* const owner = new std::shared_ptr<const Block>(block);
  const auto release = [](void* held) { delete static_cast<std::shared_ptr<const Block>*>(held); };
  // gRPC does not write to what it sends.
  return {const_cast<uint8_t*>(bytes.data()), bytes.size(), release, owner};
}

}  // namespace

bool IsChangeMessage(const Event& event) { return event.message.front() == kMessageChange; }

grpc::ByteBuffer SpliceCaptureMessage(const std::shared_ptr<const Block>& block, const Event& event,
                                      std::string_view data) {
  const std::span<const uint8_t> change = event.message.subspan(1);  // its length and bytes
  const uint64_t lsn = event.checkpoint.lsn.value;
  const size_t checkpoint = NumberBytes(lsn) + NumberBytes(event.checkpoint.seq) + TextBytes(data);
  const size_t header = 1 + VarintSize(checkpoint) + checkpoint + 1;
  const bool copied = change.size() < kSpliceByReferenceBytes;

  uint8_t* out = nullptr;
  grpc::Slice slices[2] = {NewSlice(header + (copied ? change.size() : 0), out), grpc::Slice()};
  *out++ = kReplyCheckpoint;
  out = wire::WriteVarint(out, checkpoint);
  out = WriteNumber(out, kCheckpointLsn, lsn);
  out = WriteNumber(out, kCheckpointSeq, event.checkpoint.seq);
  if (!data.empty()) {
    *out++ = kCheckpointData;
    out = wire::WriteVarint(out, data.size());
    std::memcpy(out, data.data(), data.size());
    out += data.size();
  }
  *out++ = kReplyChange;
  if (copied) {
    std::memcpy(out, change.data(), change.size());
    return {slices, 1};
  }
  slices[1] = ReferenceTo(block, change);
  return {slices, 2};
}

}  // namespace pgc
