#pragma once

#include <string>
#include <string_view>

namespace pgc {

// The bytes that `hex` writes, as PostgreSQL does: with small letters, two digits each.
std::string BytesFromHex(std::string_view hex);

}  // namespace pgc
