#include "app/configure.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "app/grpc_log.h"
#include "base/pause.h"
#include "pg/url.h"
#include "pgcapture.grpc.pb.h"
#include "rpc/grpc_status.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;
using google::protobuf::Struct;
using google::protobuf::Value;

// An agent waits for its pipeline to start before it answers, but not for long.
constexpr std::chrono::seconds kCallTimeout{15};

Struct ParametersOf(const ConfigureOptions& options) {
  Struct parameters;
  auto& fields = *parameters.mutable_fields();
  const auto text = [&fields](const char* key, const std::string& value) {
    if (!value.empty()) fields[key].set_string_value(value);
  };
  text("Command", options.command);
  text("PGConnURL", options.pg_conn_url);
  text("PGReplURL", options.pg_repl_url);
  text("PulsarURL", options.pulsar_url);
  text("PulsarTopic", options.pulsar_topic);
  text("PGLogPath", options.pg_log_path);
  text("StartLSN", options.start_lsn);
  text("PulsarTracker", options.pulsar_tracker);
  text("PulsarTrackerInterval", options.pulsar_tracker_interval);
  text("DecodePlugin", options.decode_plugin);
  text("Tables", fmt::format("{}", fmt::join(options.tables, ",")));
  if (options.pulsar_tracker_replicate_state) {
    fields["PulsarTrackerReplicateState"].set_bool_value(true);
  }
  if (options.batch_tx_size > 0) fields["BatchTxSize"].set_number_value(options.batch_tx_size);
  return parameters;
}

// Reports come from another program: what is no value of a report is shown as null.
nlohmann::json ToJson(const Value& value) {
  switch (value.kind_case()) {
    case Value::kStringValue:
      return MaskPassword(value.string_value());
    case Value::kBoolValue:
      return value.bool_value();
    case Value::kNumberValue: {
      const double number = value.number_value();
      // Counters are shown without a point.
      if (number > -9e15 && number < 9e15 && number == static_cast<double>(int64_t(number))) {
        return static_cast<int64_t>(number);
      }
      return number;
    }
    default:
      return nullptr;
  }
}

std::string LineOf(const absl::Status& status, const Struct& report) {
  nlohmann::json line = nlohmann::json::object();
  if (status.ok()) {
    for (const auto& [key, value] : report.fields()) line[key] = ToJson(value);
  } else {
    line["code"] = absl::StatusCodeToString(status.code());
    line["error"] = std::string(status.message());
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

absl::Status RunConfigure(const ConfigureOptions& options, const std::stop_token& stop) {
  SendGrpcLogToOurs();
  grpc::ChannelArguments arguments;
  // gRPC would send even loopback through the proxy that the environment names for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto stub = pb::Agent::NewStub(
      grpc::CreateCustomChannel(options.agent, grpc::InsecureChannelCredentials(), arguments));
  pb::AgentConfigRequest request;
  *request.mutable_parameters() = ParametersOf(options);
  while (!stop.stop_requested()) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
    pb::AgentConfigResponse response;
    const absl::Status status = FromGrpc(stub->Configure(&context, request, &response));
    if (stop.stop_requested()) break;
    const std::string line = LineOf(status, response.report()) + "\n";
    if (std::fputs(line.c_str(), options.output) < 0 || std::fflush(options.output) != 0) {
      return absl::UnavailableError("cannot write the answer");
    }
    Pause(options.interval, stop);
  }
  return absl::OkStatus();
}

}  // namespace pgc
