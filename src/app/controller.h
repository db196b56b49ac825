#pragma once

#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "controller/controller_service.h"

namespace pgc {

struct ControllerCommandOptions {
  std::string listen = "127.0.0.1:10000";
  bool insecure = false;  // allows an address other than loopback
  std::string data_dir = "pgcapture-schedule";
  bool in_memory = false;        // nothing is kept in data_dir
  ControllerOptions controller;  // its data_dir is taken from the one above
};

// The controller in a process of its own, until `stop`. Errors: as Listener and ControllerService.
absl::Status RunController(ControllerCommandOptions options, std::stop_token stop);

}  // namespace pgc
