#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pgc {

// What an identifier stands for: a word in lower case, or the text in its quotes.
std::string NameOf(std::string_view token);

// Whether a token can be (a part of) a name: a word, or one in double quotes.
bool IsName(std::string_view token);

// The name at `at`, schema first where it has one, and moves `at` behind it. Empty if none is
// there.
std::vector<std::string> ReadName(const std::vector<std::string_view>& tokens, size_t& at);

}  // namespace pgc
