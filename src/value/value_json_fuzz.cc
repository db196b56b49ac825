// Values of any type and any bytes become one line of JSON.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "value/json_text.h"
#include "value/value_json.h"

// The type in four bytes, big-endian, whether it is text, then the value.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 5) return 0;
  uint32_t oid = 0;
  for (int i = 0; i < 4; ++i) oid = oid << 8 | data[i];
  const auto format = data[4] % 2 == 0 ? pgc::ValueFormat::kBinary : pgc::ValueFormat::kText;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 5, size - 5);
  std::string json;
  pgc::AppendValueJson(json, oid, format, bytes);
  std::string again;
  if (json.find('\n') != std::string::npos || !pgc::AppendJsonText(again, json)) std::abort();
  return 0;
}
