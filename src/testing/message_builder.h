#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace pgc {

// Builds a message of PostgreSQL's protocol: its kind, then numbers in big-endian and texts.
class MessageBuilder {
 public:
  explicit MessageBuilder(char kind) { bytes_.push_back(static_cast<uint8_t>(kind)); }
  MessageBuilder& U8(uint8_t value) { return Big(value, 1); }
  MessageBuilder& U16(uint16_t value) { return Big(value, 2); }
  MessageBuilder& U32(uint32_t value) { return Big(value, 4); }
  MessageBuilder& U64(uint64_t value) { return Big(value, 8); }
  MessageBuilder& Text(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    bytes_.push_back(0);
    return *this;
  }
  // A column of a row.
  MessageBuilder& Value(char kind, std::string_view value) {
    U8(static_cast<uint8_t>(kind)).U32(static_cast<uint32_t>(value.size()));
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }

  const std::vector<uint8_t>& bytes() const { return bytes_; }
  // NOLINTNEXTLINE(google-explicit-constructor): a message is its bytes
  operator std::span<const uint8_t>() const { return bytes_; }

 private:
  MessageBuilder& Big(uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }
  std::vector<uint8_t> bytes_;
};

}  // namespace pgc
