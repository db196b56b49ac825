#include "gateway/snapshot.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>
#include <vector>

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

// The calls, one after the other; kept by gRPC until the last has answered.
struct Calls {
  // Each call has its own.
  grpc::ClientContext* NewContext() {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    contexts.back()->set_deadline(std::chrono::system_clock::now() + kDeadline);
    return contexts.back().get();
  }

  SnapshotOptions options;
  std::function<void(absl::Status)> done;
  std::unique_ptr<pb::Agent::Stub> agent;
  std::unique_ptr<pb::DBLogController::Stub> controller;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  pb::ListTablesRequest list;
  pb::ListTablesResponse tables;
  pb::ScheduleRequest schedule;
  pb::ScheduleResponse scheduled;
  pb::StopScheduleRequest stop;
  pb::StopScheduleResponse stopped;
};

bool IsAlreadyScheduled(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::FAILED_PRECONDITION &&
         status.error_message().find(kAlreadyScheduled) != std::string::npos;
}

void Schedule(const std::shared_ptr<Calls>& calls, bool again);

// What is scheduled for a subscription that is not made yet may be the remainder of a first try, of
// tables that were there then, or a few tables that somebody asked for: this is more than either.
void Replace(const std::shared_ptr<Calls>& calls) {
  calls->stop.set_uri(calls->options.uri);
  calls->controller->async()->StopSchedule(calls->NewContext(), &calls->stop, &calls->stopped,
                                           [calls](const grpc::Status& status) {
                                             if (!status.ok()) {
                                               return calls->done(Failed("controller", status));
                                             }
                                             Schedule(calls, /*again=*/true);
                                           });
}

void Schedule(const std::shared_ptr<Calls>& calls, bool again) {
  calls->controller->async()->Schedule(
      calls->NewContext(), &calls->schedule, &calls->scheduled,
      [calls, again](const grpc::Status& status) {
        // Once more only if another consumer of the subscription has just begun it.
        const bool is_there = IsAlreadyScheduled(status);
        if (is_there && !again) return Replace(calls);
        calls->done(status.ok() || is_there ? absl::OkStatus() : Failed("controller", status));
      });
}

void ScheduleTables(const std::shared_ptr<Calls>& calls) {
  calls->schedule.set_uri(calls->options.uri);
  for (const auto& table : calls->tables.tables()) {
    if (!calls->options.wants(table.published_schema(), table.published_table())) continue;
    pb::TableDump& dump = *calls->schedule.add_tables();
    dump.set_schema(table.schema());
    dump.set_table(table.table());
  }
  if (calls->schedule.tables_size() == 0) return calls->done(absl::OkStatus());
  Schedule(calls, /*again=*/false);
}

// Any of them knows all tables; the last one's error is the one that counts.
void ListTables(const std::shared_ptr<Calls>& calls, size_t number) {
  calls->agent = pb::Agent::NewStub(calls->options.sources.agents[number]);
  calls->tables.Clear();
  calls->agent->async()->ListTables(calls->NewContext(), &calls->list, &calls->tables,
                                    [calls, number](const grpc::Status& status) {
                                      if (status.ok()) return ScheduleTables(calls);
                                      if (number + 1 < calls->options.sources.agents.size())
                                        return ListTables(calls, number + 1);
                                      calls->done(Failed("agent", status));
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
  calls->controller = pb::DBLogController::NewStub(options.sources.controller);
  ListTables(calls, 0);
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
