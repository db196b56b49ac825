// A message of a topic is read, or is no event; the block that is built of it can be read.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "store/pulsar_event.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t key = data[0] % 32 < size - 1 ? data[0] % 32 : size - 1;
  const std::span<const uint8_t> payload(data + 1 + key, size - 1 - key);
  const auto event = pgc::ReadPulsarEvent({reinterpret_cast<const char*>(data + 1), key}, payload);
  if (!event.ok() || !event->has_value()) return 0;
  pgc::BlockBuilder builder;
  pgc::AddTo(builder, **event, payload);
  if (!pgc::Block::Parse(builder.Finish()->bytes()).ok()) std::abort();
  return 0;
}
