#include "app/go_flags.h"

#include <algorithm>

namespace pgc {
namespace {

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string KebabCase(std::string_view camel_case) {
  std::string kebab;
  for (size_t i = 0; i < camel_case.size(); ++i) {
    const char c = camel_case[i];
    // A word begins after a small letter, and with the last capital before one: PG-Conn.
    const bool begins =
        i > 0 && IsUpper(c) &&
        (!IsUpper(camel_case[i - 1]) || (i + 1 < camel_case.size() && IsLower(camel_case[i + 1])));
    if (begins) kebab += '-';
    kebab += IsUpper(c) ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return kebab;
}

std::vector<std::string> FromGoFlags(const std::vector<std::string>& arguments,
                                     const FlagNames& ours) {
  std::vector<std::string> translated;
  for (const std::string& argument : arguments) {
    const size_t end = std::min(argument.find('='), argument.size());
    if (!argument.starts_with("--") || end == 2) {
      translated.push_back(argument);
      continue;
    }
    std::string name = argument.substr(2, end - 2);
    const bool is_camel = IsUpper(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
                            return IsUpper(c) || IsLower(c) || IsDigit(c);
                          });
    if (is_camel) name = KebabCase(name);
    const auto known = ours.find(name);
    translated.push_back("--" + (known == ours.end() ? name : known->second) +
                         argument.substr(end));
  }
  return translated;
}

}  // namespace pgc
