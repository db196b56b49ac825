#pragma once

#include <string>
#include <string_view>

namespace pgc {

// `text` with the password of every URL and `password=` setting in it replaced by `***`. Never
// longer than `text` where there is a password of three or more characters.
std::string MaskPassword(std::string_view text);

}  // namespace pgc
