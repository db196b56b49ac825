// Input: one CopyData message. Whatever the bytes, what is parsed lies within them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "source/stream_message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto message = pgc::ParseStreamMessage({data, size});
  if (!message.ok()) return 0;
  if (message->kind == pgc::StreamMessage::Kind::kKeepalive) {
    if (size != 18) std::abort();
  } else if (message->data.data() != data + 25 || message->data.size() != size - 25) {
    std::abort();
  }
  return 0;
}
