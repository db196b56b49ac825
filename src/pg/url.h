#pragma once

#include <string>
#include <string_view>

namespace pgc {

// `text` with the password of every URL and `password=` setting in it replaced by `***`. Never
// longer than `text` where there is a password of three or more characters.
std::string MaskPassword(std::string_view text);

// Whether libpq would take `text` for a URL or for settings (`host=h dbname=d`); it takes any other
// text for the name of a database.
bool IsConnectionString(std::string_view text);

}  // namespace pgc
