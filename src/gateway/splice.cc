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

// All of a reply but the length and bytes of its change.
class Header {
 public:
  Header(const Checkpoint& checkpoint, std::string_view data)
      : checkpoint_(checkpoint),
        data_(data),
        length_(NumberBytes(checkpoint.lsn.value) + NumberBytes(checkpoint.seq) + TextBytes(data)) {
  }

  size_t bytes() const { return 1 + VarintSize(length_) + length_ + 1; }

  uint8_t* Write(uint8_t* out) const {
    *out++ = kReplyCheckpoint;
    out = wire::WriteVarint(out, length_);
    out = WriteNumber(out, kCheckpointLsn, checkpoint_.lsn.value);
    out = WriteNumber(out, kCheckpointSeq, checkpoint_.seq);
    if (!data_.empty()) {
      *out++ = kCheckpointData;
      out = wire::WriteVarint(out, data_.size());
      std::memcpy(out, data_.data(), data_.size());
      out += data_.size();
    }
    *out++ = kReplyChange;
    return out;
  }

 private:
  const Checkpoint checkpoint_;
  const std::string_view data_;
  const size_t length_;
};

// The header and, behind it, `change`. A short slice holds its bytes itself, so they are written
// before it is moved.
grpc::Slice Copy(const Header& header, std::span<const uint8_t> change) {
  grpc_slice slice = grpc_slice_malloc(header.bytes() + change.size());
  uint8_t* const out = header.Write(GRPC_SLICE_START_PTR(slice));
  if (!change.empty()) std::memcpy(out, change.data(), change.size());
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
  const Header header(event.checkpoint, data);
  if (change.size() < kSpliceByReferenceBytes) {
    const grpc::Slice whole = Copy(header, change);
    return {&whole, 1};
  }
  const grpc::Slice parts[] = {Copy(header, {}), ReferenceTo(block, change)};
  return {parts, 2};
}

}  // namespace pgc
