#pragma once

#include <cstdint>

namespace pgc {

// A number from the environment: how long or how large a test is, or its seed.
uint64_t FromEnvironment(const char* name, uint64_t otherwise);

}  // namespace pgc
