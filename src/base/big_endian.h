#pragma once

#include <cstdint>
#include <string>

namespace pgc {

// Appends a number as PostgreSQL sends it, and as keys have it that sort by it: the highest byte
// first.
template <typename T>
void AppendBigEndian(std::string& out, T value) {
  for (size_t i = sizeof value; i-- > 0;) out += static_cast<char>(value >> 8 * i);
}
inline void AppendBigEndian32(std::string& out, uint32_t value) { AppendBigEndian(out, value); }
inline void AppendBigEndian64(std::string& out, uint64_t value) { AppendBigEndian(out, value); }

}  // namespace pgc
