#include "app/gateway.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>

#include "agent/store_provider.h"
#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "gateway/configured_resolver.h"
#include "gateway/server.h"

namespace pgc {
namespace {

absl::StatusOr<std::string> ReadConfig(const std::string& config) {
  if (!config.starts_with('@')) return config;
  const std::ifstream file(config.substr(1));
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || !text) {
    return absl::FailedPreconditionError(
        fmt::format("--resolver-config: {} cannot be read", config.substr(1)));
  }
  return text.str();
}

}  // namespace

absl::Status RunGateway(const GatewayCommandOptions& options, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const std::string config, ReadConfig(options.resolver_config));
  const StoreProvider stores = AllStores(options.pulsar_library);
  const auto open_store =
      [&](const std::string& url) -> absl::StatusOr<std::shared_ptr<EventStore>> {
    PGC_ASSIGN_OR_RETURN(const ProvidedStore provided,
                         stores({.url = url, .requeue_delay = options.pulsar_requeue_delay}));
    return provided.store;
  };
  PGC_ASSIGN_OR_RETURN(const auto resolver,
                       ConfiguredResolver::New(config, open_store, ChannelTo(options.controller)));
  PGC_ASSIGN_OR_RETURN(
      const auto server,
      GatewayServer::Start({.address = options.listen, .insecure = options.insecure}, *resolver));
  server->SetServing(true);
  log::Info("the gateway listens", {{"address", server->address()}});
  PauseUntil(std::chrono::steady_clock::time_point::max(), stop);
  server->SetServing(false);
  server->Shutdown();
  return absl::OkStatus();
}

}  // namespace pgc
