// Whatever the bytes, a block is refused or can be read to its end, and its tails are blocks too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "event/block.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = pgc::Block::Parse(std::string(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  const pgc::Block& block = **parsed;
  unsigned sum = 0;
  uint32_t events = 0;
  for (pgc::Block::Cursor cursor(block); cursor.Next(); ++events) {
    for (const uint8_t byte : cursor.event().message) sum += byte;
    const uint32_t table = cursor.event().table;
    if (table != pgc::Event::kNoTable) sum += block.tables().at(table).name.size();
  }
  if (events != block.size()) std::abort();
  const auto tail = pgc::Tail(block, sum % block.size());
  const auto again = pgc::Block::Parse(tail->bytes());
  if (!again.ok() || (*again)->last() != block.last()) std::abort();
  return 0;
}
