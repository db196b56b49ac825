// What gRPC itself allows, to measure the gateway against.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <string>
#include <vector>

namespace pgc {

// Prints where it listens, for the process that started this one and will kill it.
[[noreturn]] void ServeUntilKilled(const std::string& address);

// A gRPC stream, for whatever method is called: after the first request it sends `count` messages,
// those of `messages` over and over, one at a time, as they are. It reads what comes, and does
// nothing with it.
[[noreturn]] void ServeBareStream(std::vector<grpc::ByteBuffer> messages, size_t count);

}  // namespace pgc
