#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pgc {

// The first `bytes` of a text at most, in whole characters, for messages and for fields that must
// be UTF-8: what is none is replaced by U+FFFD.
std::string CutText(std::string_view text, size_t bytes);

}  // namespace pgc
