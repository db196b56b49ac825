#include "app/serve.h"

#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "app/apply.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/status_macros.h"
#include "event/pipeline.h"
#include "event/store.h"
#include "gateway/resolver.h"
#include "gateway/server.h"
#include "source/postgres_source.h"

namespace pgc {
namespace {

// One attempt: until stopped, or until source or store fail. The slot is free when it returns.
absl::Status CaptureOnce(const ServeOptions& options, EventStore& store, GatewayServer& server,
                         const std::stop_token& stop) {
  // The sink calls the source back, so the source goes last.
  const auto source = NewPostgresSource(options.source);
  PGC_ASSIGN_OR_RETURN(const auto sink, store.OpenWriter(options.source.topic));
  absl::Status status = RunPipeline(*source, *sink, stop, [&] {
    server.SetServing(true);
    log::Info("capturing", {{"topic", options.source.topic}, {"listen", server.address()}});
  });
  server.SetServing(false);
  return status;
}

}  // namespace

absl::Status RunServe(ServeOptions options, std::stop_token stop) {
  if (options.source.spool_dir.empty()) {
    options.source.spool_dir = std::filesystem::path(options.data_dir) / "spool";
  }
  PGC_ASSIGN_OR_RETURN(const auto store, OpenEmbeddedStore(options.data_dir, options.store));
  StoreResolver resolver(*store);
  PGC_ASSIGN_OR_RETURN(const auto server, GatewayServer::Start({.address = options.listen,
                                                                .insecure = options.insecure},
                                                               resolver, store.get()));
  log::Info("listening", {{"listen", server->address()}});
  absl::Status status;
  {
    // They end before the store does.
    std::vector<std::jthread> replicas;
    for (const SinkOptions& replica : options.replicas) {
      replicas.emplace_back(
          [&store, &replica](const std::stop_token& end) { KeepReplica(*store, replica, end); });
    }
    status = Retry("the source is unavailable and will be tried again", stop,
                   [&] { return CaptureOnce(options, *store, *server, stop); });
    for (std::jthread& replica : replicas) replica.request_stop();
  }
  server->Shutdown();
  return status;
}

}  // namespace pgc
