#include "dump/condition.h"

#include <fmt/format.h>

namespace pgc {
namespace {

constexpr size_t kMostBytes = size_t{64} << 10;

absl::Status Refused(std::string_view why) {
  return absl::InvalidArgumentError(fmt::format("the condition {}", why));
}

bool IsNamePart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// Whether the quote at `at` begins a text with backslash escapes.
bool HasEscapes(std::string_view text, size_t at) {
  return at > 0 && (text[at - 1] == 'e' || text[at - 1] == 'E') &&
         (at == 1 || !IsNamePart(text[at - 2]));
}

// The place behind what is quoted from `at` on; npos when that does not end.
size_t SkipQuoted(std::string_view text, size_t at) {
  const char quote = text[at];
  const bool escapes = quote == '\'' && HasEscapes(text, at);
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (escapes && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (i + 1 == text.size() || text[i + 1] != quote) return i + 1;
      ++i;
    }
  }
  return std::string_view::npos;
}

}  // namespace

absl::Status CheckCondition(std::string_view condition) {
  if (condition.size() > kMostBytes) {
    return Refused(fmt::format("is longer than {} bytes", kMostBytes));
  }
  std::string open;  // parentheses and brackets
  for (size_t at = 0; at < condition.size();) {
    const char c = condition[at];
    const char next = at + 1 < condition.size() ? condition[at + 1] : '\0';
    switch (c) {
      case '\'':
      case '"':
        // Before 15 `1e'` is a number and the beginning of a text with escapes.
        if (c == '\'' && at > 1 && (condition[at - 1] | 0x20) == 'e' && condition[at - 2] >= '0' &&
            condition[at - 2] <= '9') {
          return Refused("has a text right after a number");
        }
        at = SkipQuoted(condition, at);
        if (at == std::string_view::npos) return Refused("has a quote that does not end");
        // One that goes on after a line break is of the same kind as its beginning.
        for (size_t i = at; c == '\'' && i < condition.size(); ++i) {
          if (condition[i] == '\'') return Refused("has two texts with nothing between them");
          if (condition[i] != ' ' && (condition[i] < '\t' || condition[i] > '\r')) break;
        }
        continue;
      case '(':
      case '[':
        open += c;
        break;
      case ')':
      case ']':
        if (open.empty() || open.back() != (c == ')' ? '(' : '[')) {
          return Refused("has a parenthesis too many");
        }
        open.pop_back();
        break;
      case ';':
        return Refused("has a `;`: it is one expression");
      case '$':
        return Refused("has a `$`: write texts in single quotes");
      case '\0':
        return Refused("has a NUL byte");
      case '-':
        if (next == '-') return Refused("has a comment (`--`)");
        break;
      case '/':
        if (next == '*') return Refused("has a comment (`/*`)");
        break;
      default:
        break;
    }
    ++at;
  }
  if (!open.empty()) return Refused("has a parenthesis that is not closed");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::optional<std::string>>> ParseRowText(std::string_view row) {
  const auto error = absl::InvalidArgumentError(
      "a key is not the text of a row, as `(1,a)`: see PostgreSQL's documentation of composite "
      "types");
  if (row.size() < 2 || row.front() != '(' || row.back() != ')') return error;
  const std::string_view in = row.substr(1, row.size() - 2);
  std::vector<std::optional<std::string>> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < in.size(); ++i) {
    char c = in[i];
    if (c == '\0') return error;
    if (!quoted && c == ',') {
      fields.emplace_back();
      continue;
    }
    if (!quoted && (c == '(' || c == ')')) return error;
    std::optional<std::string>& field = fields.back();
    if (!field.has_value()) field.emplace();
    if (c == '"') {
      const bool twice = quoted && i + 1 < in.size() && in[i + 1] == '"';
      if (!twice) {
        quoted = !quoted;
        continue;
      }
      ++i;
    } else if (c == '\\') {
      if (++i == in.size()) return error;
      c = in[i];
    }
    *field += c;
  }
  if (quoted) return error;
  return fields;
}

}  // namespace pgc
