#pragma once

namespace pgc {

// A TCP port of loopback that nothing listens on at this moment.
int FreePort();

}  // namespace pgc
