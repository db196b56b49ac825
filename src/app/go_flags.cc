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

std::vector<std::string> FromGoFlags(const std::vector<std::string>& arguments) {
  std::vector<std::string> ours;
  for (const std::string& argument : arguments) {
    const size_t end = std::min(argument.find('='), argument.size());
    const bool is_flag = argument.starts_with("--") && end > 2 && IsUpper(argument[2]) &&
                         std::all_of(argument.begin() + 2, argument.begin() + end,
                                     [](char c) { return IsUpper(c) || IsLower(c) || IsDigit(c); });
    ours.push_back(is_flag ? "--" + KebabCase(std::string_view(argument).substr(2, end - 2)) +
                                 argument.substr(end)
                           : argument);
  }
  return ours;
}

}  // namespace pgc
