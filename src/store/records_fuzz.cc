// Whatever the bytes of a record, parsing ends without a report, and what was taken reads back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "store/records.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  constexpr uint64_t kEnd = uint64_t{1} << 40;
  if (const auto read = pgc::ParseSubscription(bytes, kEnd); read.ok()) {
    const auto again = pgc::ParseSubscription(pgc::EncodeSubscription(*read), kEnd);
    if (!again.ok() || *again != *read) std::abort();
    const auto& above = read->acked.above();
    if (!above.empty() && above.rbegin()->second > kEnd) std::abort();
  }
  if (const auto store = pgc::ParseStore(bytes); store.ok()) {
    const auto again = pgc::ParseStore(pgc::EncodeStore(*store));
    if (!again.ok() || *again != *store) std::abort();
  }
  if (const auto floor = pgc::ParseFloor(bytes); floor.ok()) {
    const auto again = pgc::ParseFloor(pgc::EncodeFloor(*floor));
    if (!again.ok() || *again != *floor) std::abort();
  }
  if (const auto topic = pgc::ParseTopic(bytes); topic.ok()) {
    const auto again = pgc::ParseTopic(pgc::EncodeTopic(*topic));
    if (!again.ok() || again->id != topic->id || again->head != topic->head) std::abort();
  }
  return 0;
}
