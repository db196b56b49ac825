#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "event/wire.h"

namespace pgc::wire {

// Walks the fields of a serialized protobuf message:
//   for (Reader reader(bytes); reader.Next();) switch (reader.field()) { … }
// Check ok() at the end: false once the bytes are no message.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes)
      : in_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool Next() {
    if (in_ == end_ || in_ == nullptr) return false;
    bytes_ = {};
    uint64_t tag = 0;
    in_ = ReadVarint(in_, end_, tag);
    if (in_ == nullptr || tag > UINT32_MAX) return Fail();
    field_ = static_cast<uint32_t>(tag >> 3);
    type_ = static_cast<Type>(tag & 7);
    switch (type_) {
      case Type::kVarint:
        in_ = ReadVarint(in_, end_, number_);
        return in_ != nullptr;
      case Type::kBytes:
        in_ = ReadVarint(in_, end_, number_);
        if (in_ == nullptr) return false;
        return Take(number_);
      case Type::kFixed64:
        return Take(8);
      case Type::kFixed32:
        return Take(4);
    }
    return Fail();
  }

  bool ok() const { return in_ != nullptr; }
  uint32_t field() const { return field_; }
  bool is_bytes() const { return type_ == Type::kBytes; }
  bool is_number() const { return type_ == Type::kVarint; }
  // Of a field that is a varint; else meaningless, as the next two are of others than bytes.
  uint64_t number() const { return number_; }
  std::span<const uint8_t> bytes() const { return bytes_; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

 private:
  bool Fail() {
    in_ = nullptr;
    return false;
  }
  bool Take(uint64_t length) {
    if (length > static_cast<uint64_t>(end_ - in_)) return Fail();
    bytes_ = {in_, static_cast<size_t>(length)};
    in_ += length;
    return true;
  }

  const uint8_t* in_;  // nullptr: failed
  const uint8_t* end_;
  uint32_t field_ = 0;
  Type type_ = Type::kVarint;
  uint64_t number_ = 0;
  std::span<const uint8_t> bytes_;
};

}  // namespace pgc::wire
