// A gRPC server of ours: where it listens, what it takes from a peer, and how it ends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace pgc {

struct ListenerOptions {
  // `host:port`, `[ipv6]:port` or `unix:path`. Port 0 takes a free one; no host is all of them;
  // `localhost` is 127.0.0.1.
  std::string address = "127.0.0.1:10001";
  // Allows an address other than loopback, in plain text and without passwords.
  bool insecure = false;
  // Full names of services, as `pgcapture.Agent`, that health checks know beside the whole server.
  std::vector<std::string> health_names;
};

// Serves services, health checking and reflection on gRPC's threads.
//
// Thread-safe but for Shutdown and destruction, which one thread calls.
class Listener {
 public:
  // Listens at once, as NOT_SERVING. The services outlive this.
  // InvalidArgument: a malformed address. FailedPrecondition: not a loopback address without
  // `insecure`, in use, or one that this machine cannot bind.
  static absl::StatusOr<std::unique_ptr<Listener>> Start(
      const ListenerOptions& options, const std::vector<grpc::Service*>& services);
  // As Shutdown.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The address it listens on, with the port taken.
  const std::string& address() const;
  // To the same services, without a socket; takes messages of any size.
  std::shared_ptr<grpc::Channel> InProcessChannel();

  // What health checks are told.
  void SetServing(bool serving);

  // Takes no calls any more, and cancels those that have not ended after about a second. Once more
  // is harmless.
  void Shutdown();

 private:
  class Impl;
  explicit Listener(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace pgc
