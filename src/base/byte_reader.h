#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace pgc {

// Reads PostgreSQL's big-endian wire types. Once a read goes past the end every further one gives
// zero or nothing and ok() stays false, so a decoder checks once, at its end.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes)
      : in_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  uint8_t U8() { return static_cast<uint8_t>(Big<1>()); }
  uint16_t U16() { return static_cast<uint16_t>(Big<2>()); }
  uint32_t U32() { return static_cast<uint32_t>(Big<4>()); }
  uint64_t U64() { return Big<8>(); }
  int64_t I64() { return static_cast<int64_t>(Big<8>()); }

  std::span<const uint8_t> Bytes(size_t length) {
    if (length > remaining()) {
      Fail();
      return {};
    }
    const std::span<const uint8_t> bytes(in_, length);
    in_ += length;
    return bytes;
  }

  // Text up to a NUL byte, which is read too.
  std::string_view CString() {
    const void* const nul = in_ == end_ ? nullptr : std::memchr(in_, 0, remaining());
    if (nul == nullptr) {
      Fail();
      return {};
    }
    const auto* const text = reinterpret_cast<const char*>(in_);
    const size_t length = static_cast<size_t>(static_cast<const char*>(nul) - text);
    in_ += length + 1;
    return {text, length};
  }

  bool ok() const { return ok_; }
  size_t remaining() const { return static_cast<size_t>(end_ - in_); }
  // All was there, and nothing is left.
  bool done() const { return ok_ && in_ == end_; }

 private:
  template <size_t kBytes>
  uint64_t Big() {
    if (remaining() < kBytes) {
      Fail();
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < kBytes; ++i) value = value << 8 | in_[i];
    in_ += kBytes;
    return value;
  }
  void Fail() {
    ok_ = false;
    in_ = end_;
  }

  const uint8_t* in_;
  const uint8_t* const end_;
  bool ok_ = true;
};

}  // namespace pgc
