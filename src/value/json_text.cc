#include "value/json_text.h"

#include <cstddef>
#include <cstdint>

namespace pgc {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

bool IsContinuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// The length of the UTF-8 character at the start of `text`, or 0 when it is none. Neither
// surrogates, nor longer forms than needed, nor more than U+10FFFF.
size_t CharacterBytes(std::string_view text) {
  const auto at = [text](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0};
  };
  const uint8_t first = at(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4 || !IsContinuation(at(1))) return 0;
  if (first < 0xE0) return 2;
  if (!IsContinuation(at(2))) return 0;
  if (first < 0xF0) {
    const bool bad = (first == 0xE0 && at(1) < 0xA0) || (first == 0xED && at(1) > 0x9F);
    return bad ? 0 : 3;
  }
  const bool bad = (first == 0xF0 && at(1) < 0x90) || (first == 0xF4 && at(1) > 0x8F);
  return bad || !IsContinuation(at(3)) ? 0 : 4;
}

void AppendEscaped(std::string& out, char c) {
  constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\b':
      out += "\\b";
      break;
    case '\f':
      out += "\\f";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      out += "\\u00";
      out += kHex[static_cast<uint8_t>(c) >> 4];
      out += kHex[c & 0xF];
  }
}

bool NeedsEscape(char c) { return static_cast<uint8_t>(c) < 0x20 || c == '"' || c == '\\'; }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Walks a JSON text once, without recursion: how deep it nests costs a byte a level.
class Checker {
 public:
  explicit Checker(std::string_view text) : text_(text) {}

  bool Check() {
    bool value_is_due = true;
    do {
      if (value_is_due ? !Value() : !AfterValue()) return false;
      value_is_due = value_is_due_;
    } while (!open_.empty() || value_is_due);
    Spaces();
    return text_.empty();
  }

  bool CheckNumber() { return Number() && text_.empty(); }

 private:
  char Peek() const { return text_.empty() ? '\0' : text_.front(); }
  bool Take(char c) {
    if (Peek() != c || text_.empty()) return false;
    text_.remove_prefix(1);
    return true;
  }
  void Spaces() {
    while (!text_.empty() && IsSpace(text_.front())) text_.remove_prefix(1);
  }

  // A scalar, or the start of an object or array up to where its first value is due.
  bool Value() {
    Spaces();
    value_is_due_ = false;
    if (Take('{')) {
      Spaces();
      if (Take('}')) return true;
      open_ += '}';
      value_is_due_ = true;
      return Key();
    }
    if (Take('[')) {
      Spaces();
      if (Take(']')) return true;
      open_ += ']';
      value_is_due_ = true;
      return true;
    }
    if (Peek() == '"') return String();
    return Word("true") || Word("false") || Word("null") || Number();
  }

  // A comma, or the end of the innermost object or array.
  bool AfterValue() {
    Spaces();
    if (Take(open_.back())) {
      open_.pop_back();
      return true;
    }
    if (!Take(',')) return false;
    value_is_due_ = true;
    return open_.back() == ']' || Key();
  }

  bool Key() {
    Spaces();
    if (Peek() != '"' || !String()) return false;
    Spaces();
    return Take(':');
  }

  bool Word(std::string_view word) {
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }

  bool String() {
    text_.remove_prefix(1);
    while (!text_.empty()) {
      if (Take('"')) return true;
      const size_t bytes = Peek() == '\\' ? EscapeBytes() : CharacterBytes(text_);
      if (bytes == 0 || static_cast<uint8_t>(Peek()) < 0x20) return false;
      text_.remove_prefix(bytes);
    }
    return false;
  }

  size_t EscapeBytes() const {
    if (text_.size() < 2) return 0;
    if (text_[1] != 'u') {
      return std::string_view("\"\\/bfnrt").find(text_[1]) == std::string_view::npos ? 0 : 2;
    }
    const bool whole = text_.size() >= 6 && text_.substr(2, 4).find_first_not_of(
                                                "0123456789abcdefABCDEF") == std::string_view::npos;
    return whole ? 6 : 0;
  }

  bool Digits() {
    if (!IsDigit(Peek())) return false;
    while (IsDigit(Peek())) text_.remove_prefix(1);
    return true;
  }

  bool Number() {
    Take('-');
    if (!Take('0') && !Digits()) return false;
    if (Take('.') && !Digits()) return false;
    if (!Take('e') && !Take('E')) return true;
    if (!Take('+')) Take('-');
    return Digits();
  }

  std::string_view text_;
  std::string open_;  // what closes each open object and array
  bool value_is_due_ = false;
};

}  // namespace

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    if (NeedsEscape(text.front())) {
      AppendEscaped(out, text.front());
      text.remove_prefix(1);
      continue;
    }
    const size_t bytes = CharacterBytes(text);
    out += bytes == 0 ? kReplacement : text.substr(0, bytes);
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  out += '"';
}

bool AppendJsonText(std::string& out, std::string_view json) {
  if (!Checker(json).Check()) return false;
  // A line end in valid JSON stands between tokens only.
  for (const char c : json) out += c == '\n' || c == '\r' ? ' ' : c;
  return true;
}

bool IsJsonNumber(std::string_view text) { return Checker(text).CheckNumber(); }

}  // namespace pgc
