#include "app/agent.h"

#include <memory>

#include "agent/agent_service.h"
#include "app/grpc_log.h"
#include "app/renice.h"
#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "dump/dump_server.h"
#include "gateway/listener.h"
#include "source/names.h"

namespace pgc {

absl::Status RunAgent(const AgentCommandOptions& options, const std::stop_token& stop) {
  Renice(options.renice);
  SendGrpcLogToOurs();
  std::vector<std::shared_ptr<DumpServer>> servers;
  for (const std::string& url : options.dump_from) {
    servers.push_back(DumpServer::New({.url = url,
                                       // A replica has it as its sink does.
                                       .topic = SlotName(options.topic).value_or(options.topic),
                                       .publishes_via_root = options.publishes_via_root,
                                       .connections = options.dump_connections}));
  }
  AgentService service({.dump_connections = options.dump_connections,
                        .stores = AllStores(options.pulsar_library),
                        .publishes_via_root = options.publishes_via_root},
                       std::move(servers));
  PGC_ASSIGN_OR_RETURN(const auto listener, Listener::Start({.address = options.listen,
                                                             .insecure = options.insecure,
                                                             .health_names = {"pgcapture.Agent"}},
                                                            {service.service()}));
  listener->SetServing(true);
  log::Info("the agent listens", {{"address", listener->address()}});
  PauseUntil(std::chrono::steady_clock::time_point::max(), stop);
  listener->SetServing(false);
  service.Shutdown();
  listener->Shutdown();
  return absl::OkStatus();
}

}  // namespace pgc
