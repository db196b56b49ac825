#include "gateway/server.h"

#include <grpcpp/channel.h>

#include <utility>

#include "base/background.h"
#include "base/status_macros.h"
#include "gateway/capture_session.h"
#include "gateway/large_events.h"
#include "gateway/session_set.h"
#include "gateway/store_service.h"
#include "gateway/wake_queue.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

using CaptureReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// The service of the contract. The bytes of requests and replies are the session's matter.
class Service final
    : public pb::DBLogGateway::WithRawCallbackMethod_Capture<pb::DBLogGateway::Service> {
 public:
  Service(Resolver& resolver, WakeQueue& wakes, Background& background, SessionSet& sessions,
          LargeEvents& large_events)
      : resolver_(resolver),
        wakes_(wakes),
        background_(background),
        sessions_(sessions),
        large_events_(large_events) {}

  CaptureReactor* Capture(grpc::CallbackServerContext* context) override {
    const auto session = std::make_shared<CaptureSession>(resolver_, wakes_, background_, sessions_,
                                                          large_events_, *context);
    const absl::Status added = sessions_.Add(session);
    if (added.ok()) {
      session->Start();
    } else {
      session->End(added);
    }
    return session.get();
  }

 private:
  Resolver& resolver_;
  WakeQueue& wakes_;
  Background& background_;
  SessionSet& sessions_;
  LargeEvents& large_events_;
};

}  // namespace

class GatewayServer::Impl {
 public:
  Impl(Resolver& resolver, EventStore* store)
      : sessions_(kMaxSessions), service_(resolver, wakes_, background_, sessions_, large_events_) {
    if (store != nullptr) store_service_ = std::make_unique<StoreService>(*store);
  }

  absl::Status Listen(const GatewayServerOptions& options) {
    std::vector<grpc::Service*> services = options.services;
    services.push_back(&service_);
    if (store_service_ != nullptr) services.push_back(store_service_.get());
    PGC_ASSIGN_OR_RETURN(listener_, Listener::Start({.address = options.address,
                                                     .insecure = options.insecure,
                                                     .health_names = {"pgcapture.DBLogGateway"}},
                                                    services));
    return absl::OkStatus();
  }

  Listener& listener() { return *listener_; }

  void Shutdown() {
    if (listener_ == nullptr || std::exchange(is_shut_down_, true)) return;
    listener_->SetServing(false);
    sessions_.EndAll(absl::UnavailableError("the gateway is shutting down"));
    listener_->Shutdown();
    sessions_.WaitUntilEmpty();
  }

 private:
  // In the order of their making: each is used by those below it.
  WakeQueue wakes_;
  Background background_;
  SessionSet sessions_;
  LargeEvents large_events_;
  Service service_;
  std::unique_ptr<StoreService> store_service_;
  std::unique_ptr<Listener> listener_;
  bool is_shut_down_ = false;
};

GatewayServer::GatewayServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GatewayServer::~GatewayServer() { Shutdown(); }

absl::StatusOr<std::unique_ptr<GatewayServer>> GatewayServer::Start(
    const GatewayServerOptions& options, Resolver& resolver, EventStore* store) {
  auto impl = std::make_unique<Impl>(resolver, store);
  PGC_RETURN_IF_ERROR(impl->Listen(options));
  return std::unique_ptr<GatewayServer>(new GatewayServer(std::move(impl)));
}

const std::string& GatewayServer::address() const { return impl_->listener().address(); }
std::shared_ptr<grpc::Channel> GatewayServer::InProcessChannel() {
  return impl_->listener().InProcessChannel();
}
void GatewayServer::SetServing(bool serving) { impl_->listener().SetServing(serving); }
void GatewayServer::Shutdown() { impl_->Shutdown(); }

}  // namespace pgc
