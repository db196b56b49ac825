#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string_view>

#include "event/block.h"

namespace pgc {

// From this size on a change's bytes are not copied into the reply, but referenced.
inline constexpr size_t kSpliceByReferenceBytes = 16 << 10;

// Whether a stored event is the bytes of a `Message` with a change, as its kind says.
bool IsChangeMessage(const Event& event);

// The bytes of a `CaptureMessage`: the checkpoint of `event`, with `data`, and its change. The
// change is not parsed: `Message.change` and `CaptureMessage.change` differ in their tag only.
// `event` is a change of `block`, which lives as long as the buffer needs it.
grpc::ByteBuffer SpliceCaptureMessage(const std::shared_ptr<const Block>& block, const Event& event,
                                      std::string_view data);

}  // namespace pgc
