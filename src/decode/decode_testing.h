// What the tests of decoders share: golden files, and messages that no server sends.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decode/event_decoder.h"
#include "event/checkpoint.h"

namespace pgc {

using Bytes = std::vector<uint8_t>;

inline Bytes FromHex(std::string_view hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(
        static_cast<uint8_t>(std::strtoul(std::string(hex.substr(i, 2)).c_str(), nullptr, 16)));
  }
  return bytes;
}

inline std::string ToHex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

// Messages in, the lines `KEY HEX` of the events that must come out, and, where a decoder asks for
// it, the catalog: lines of a table's oid and its columns as NAME:TYPE.
struct Golden {
  std::string name;
  std::vector<Bytes> messages;
  std::vector<std::string> events;
  std::vector<std::string> catalog;
};

inline std::vector<Golden> ReadGolden(const std::string& plugin) {
  std::vector<Golden> all;
  const std::filesystem::path folder =
      std::filesystem::path(PGC_SOURCE_DIR) / "tests/golden" / plugin;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    Golden golden{.name = entry.path().stem(), .messages = {}, .events = {}, .catalog = {}};
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("< ")) golden.messages.push_back(FromHex(line.substr(2)));
      if (line.starts_with("> ")) golden.events.push_back(line.substr(2));
      if (line.starts_with("= ")) golden.catalog.push_back(line.substr(2));
    }
    all.push_back(std::move(golden));
  }
  return all;
}

// The events so far, as a golden file has them.
inline std::vector<std::string> Lines(EventDecoder& decoder) {
  std::vector<std::shared_ptr<const Block>> blocks = decoder.TakeFull();
  if (auto last = decoder.Flush()) blocks.push_back(std::move(last));
  std::vector<std::string> lines;
  for (const auto& block : blocks) {
    // What is in memory must also be what is read back from its bytes.
    const auto parsed = Block::Parse(block->bytes());
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    if (!parsed.ok()) continue;
    for (Block::Cursor cursor(**parsed); cursor.Next();) {
      lines.push_back(ToKey(cursor.event().checkpoint) + " " + ToHex(cursor.event().message));
    }
  }
  return lines;
}

class Message {
 public:
  explicit Message(char kind) { bytes_.push_back(static_cast<uint8_t>(kind)); }
  Message& U8(uint8_t value) { return Big(value, 1); }
  Message& U16(uint16_t value) { return Big(value, 2); }
  Message& U32(uint32_t value) { return Big(value, 4); }
  Message& U64(uint64_t value) { return Big(value, 8); }
  Message& Text(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    bytes_.push_back(0);
    return *this;
  }
  Message& Value(char kind, std::string_view value) {
    U8(static_cast<uint8_t>(kind)).U32(static_cast<uint32_t>(value.size()));
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }
  // NOLINTNEXTLINE(google-explicit-constructor): a message is its bytes
  operator std::span<const uint8_t>() const { return bytes_; }

 private:
  Message& Big(uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }
  Bytes bytes_;
};

}  // namespace pgc
