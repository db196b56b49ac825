#pragma once

#include <grpcpp/support/channel_arguments.h>

#include <chrono>

namespace pgc {

// Has a client ask for a sign of life: a peer whose machine is gone says nothing, and a call that
// only reads would wait for ever.
inline void KeepAlive(grpc::ChannelArguments& arguments) {
  // A peer in Go takes more than one ping in 5 minutes for an attack.
  constexpr std::chrono::milliseconds kPingInterval{330'000};
  constexpr std::chrono::milliseconds kPingTimeout{20'000};
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kPingInterval.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(kPingTimeout.count()));
  // Also after two that nothing was sent in between.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

}  // namespace pgc
