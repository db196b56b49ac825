#pragma once

#include <chrono>
#include <stop_token>
#include <string>

#include "absl/status/status.h"

namespace pgc {

struct GatewayCommandOptions {
  std::string resolver_config;  // JSON, or @FILE
  std::string listen = "127.0.0.1:10001";
  std::string controller = "127.0.0.1:10000";
  bool insecure = false;
  std::string pulsar_library;  // path of Apache's client library; empty: where it is usually
  // After which an event that was requeued comes again from a broker of Pulsar.
  std::chrono::milliseconds pulsar_requeue_delay{60'000};
};

// Serves the uris of a configuration until `stop`.
absl::Status RunGateway(const GatewayCommandOptions& options, const std::stop_token& stop);

}  // namespace pgc
