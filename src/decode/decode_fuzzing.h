// What the fuzz targets of decoders share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "decode/event_decoder.h"

namespace pgc {

inline void MustReadBack(const std::shared_ptr<const Block>& block) {
  const auto parsed = Block::Parse(block->bytes());
  if (!parsed.ok() || (*parsed)->size() != block->size() || (*parsed)->last() != block->last()) {
    std::abort();
  }
  size_t bytes = 0;
  for (Block::Cursor cursor(**parsed); cursor.Next();) bytes += cursor.event().message.size();
  if (bytes > block->bytes().size()) std::abort();
}

// Input: messages, each after its length as two big-endian bytes. Whatever the bytes, decoding
// ends without a report, and what was written is a block that reads back.
inline void DecodeAll(EventDecoder& decoder, const uint8_t* data, size_t size) {
  while (size >= 2) {
    const size_t length = std::min<size_t>(size - 2, size_t{data[0]} << 8 | data[1]);
    absl::Status status = decoder.Decode({data + 2, length});
    if (status.ok() && decoder.waiting()) status = decoder.Resume();
    if (!status.ok()) break;
    data += 2 + length;
    size -= 2 + length;
  }
  for (const auto& block : decoder.TakeFull()) MustReadBack(block);
  if (const auto block = decoder.Flush()) MustReadBack(block);
}

}  // namespace pgc
