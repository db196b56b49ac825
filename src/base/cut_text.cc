#include "base/cut_text.h"

#include <nlohmann/json.hpp>

namespace pgc {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxCharacterBytes = 4;

std::string Utf8Of(std::string_view text) {
  const std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

}  // namespace

std::string CutText(std::string_view text, size_t bytes) {
  std::string valid = Utf8Of(text.substr(0, bytes + kMaxCharacterBytes));
  if (valid.size() <= bytes) return valid;
  while (bytes > 0 && (static_cast<unsigned char>(valid[bytes]) & 0xC0) == 0x80) --bytes;
  valid.resize(bytes);
  return valid;
}

}  // namespace pgc
