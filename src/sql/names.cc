#include "sql/names.h"

#include <cctype>
#include <cstdint>
#include <optional>

namespace pgc {
namespace {

bool IsUnicodeQuoted(std::string_view token) {
  return token.size() >= 4 && (token[0] == 'U' || token[0] == 'u') && token[1] == '&' &&
         token[2] == '"';
}

std::string Unquoted(std::string_view quoted) {
  std::string name;
  for (size_t i = 1; i + 1 < quoted.size(); ++i) {
    name += quoted[i];
    if (quoted[i] == '"') ++i;  // it stands twice
  }
  return name;
}

void AppendUtf8(uint32_t c, std::string& out) {
  const auto put = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18 & 0x07));
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

// The number of `digits` hexadecimal digits at `at`.
std::optional<uint32_t> Hex(std::string_view text, size_t at, size_t digits) {
  if (at + digits > text.size()) return std::nullopt;
  uint32_t value = 0;
  for (const char c : text.substr(at, digits)) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    value = value << 4 | static_cast<uint32_t>(digit);
  }
  return value;
}

// Of U&"…": \XXXX, \+XXXXXX and \\. Other escape characters than the backslash are left alone.
std::string Unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    const bool is_long = i + 1 < text.size() && text[i + 1] == '+';
    const size_t begin = i + (is_long ? 2 : 1);
    const size_t digits = is_long ? 6 : 4;
    if (const auto c = Hex(text, begin, digits); c.has_value()) {
      AppendUtf8(*c, out);
      i = begin + digits - 1;
    } else {
      out += '\\';
      if (i + 1 < text.size() && text[i + 1] == '\\') ++i;
    }
  }
  return out;
}

}  // namespace

std::string NameOf(std::string_view token) {
  if (IsUnicodeQuoted(token)) return Unescaped(Unquoted(token.substr(2)));
  if (token.size() >= 2 && token.front() == '"') return Unquoted(token);
  std::string name(token);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return name;
}

bool IsName(std::string_view token) {
  if (token.empty()) return false;
  if (IsUnicodeQuoted(token) || token.front() == '"') return true;
  if (token.size() > 1 && (token[1] == '\'' || token[1] == '&')) return false;  // E'…', U&'…'
  const auto first = static_cast<unsigned char>(token.front());
  return std::isalpha(first) != 0 || first == '_' || first >= 0x80;
}

std::vector<std::string> ReadName(const std::vector<std::string_view>& tokens, size_t& at) {
  std::vector<std::string> parts;
  while (at < tokens.size() && IsName(tokens[at])) {
    parts.push_back(NameOf(tokens[at++]));
    if (at + 1 >= tokens.size() || tokens[at] != "." || !IsName(tokens[at + 1])) break;
    ++at;
  }
  return parts;
}

}  // namespace pgc
