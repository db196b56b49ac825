// Whatever the bytes of a record, parsing ends without a report, and what was taken reads back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "store/records.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  constexpr uint64_t kEnd = uint64_t{1} << 40;
  if (const auto acked = pgc::ParseAckRanges(bytes, kEnd); acked.ok()) {
    const auto again = pgc::ParseAckRanges(pgc::EncodeAckRanges(*acked), kEnd);
    if (!again.ok() || *again != *acked) std::abort();
    if (!acked->above().empty() && acked->above().rbegin()->second > kEnd) std::abort();
  }
  if (const auto topic = pgc::ParseTopic(bytes); topic.ok()) {
    const auto again = pgc::ParseTopic(pgc::EncodeTopic(*topic));
    if (!again.ok() || again->id != topic->id || again->head != topic->head) std::abort();
  }
  return 0;
}
