#pragma once

#include <grpc/slice.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string_view>

#include "event/block.h"

namespace pgc {

// From this size on an event's bytes are not copied into the reply, but referenced.
inline constexpr size_t kSpliceByReferenceBytes = 16 << 10;

// Whether a stored event is the bytes of a `Message` with the member that its kind says.
bool IsWhatItsKindSays(const Event& event);

// What SpliceCaptureMessage makes of an event.
size_t CaptureMessageBytes(const Event& event, std::string_view data);

// The bytes of a `CaptureMessage`: the checkpoint of `event`, with `data`, and what it holds. That
// is not parsed: the members of `Message` and of `CaptureMessage` differ in their tags only.
// `event` is one of `block`, which lives as long as the buffer needs it.
grpc::ByteBuffer SpliceCaptureMessage(const std::shared_ptr<const Block>& block, const Event& event,
                                      std::string_view data);

// The bytes of a `CaptureMessage` that holds many events: the first itself, the others in `more`.
// They are copied. Not thread-safe.
class BatchBuilder {
 public:
  static constexpr size_t kMaxBytes = 64 << 10;

  // A batch has at most `max_bytes`, and never more than kMaxBytes.
  explicit BatchBuilder(size_t max_bytes);
  ~BatchBuilder();
  BatchBuilder(const BatchBuilder&) = delete;
  BatchBuilder& operator=(const BatchBuilder&) = delete;

  // False, and nothing is added, when the event does not fit.
  bool Add(const Event& event, std::string_view data);
  size_t size() const { return size_; }
  // The batch, which has an event. Called last.
  grpc::ByteBuffer Finish();

 private:
  const size_t max_bytes_;
  grpc_slice buffer_;
  size_t used_ = 0;
  size_t size_ = 0;
};

}  // namespace pgc
