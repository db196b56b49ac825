#include "gateway/snapshot.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>

#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;

constexpr std::chrono::seconds kDeadline{30};
constexpr char kAlreadyScheduled[] = "already scheduled";

absl::Status Failed(const char* what, const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()),
          fmt::format("the snapshot cannot begin: {}: {}", what, status.error_message())};
}

// Both calls, one after the other; kept by gRPC until it has answered.
struct Calls {
  SnapshotOptions options;
  std::function<void(absl::Status)> done;
  std::unique_ptr<pb::Agent::Stub> agent;
  std::unique_ptr<pb::DBLogController::Stub> controller;
  grpc::ClientContext list_context;
  pb::ListTablesRequest list;
  pb::ListTablesResponse tables;
  grpc::ClientContext schedule_context;
  pb::ScheduleRequest schedule;
  pb::ScheduleResponse scheduled;
};

void Schedule(const std::shared_ptr<Calls>& calls) {
  calls->schedule.set_uri(calls->options.uri);
  for (const auto& table : calls->tables.tables()) {
    if (!calls->options.wants(table.published_schema(), table.published_table())) continue;
    pb::TableDump& dump = *calls->schedule.add_tables();
    dump.set_schema(table.schema());
    dump.set_table(table.table());
  }
  if (calls->schedule.tables_size() == 0) return calls->done(absl::OkStatus());
  calls->schedule_context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  calls->controller->async()->Schedule(
      &calls->schedule_context, &calls->schedule, &calls->scheduled,
      [calls](const grpc::Status& status) {
        // By another consumer of the subscription, or before this one was made.
        const bool was_there = status.error_code() == grpc::StatusCode::FAILED_PRECONDITION &&
                               status.error_message().find(kAlreadyScheduled) != std::string::npos;
        calls->done(status.ok() || was_there ? absl::OkStatus() : Failed("controller", status));
      });
}

}  // namespace

absl::Status ScheduleSnapshot(const SnapshotOptions& options,
                              std::function<void(absl::Status)> done) {
  if (options.sources.controller == nullptr || options.sources.agents.empty()) {
    return absl::FailedPreconditionError(
        "the snapshot cannot begin: this gateway has no controller or no agent for dumps");
  }
  const auto calls = std::make_shared<Calls>();
  calls->options = options;
  calls->done = std::move(done);
  calls->agent = pb::Agent::NewStub(options.sources.agents.front());
  calls->controller = pb::DBLogController::NewStub(options.sources.controller);
  calls->list_context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  calls->agent->async()->ListTables(&calls->list_context, &calls->list, &calls->tables,
                                    [calls](const grpc::Status& status) {
                                      if (!status.ok()) return calls->done(Failed("agent", status));
                                      Schedule(calls);
                                    });
  return absl::OkStatus();
}

void ForgetSnapshot(const SnapshotOptions& options) {
  struct Call {
    std::unique_ptr<pb::DBLogController::Stub> controller;
    grpc::ClientContext context;
    pb::StopScheduleRequest request;
    pb::StopScheduleResponse response;
  };
  const auto call = std::make_shared<Call>();
  call->controller = pb::DBLogController::NewStub(options.sources.controller);
  call->request.set_uri(options.uri);
  call->context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  call->controller->async()->StopSchedule(&call->context, &call->request, &call->response,
                                          [call](const grpc::Status&) {});
}

}  // namespace pgc
