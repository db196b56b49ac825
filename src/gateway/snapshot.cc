#include "gateway/snapshot.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>

#include "base/status_macros.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;

constexpr std::chrono::seconds kDeadline{30};
constexpr char kAlreadyScheduled[] = "already scheduled";

// A call that ends when it is stopped.
template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response& response, const std::stop_token& stop) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  return (stub.*method)(&context, request, &response);
}

absl::Status Failed(const char* what, const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()),
          fmt::format("the snapshot cannot begin: {}: {}", what, status.error_message())};
}

// The Go program's controller, or an older one of ours, which may have scheduled them.
absl::Status DoesNotKnowOnce(const std::string& uri) {
  return absl::FailedPreconditionError(fmt::format(
      "the snapshot cannot begin: the store does not tell whether the subscription is new, and the "
      "controller is one that does not remember for which it has scheduled a snapshot: take "
      "`pgcapture controller` of this version, or leave From out and ask for the rows: pgcapture "
      "dump --uri {} --table '*'",
      uri));
}

bool IsAlreadyScheduled(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::FAILED_PRECONDITION &&
         status.error_message().find(kAlreadyScheduled) != std::string::npos;
}

// Any of them knows all tables; the last one's error is the one that counts.
absl::StatusOr<pb::ListTablesResponse> ListTables(const DumpSources& sources,
                                                  const std::stop_token& stop) {
  grpc::Status status;
  for (const auto& channel : sources.agents) {
    pb::Agent::Stub agent(channel);
    pb::ListTablesResponse tables;
    status = Call(agent, &pb::Agent::Stub::ListTables, pb::ListTablesRequest(), tables, stop);
    if (status.ok()) return tables;
    if (stop.stop_requested()) break;
  }
  return Failed("agent", status);
}

class ControllerCalls {
 public:
  // They are not stopped: what forgets a schedule could come before it then.
  explicit ControllerCalls(const DumpSources& sources) : stub_(sources.controller) {}

  grpc::Status Schedule(const pb::ScheduleRequest& request, pb::ScheduleResponse& response) {
    return Call(stub_, &pb::DBLogController::Stub::Schedule, request, response, {});
  }
  grpc::Status Stop(const std::string& uri) {
    pb::StopScheduleRequest request;
    request.set_uri(uri);
    pb::StopScheduleResponse response;
    return Call(stub_, &pb::DBLogController::Stub::StopSchedule, request, response, {});
  }

 private:
  pb::DBLogController::Stub stub_;
};

absl::Status ScheduleOnce(ControllerCalls& controller, pb::ScheduleRequest& request) {
  request.set_once(true);
  pb::ScheduleResponse response;
  const grpc::Status status = controller.Schedule(request, response);
  // With `once` that is no error; and it is somebody else's schedule.
  if (IsAlreadyScheduled(status)) return DoesNotKnowOnce(request.uri());
  if (!status.ok()) return Failed("controller", status);
  if (response.once() != pb::ScheduleResponse::NOT_KNOWN) return absl::OkStatus();
  // Nothing is to be left that would come to a subscription which was refused.
  (void)controller.Stop(request.uri());
  return DoesNotKnowOnce(request.uri());
}

// What is scheduled for a subscription that is not made yet may be the remainder of a first try, of
// tables that were there then, or a few tables that somebody asked for: this is more than either.
absl::Status ScheduleInPlace(ControllerCalls& controller, pb::ScheduleRequest& request) {
  request.set_replace(true);
  pb::ScheduleResponse response;
  grpc::Status status = controller.Schedule(request, response);
  if (IsAlreadyScheduled(status)) {
    // One that does not know `replace`.
    status = controller.Stop(request.uri());
    if (status.ok()) status = controller.Schedule(request, response);
    // Another consumer of the subscription has just begun it.
    if (IsAlreadyScheduled(status)) return absl::OkStatus();
  }
  return status.ok() ? absl::OkStatus() : Failed("controller", status);
}

}  // namespace

absl::Status CheckHasDumps(const DumpSources& sources) {
  if (sources.controller != nullptr && !sources.agents.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the snapshot cannot begin: this gateway has no controller or no agent for dumps");
}

absl::Status ScheduleSnapshot(const SnapshotOptions& options, const std::stop_token& stop) {
  PGC_RETURN_IF_ERROR(CheckHasDumps(options.sources));
  PGC_ASSIGN_OR_RETURN(const pb::ListTablesResponse tables, ListTables(options.sources, stop));
  pb::ScheduleRequest request;
  request.set_uri(options.uri);
  for (const auto& table : tables.tables()) {
    if (!options.wants(table.published_schema(), table.published_table())) continue;
    pb::TableDump& dump = *request.add_tables();
    dump.set_schema(table.schema());
    dump.set_table(table.table());
  }
  ControllerCalls controller(options.sources);
  // Also without a table: those that are made later come with all of their changes.
  if (options.once) return ScheduleOnce(controller, request);
  if (request.tables_size() == 0) return absl::OkStatus();
  return ScheduleInPlace(controller, request);
}

void ForgetSnapshot(const std::string& uri, const DumpSources& sources) {
  if (sources.controller == nullptr) return;
  (void)ControllerCalls(sources).Stop(uri);
}

}  // namespace pgc
