#include "gateway/listener.h"

#include <fmt/format.h>
#include <grpc/support/log.h>
#include <grpcpp/channel.h>
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
#include "gateway/listen_address.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

// A million dumps in one request are some 30 MB.
constexpr int kMaxRequestBytes = 64 << 20;
constexpr size_t kMaxGrpcBytes = size_t{256} << 20;
constexpr int kMaxStreamsPerConnection = 10'200;
// A peer that is gone without a word is noticed after the sum of both.
constexpr milliseconds kPingInterval{20'000};
constexpr milliseconds kPingTimeout{10'000};
constexpr milliseconds kPingsPermitted{5'000};
constexpr milliseconds kGoodbye{1'000};

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
  builder.SetResourceQuota(grpc::ResourceQuota("listener").Resize(kMaxGrpcBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  // With it, two processes could listen on one port, each getting some of the clients.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kPingInterval.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(kPingTimeout.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(kPingsPermitted.count()));
}

}  // namespace

class Listener::Impl {
 public:
  explicit Impl(std::vector<std::string> health_names) : health_names_(std::move(health_names)) {}

  absl::Status Listen(const ListenAddress& listen, const std::vector<grpc::Service*>& services) {
    PGC_RETURN_IF_ERROR(CheckNobodyListens(listen));
    InitGrpcOnce();
    grpc::ServerBuilder builder;
    SetLimits(builder);
    int port = 0;
    builder.AddListeningPort(listen.ToString(listen.port), grpc::InsecureServerCredentials(),
                             &port);
    for (grpc::Service* const service : services) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return WhyNotListening(listen);
    address_ = listen.ToString(port);
    SetServing(false);
    return absl::OkStatus();
  }

  const std::string& address() const { return address_; }
  std::shared_ptr<grpc::Channel> InProcessChannel() {
    // A dump's row may be larger than what a client takes unless told.
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    return server_->InProcessChannel(arguments);
  }

  void SetServing(bool serving) {
    grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
    health->SetServingStatus("", serving);
    for (const std::string& name : health_names_) health->SetServingStatus(name, serving);
  }

  void Shutdown() {
    if (server_ == nullptr || std::exchange(is_shut_down_, true)) return;
    server_->GetHealthCheckService()->Shutdown();
    server_->Shutdown(std::chrono::system_clock::now() + kGoodbye);
  }

 private:
  const std::vector<std::string> health_names_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  bool is_shut_down_ = false;
};

Listener::Listener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Listener::~Listener() { Shutdown(); }

absl::StatusOr<std::unique_ptr<Listener>> Listener::Start(
    const ListenerOptions& options, const std::vector<grpc::Service*>& services) {
  PGC_ASSIGN_OR_RETURN(const ListenAddress listen, ParseListenAddress(options.address));
  if (!listen.loopback && !options.insecure) {
    return absl::FailedPreconditionError(
        fmt::format("{} is not a loopback address: whoever reaches it could read every row, in "
                    "plain text and without a password; --insecure allows it",
                    options.address));
  }
  auto impl = std::make_unique<Impl>(options.health_names);
  PGC_RETURN_IF_ERROR(impl->Listen(listen, services));
  return std::unique_ptr<Listener>(new Listener(std::move(impl)));
}

const std::string& Listener::address() const { return impl_->address(); }
std::shared_ptr<grpc::Channel> Listener::InProcessChannel() { return impl_->InProcessChannel(); }
void Listener::SetServing(bool serving) { impl_->SetServing(serving); }
void Listener::Shutdown() { impl_->Shutdown(); }

}  // namespace pgc
