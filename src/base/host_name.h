#pragma once

#include <string>

namespace pgc {

// Of this machine, for people; empty when it has none.
std::string HostName();

}  // namespace pgc
