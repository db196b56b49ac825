// Protobuf messages for tests, written field by field.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "event/wire.h"

namespace pgc::wire {

inline std::span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A field of bytes, its length written in so many bytes more than it needs.
inline std::string Field(uint32_t field, std::string_view bytes, int longer = 0) {
  std::string out;
  AppendVarint(out, LongTag(field, Type::kBytes));
  AppendVarint(out, bytes.size());
  for (int i = 0; i < longer; ++i) {
    out.back() = static_cast<char>(out.back() | '\x80');
    out += '\0';
  }
  return out += bytes;
}

inline std::string Number(uint32_t field, uint64_t number) {
  std::string out;
  AppendVarint(out, LongTag(field, Type::kVarint));
  AppendVarint(out, number);
  return out;
}

}  // namespace pgc::wire
