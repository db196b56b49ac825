// The listener of the gateway's services.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "event/store.h"
#include "gateway/listener.h"
#include "gateway/resolver.h"

namespace pgc {

struct GatewayServerOptions {
  // As of Listener.
  std::string address = "127.0.0.1:10001";
  bool insecure = false;
  // Served beside; they outlive the server.
  std::vector<grpc::Service*> services = {};
};

// Serves `DBLogGateway`, `DBLogStore` where there is a store to tell of, health checking and
// reflection, on gRPC's threads and one of its own that
// wakes the sessions for which the store has something.
//
// Thread-safe but for Shutdown and destruction, which one thread calls.
class GatewayServer {
 public:
  static constexpr size_t kMaxSessions = 1'000;

  // Listens at once, as NOT_SERVING. `resolver` and `store` outlive this; without `store` there is
  // no `DBLogStore`.
  // InvalidArgument: a malformed address. FailedPrecondition: not a loopback address without
  // `insecure`, in use, or one that this machine cannot bind.
  static absl::StatusOr<std::unique_ptr<GatewayServer>> Start(const GatewayServerOptions& options,
                                                              Resolver& resolver,
                                                              EventStore* store = nullptr);
  // As Shutdown.
  ~GatewayServer();
  GatewayServer(const GatewayServer&) = delete;
  GatewayServer& operator=(const GatewayServer&) = delete;

  // The address it listens on, with the port taken.
  const std::string& address() const;
  // To all of its services, without a socket.
  std::shared_ptr<grpc::Channel> InProcessChannel();

  // What health checks are told, for the whole server and for `pgcapture.DBLogGateway`.
  void SetServing(bool serving);

  // Ends every session with UNAVAILABLE and closes the listener; within about a second, whatever
  // the consumers do. Once more is harmless.
  void Shutdown();

 private:
  class Impl;
  explicit GatewayServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace pgc
