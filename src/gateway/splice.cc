#include "gateway/splice.h"

#include <grpc/slice.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <cstring>

#include "event/capture_message.h"
#include "event/wire.h"

namespace pgc {
namespace {

using wire::Tag;
using wire::Type;
using wire::VarintSize;
namespace members = capture_message;

constexpr uint8_t kCheckpointLsn = Tag(1, Type::kVarint);
constexpr uint8_t kCheckpointSeq = Tag(2, Type::kVarint);
constexpr uint8_t kCheckpointData = Tag(3, Type::kBytes);
constexpr uint8_t kReplyCheckpoint = Tag(members::kCheckpoint, Type::kBytes);
constexpr uint32_t kReplyDumpLsn = wire::LongTag(members::kDumpLsn, Type::kVarint);
constexpr uint32_t kReplyMore = wire::LongTag(members::kMore, Type::kBytes);

uint32_t StoredTag(EventKind kind) {
  return wire::LongTag(static_cast<uint32_t>(kind), Type::kBytes);
}

uint32_t ReplyTag(EventKind kind) {
  switch (kind) {
    case EventKind::kChange:
      return wire::LongTag(members::kChange, Type::kBytes);
    case EventKind::kBegin:
      return wire::LongTag(members::kBegin, Type::kBytes);
    case EventKind::kCommit:
      return wire::LongTag(members::kCommit, Type::kBytes);
    case EventKind::kTruncate:
      return wire::LongTag(members::kTruncate, Type::kBytes);
    case EventKind::kLogicalMessage:
      return wire::LongTag(members::kLogicalMessage, Type::kBytes);
    case EventKind::kSequences:
      break;  // no consumer gets it
  }
  return 0;
}

// Of a stored event: the length and the bytes of what it holds, without the tag before it.
std::span<const uint8_t> Content(const Event& event) {
  return event.message.subspan(VarintSize(StoredTag(event.kind)));
}

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

// All of a reply but the length and bytes of what it holds.
class Header {
 public:
  explicit Header(const ReplyPart& part)
      : checkpoint_(part.checkpoint),
        data_(part.data),
        dump_lsn_(part.dump_lsn.value),
        tag_(ReplyTag(part.kind)),
        length_(NumberBytes(checkpoint_.lsn.value) + NumberBytes(checkpoint_.seq) +
                TextBytes(data_)) {}

  size_t bytes() const {
    const size_t dump_lsn = dump_lsn_ == 0 ? 0 : VarintSize(kReplyDumpLsn) + VarintSize(dump_lsn_);
    return 1 + VarintSize(length_) + length_ + dump_lsn + VarintSize(tag_);
  }

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
    if (dump_lsn_ != 0) {
      out = wire::WriteVarint(wire::WriteVarint(out, kReplyDumpLsn), dump_lsn_);
    }
    return wire::WriteVarint(out, tag_);
  }

 private:
  const Checkpoint checkpoint_;
  const std::string_view data_;
  const uint64_t dump_lsn_;
  const uint32_t tag_;
  const size_t length_;
};

// The header and, behind it, `content`. A short slice holds its bytes itself, so they are written
// before it is moved.
grpc::Slice Copy(const Header& header, std::span<const uint8_t> content) {
  grpc_slice slice = grpc_slice_malloc(header.bytes() + content.size());
  uint8_t* const out = header.Write(GRPC_SLICE_START_PTR(slice));
  if (!content.empty()) std::memcpy(out, content.data(), content.size());
  return {slice, grpc::Slice::STEAL_REF};
}

// A slice of the part's own bytes, which it keeps alive.
grpc::Slice ReferenceTo(const ReplyPart& part) {
  auto* const owner = new std::shared_ptr<const void>(part.owner);
  const auto release = [](void* held) { delete static_cast<std::shared_ptr<const void>*>(held); };
  // gRPC does not write to what it sends.
  return {const_cast<uint8_t*>(part.content.data()), part.content.size(), release, owner};
}

}  // namespace

bool IsWhatItsKindSays(const Event& event) {
  uint8_t tag[5];
  const auto length = static_cast<size_t>(wire::WriteVarint(tag, StoredTag(event.kind)) - tag);
  return event.message.size() > length && std::memcmp(event.message.data(), tag, length) == 0;
}

ReplyPart PartOf(const std::shared_ptr<const Block>& block, const Event& event,
                 std::string_view data) {
  return {.checkpoint = event.checkpoint,
          .data = data,
          .dump_lsn = {},
          .kind = event.kind,
          .content = Content(event),
          .owner = block};
}

size_t CaptureMessageBytes(const ReplyPart& part) {
  return Header(part).bytes() + part.content.size();
}

grpc::ByteBuffer SpliceCaptureMessage(const ReplyPart& part) {
  const Header header(part);
  if (part.content.size() < kSpliceByReferenceBytes) {
    const grpc::Slice whole = Copy(header, part.content);
    return {&whole, 1};
  }
  const grpc::Slice parts[] = {Copy(header, {}), ReferenceTo(part)};
  return {parts, 2};
}

BatchBuilder::BatchBuilder(size_t max_bytes)
    : max_bytes_(std::min(max_bytes, kMaxBytes)), buffer_(grpc_empty_slice()) {}

BatchBuilder::~BatchBuilder() { grpc_slice_unref(buffer_); }

bool BatchBuilder::Add(const ReplyPart& part) {
  const Header header(part);
  const size_t bytes = header.bytes() + part.content.size();
  const size_t before = size_ == 0 ? 0 : VarintSize(kReplyMore) + VarintSize(bytes);
  if (before + bytes > max_bytes_ - used_) return false;
  if (size_ == 0) buffer_ = grpc_slice_malloc_large(kMaxBytes);
  uint8_t* out = GRPC_SLICE_START_PTR(buffer_) + used_;
  if (size_ > 0) out = wire::WriteVarint(wire::WriteVarint(out, kReplyMore), bytes);
  out = header.Write(out);
  std::memcpy(out, part.content.data(), part.content.size());
  used_ += before + bytes;
  ++size_;
  return true;
}

grpc::ByteBuffer BatchBuilder::Finish() {
  // gRPC keeps the slice until the consumer's window has let it out: a small batch must not hold
  // the memory of a large one.
  if (used_ < kMaxBytes / 4) {
    const grpc::Slice copy(GRPC_SLICE_START_PTR(buffer_), used_);
    return {&copy, 1};
  }
  GRPC_SLICE_SET_LENGTH(buffer_, used_);
  const grpc::Slice whole(buffer_, grpc::Slice::ADD_REF);
  return {&whole, 1};
}

}  // namespace pgc
