// The few pieces of the protobuf wire format that are written and read without its library.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

namespace pgc::wire {

enum class Type : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// The tag of a field below 16, which is one byte.
constexpr uint8_t Tag(uint32_t field, Type type) {
  return static_cast<uint8_t>(field << 3 | static_cast<uint8_t>(type));
}
// The tag of any field, a varint.
constexpr uint32_t LongTag(uint32_t field, Type type) {
  return field << 3 | static_cast<uint32_t>(type);
}

// Bytes that `value` takes as a varint, 1 to 10.
constexpr size_t VarintSize(uint64_t value) {
  return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7;
}

// Writes `value` at `out`, which has room for it, and returns the end of it.
inline uint8_t* WriteVarint(uint8_t* out, uint64_t value) {
  while (value >= 0x80) {
    *out++ = static_cast<uint8_t>(value | 0x80);
    value >>= 7;
  }
  *out++ = static_cast<uint8_t>(value);
  return out;
}

inline void AppendVarint(std::string& out, uint64_t value) {
  uint8_t buffer[10];
  const uint8_t* const end = WriteVarint(buffer, value);
  out.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(end - buffer));
}

// Reads a varint at `in`, before `end`, and returns the end of it, or nullptr when it is cut off
// or longer than 64 bits.
inline const uint8_t* ReadVarint(const uint8_t* in, const uint8_t* end, uint64_t& value) {
  if (in != end && *in < 0x80) {  // most are
    value = *in;
    return in + 1;
  }
  value = 0;
  for (int shift = 0; shift < 64 && in != end; shift += 7) {
    const uint8_t byte = *in++;
    if (shift == 63 && byte > 1) return nullptr;
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return in;
  }
  return nullptr;
}

}  // namespace pgc::wire
