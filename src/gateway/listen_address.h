#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pgc {

// Where to listen, as an option names it.
struct ListenAddress {
  std::string host;       // a name or an IP address without brackets; empty: every address
  uint16_t port = 0;      // 0: a free one
  std::string unix_path;  // instead of both: `unix:path`
  // Nobody but this machine reaches it.
  bool loopback = false;

  // As gRPC takes it, with `port` instead of a port of 0.
  std::string ToString(int taken_port) const;
};

// InvalidArgument for what is none of `host:port`, `[ipv6]:port`, `:port` and `unix:path`.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// FailedPrecondition when another process listens on this Unix socket: gRPC would take it away from
// that process. Of other addresses binding tells.
absl::Status CheckNobodyListens(const ListenAddress& address);

// Why `address` could not be listened on: FailedPrecondition with the reason that binding it gives
// now.
absl::Status WhyNotListening(const ListenAddress& address);

}  // namespace pgc
