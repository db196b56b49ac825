#pragma once

#include <cstdint>
#include <string_view>

#include "event/wire.h"

namespace pgc {

// Walks the fields of a protobuf message; what it is given comes from our own encoder.
class ProtobufFields {
 public:
  explicit ProtobufFields(std::string_view message)
      : in_(reinterpret_cast<const uint8_t*>(message.data())), end_(in_ + message.size()) {}

  bool Next() {
    if (in_ == nullptr || in_ == end_) return false;
    uint64_t tag = 0;
    in_ = wire::ReadVarint(in_, end_, tag);
    number = tag >> 3;
    in_ = wire::ReadVarint(in_, end_, value);
    bytes = {};
    if ((tag & 7) == 2) {
      bytes = {reinterpret_cast<const char*>(in_), value};
      in_ += value;
    }
    return true;
  }

  uint64_t number = 0;
  uint64_t value = 0;      // of a number
  std::string_view bytes;  // of a message or text

 private:
  const uint8_t* in_;
  const uint8_t* end_;
};

}  // namespace pgc
