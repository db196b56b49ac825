#include "gateway/server.h"

#include <fmt/format.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "gateway/capture_session.h"
#include "gateway/large_events.h"
#include "gateway/listen_address.h"
#include "gateway/session_set.h"
#include "gateway/store_service.h"
#include "gateway/wake_queue.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using CaptureReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

constexpr char kServiceName[] = "pgcapture.DBLogGateway";
// An init with its expression, or an ack; nothing that a consumer sends is large.
constexpr int kMaxRequestBytes = 1 << 20;
// What gRPC itself may take for connections and requests. Replies are ours.
constexpr size_t kMaxGrpcBytes = size_t{256} << 20;
// Beyond these a client's calls would wait unseen instead of being refused.
constexpr int kMaxStreamsPerConnection = static_cast<int>(GatewayServer::kMaxSessions) + 200;
// A peer that is gone without a word is noticed after the sum of both.
constexpr milliseconds kPingInterval{20'000};
constexpr milliseconds kPingTimeout{10'000};
// Consumers may ping as often as this.
constexpr milliseconds kPingsPermitted{5'000};
// For sessions to hear of a shutdown before their calls are cancelled.
constexpr milliseconds kGoodbye{1'000};

// The service of the contract. The bytes of requests and replies are the session's matter.
class Service final
    : public pb::DBLogGateway::WithRawCallbackMethod_Capture<pb::DBLogGateway::Service> {
 public:
  Service(Resolver& resolver, WakeQueue& wakes, SessionSet& sessions, LargeEvents& large_events)
      : resolver_(resolver), wakes_(wakes), sessions_(sessions), large_events_(large_events) {}

  CaptureReactor* Capture(grpc::CallbackServerContext* context) override {
    const auto session =
        std::make_shared<CaptureSession>(resolver_, wakes_, sessions_, large_events_, *context);
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
  SessionSet& sessions_;
  LargeEvents& large_events_;
};

void LogFromGrpc(gpr_log_func_args* line) {
  const bool is_error = line->severity == GPR_LOG_SEVERITY_ERROR;
  log::Write(is_error ? log::Level::kWarning : log::Level::kDebug, line->message,
             {{"from", "gRPC"}});
}

void InitGrpcOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function(LogFromGrpc);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("gateway").Resize(kMaxGrpcBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  // With it, two processes could listen on one port, each getting some of the consumers.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kPingInterval.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(kPingTimeout.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(kPingsPermitted.count()));
}

}  // namespace

class GatewayServer::Impl {
 public:
  Impl(Resolver& resolver, EventStore* store)
      : sessions_(kMaxSessions), service_(resolver, wakes_, sessions_, large_events_) {
    if (store != nullptr) store_service_ = std::make_unique<StoreService>(*store);
  }

  absl::Status Listen(const ListenAddress& listen) {
    PGC_RETURN_IF_ERROR(CheckNobodyListens(listen));
    InitGrpcOnce();
    grpc::ServerBuilder builder;
    SetLimits(builder);
    int port = 0;
    builder.AddListeningPort(listen.ToString(listen.port), grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&service_);
    if (store_service_ != nullptr) builder.RegisterService(store_service_.get());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return WhyNotListening(listen);
    address_ = listen.ToString(port);
    SetServing(false);
    return absl::OkStatus();
  }

  const std::string& address() const { return address_; }

  void SetServing(bool serving) {
    grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
    health->SetServingStatus("", serving);
    health->SetServingStatus(kServiceName, serving);
  }

  void Shutdown() {
    if (server_ == nullptr || std::exchange(is_shut_down_, true)) return;
    server_->GetHealthCheckService()->Shutdown();
    sessions_.EndAll(absl::UnavailableError("the gateway is shutting down"));
    server_->Shutdown(std::chrono::system_clock::now() + kGoodbye);
    sessions_.WaitUntilEmpty();
  }

 private:
  // In the order of their making: each is used by those below it.
  WakeQueue wakes_;
  SessionSet sessions_;
  LargeEvents large_events_;
  Service service_;
  std::unique_ptr<StoreService> store_service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  bool is_shut_down_ = false;
};

GatewayServer::GatewayServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GatewayServer::~GatewayServer() { Shutdown(); }

absl::StatusOr<std::unique_ptr<GatewayServer>> GatewayServer::Start(
    const GatewayServerOptions& options, Resolver& resolver, EventStore* store) {
  PGC_ASSIGN_OR_RETURN(const ListenAddress listen, ParseListenAddress(options.address));
  if (!listen.loopback && !options.insecure) {
    return absl::FailedPreconditionError(
        fmt::format("{} is not a loopback address: whoever reaches it could read every row, in "
                    "plain text and without a password; --insecure allows it",
                    options.address));
  }
  auto impl = std::make_unique<Impl>(resolver, store);
  PGC_RETURN_IF_ERROR(impl->Listen(listen));
  return std::unique_ptr<GatewayServer>(new GatewayServer(std::move(impl)));
}

const std::string& GatewayServer::address() const { return impl_->address(); }
void GatewayServer::SetServing(bool serving) { impl_->SetServing(serving); }
void GatewayServer::Shutdown() { impl_->Shutdown(); }

}  // namespace pgc
