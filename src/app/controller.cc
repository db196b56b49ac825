#include "app/controller.h"

#include <chrono>
#include <utility>

#include "app/grpc_log.h"
#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "gateway/listener.h"

namespace pgc {

absl::Status RunController(ControllerCommandOptions options, std::stop_token stop) {
  SendGrpcLogToOurs();
  if (!options.in_memory) options.controller.data_dir = options.data_dir;
  PGC_ASSIGN_OR_RETURN(const auto service, ControllerService::Open(options.controller));
  PGC_ASSIGN_OR_RETURN(const auto listener,
                       Listener::Start({.address = options.listen,
                                        .insecure = options.insecure,
                                        .health_names = {"pgcapture.DBLogController"}},
                                       {service.get()}));
  listener->SetServing(true);
  log::Info("the controller listens",
            {{"address", listener->address()},
             {"schedule", options.in_memory ? "in memory" : options.data_dir}});
  PauseUntil(std::chrono::steady_clock::time_point::max(), stop);
  listener->SetServing(false);
  service->Shutdown();
  listener->Shutdown();
  return absl::OkStatus();
}

}  // namespace pgc
