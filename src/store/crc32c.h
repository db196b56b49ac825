#pragma once

#include <cstdint>
#include <string_view>

namespace pgc {

// CRC-32C (Castagnoli) of `bytes`, the one of iSCSI and ext4.
uint32_t Crc32c(std::string_view bytes);

}  // namespace pgc
