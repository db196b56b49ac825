#include "gateway/snapshot.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>
#include <vector>

#include "base/status_macros.h"
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

// Nothing is left that would come to a subscription which was refused.
void RefuseOnce(const std::shared_ptr<Calls>& calls) {
  calls->stop.set_uri(calls->options.uri);
  calls->controller->async()->StopSchedule(
      calls->NewContext(), &calls->stop, &calls->stopped,
      [calls](const grpc::Status&) { calls->done(DoesNotKnowOnce(calls->options.uri)); });
}

void ScheduleOnce(const std::shared_ptr<Calls>& calls) {
  calls->schedule.set_once(true);
  calls->controller->async()->Schedule(
      calls->NewContext(), &calls->schedule, &calls->scheduled,
      [calls](const grpc::Status& status) {
        // With `once` that is no error; and it is somebody else's schedule.
        if (IsAlreadyScheduled(status)) return calls->done(DoesNotKnowOnce(calls->options.uri));
        if (!status.ok()) return calls->done(Failed("controller", status));
        if (calls->scheduled.once() == pb::ScheduleResponse::NOT_KNOWN) return RefuseOnce(calls);
        calls->done(absl::OkStatus());
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
  // Also without a table: those that are made later come with all of their changes.
  if (calls->options.once) return ScheduleOnce(calls);
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

absl::Status CheckHasDumps(const DumpSources& sources) {
  if (sources.controller != nullptr && !sources.agents.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the snapshot cannot begin: this gateway has no controller or no agent for dumps");
}

absl::Status ScheduleSnapshot(const SnapshotOptions& options,
                              std::function<void(absl::Status)> done) {
  PGC_RETURN_IF_ERROR(CheckHasDumps(options.sources));
  const auto calls = std::make_shared<Calls>();
  calls->options = options;
  calls->done = std::move(done);
  calls->controller = pb::DBLogController::NewStub(options.sources.controller);
  ListTables(calls, 0);
  return absl::OkStatus();
}

void ForgetSnapshot(const SnapshotOptions& options) {
  if (options.sources.controller == nullptr) return;
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
