// Input: messages, each after its length as two big-endian bytes. Whatever the bytes, decoding
// ends without a report, and what was written is a block that reads back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "decode/pgoutput.h"

namespace {

void MustReadBack(const std::shared_ptr<const pgc::Block>& block) {
  const auto parsed = pgc::Block::Parse(block->bytes());
  if (!parsed.ok() || (*parsed)->size() != block->size() || (*parsed)->last() != block->last()) {
    std::abort();
  }
  size_t bytes = 0;
  for (pgc::Block::Cursor cursor(**parsed); cursor.Next();) bytes += cursor.event().message.size();
  if (bytes > block->bytes().size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pgc::PgOutputDecoder decoder;
  while (size >= 2) {
    const size_t length = std::min<size_t>(size - 2, size_t{data[0]} << 8 | data[1]);
    if (!decoder.Decode({data + 2, length}).ok()) break;
    data += 2 + length;
    size -= 2 + length;
  }
  for (const auto& block : decoder.TakeFull()) MustReadBack(block);
  if (const auto block = decoder.Flush()) MustReadBack(block);
  return 0;
}
