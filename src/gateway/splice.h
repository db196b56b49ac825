#pragma once

#include <grpc/slice.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "event/block.h"
#include "event/lsn.h"

namespace pgc {

// From this size on an event's bytes are not copied into the reply, but referenced.
inline constexpr size_t kSpliceByReferenceBytes = 16 << 10;

// Whether a stored event is the bytes of a `Message` with the member that its kind says.
bool IsWhatItsKindSays(const Event& event);

// What a `CaptureMessage` is made of.
struct ReplyPart {
  Checkpoint checkpoint;
  std::string_view data;  // of the checkpoint
  Lsn dump_lsn;           // of a row of a dump
  EventKind kind = EventKind::kChange;
  std::span<const uint8_t> content;   // of `kind`: its length and its bytes
  std::shared_ptr<const void> owner;  // of the content, as long as the buffer needs it
};
// Of an event of `block`.
ReplyPart PartOf(const std::shared_ptr<const Block>& block, const Event& event,
                 std::string_view data);

// What SpliceCaptureMessage makes of it.
size_t CaptureMessageBytes(const ReplyPart& part);

// The bytes of a `CaptureMessage`. What it holds is not parsed: the members of `Message` and of
// `CaptureMessage` differ in their tags only.
grpc::ByteBuffer SpliceCaptureMessage(const ReplyPart& part);

// The bytes of a `CaptureMessage` that holds many: the first itself, the others in `more`. They are
// copied. Not thread-safe.
class BatchBuilder {
 public:
  static constexpr size_t kMaxBytes = 64 << 10;

  // A batch has at most `max_bytes`, and never more than kMaxBytes.
  explicit BatchBuilder(size_t max_bytes);
  ~BatchBuilder();
  BatchBuilder(const BatchBuilder&) = delete;
  BatchBuilder& operator=(const BatchBuilder&) = delete;

  // False, and nothing is added, when it does not fit.
  bool Add(const ReplyPart& part);
  size_t size() const { return size_; }
  // The batch, which is not empty. Called last.
  grpc::ByteBuffer Finish();

 private:
  const size_t max_bytes_;
  grpc_slice buffer_;
  size_t used_ = 0;
  size_t size_ = 0;
};

}  // namespace pgc
