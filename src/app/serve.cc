#include "app/serve.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "agent/agent_service.h"
#include "app/apply.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/status_macros.h"
#include "controller/controller_service.h"
#include "dump/dump_server.h"
#include "event/pipeline.h"
#include "event/store.h"
#include "gateway/resolver.h"
#include "gateway/server.h"
#include "source/names.h"
#include "source/postgres_source.h"
#include "source/tables.h"

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

// What rows of dumps are read from.
absl::StatusOr<std::vector<std::shared_ptr<DumpServer>>> DumpServers(const ServeOptions& options,
                                                                     EventStore& store) {
  PGC_ASSIGN_OR_RETURN(const TableChoice choice,
                       TableChoice::Parse(options.source.tables, options.source.skip_tables));
  DumpServerOptions server;
  // A replica has it as its sink does.
  server.topic = SlotName(options.source.topic).value_or(options.source.topic);
  server.publishes_via_root = options.source.decode_plugin == DecodePlugin::kPgOutput;
  server.connections = options.dump_connections;
  if (choice.kind != TableChoice::Kind::kAll) {
    server.captures = [choice](const DumpTable& table) {
      const auto is_listed = [&](const std::string& schema, const std::string& name) {
        return std::find(choice.names.begin(), choice.names.end(),
                         QualifiedName{.schema = schema, .name = name}) != choice.names.end();
      };
      const bool listed = is_listed(table.schema, table.table) ||
                          is_listed(table.published_schema, table.published_table);
      return listed == (choice.kind == TableChoice::Kind::kOnly);
    };
  }
  std::vector<std::shared_ptr<DumpServer>> servers;
  const auto add = [&](const std::string& url) {
    server.url = url;
    servers.push_back(DumpServer::New(server));
  };
  for (const SinkOptions& replica : options.replicas) add(replica.url);
  for (const std::string& url : options.dump_from) add(url);
  if (servers.empty()) {
    server.topic = options.source.topic;
    server.store = &store;
    server.is_source = true;
    add(options.source.url);
  }
  return servers;
}

}  // namespace

absl::Status RunServe(ServeOptions options, std::stop_token stop) {
  const std::filesystem::path data_dir = options.data_dir;
  if (options.source.spool_dir.empty()) options.source.spool_dir = data_dir / "spool";
  PGC_ASSIGN_OR_RETURN(const auto store, OpenEmbeddedStore(options.data_dir, options.store));
  ControllerOptions schedule;
  schedule.data_dir = data_dir / "schedule";
  schedule.default_name = StoreResolver::kDefaultSubscription;
  PGC_ASSIGN_OR_RETURN(const auto controller, ControllerService::Open(schedule));
  PGC_ASSIGN_OR_RETURN(auto servers, DumpServers(options, *store));
  AgentService agent({.dump_connections = options.dump_connections}, std::move(servers));
  std::promise<DumpSources> dumps;
  StoreResolver resolver(*store, dumps.get_future().share());
  PGC_ASSIGN_OR_RETURN(const auto server,
                       GatewayServer::Start({.address = options.listen,
                                             .insecure = options.insecure,
                                             .services = {controller.get(), agent.service()}},
                                            resolver, store.get()));
  dumps.set_value(
      {.controller = server->InProcessChannel(), .agents = {server->InProcessChannel()}});
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
  // What they have under way would hold up the end of the listener.
  agent.Shutdown();
  controller->Shutdown();
  server->Shutdown();
  return status;
}

}  // namespace pgc
