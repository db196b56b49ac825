#include "controller/controller_service.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/cut_text.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "controller/controller.h"

namespace pgc {
namespace {

// A status travels in HTTP headers, of which a peer takes 8 KiB.
constexpr size_t kMaxStatusMessageBytes = 2'048;
// Of texts that a client sends to be shown.
constexpr size_t kMaxShownBytes = 1'024;

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message().substr(0, kMaxStatusMessageBytes))};
}

void Set(pb::DumpBegun& out, const DumpBegun& begun) {
  out.set_shown(begun.shown);
  out.set_place(begun.place);
  out.set_schema(begun.schema);
  out.set_table(begun.table);
  out.set_fields(begun.fields);
}

DumpBegun BegunOf(const pb::DumpBegun& begun) {
  return {.shown = begun.shown(),
          .place = begun.place(),
          .schema = begun.schema(),
          .table = begun.table(),
          .fields = begun.fields()};
}

void Set(pb::DumpInfoResponse& out, const Dump& dump) {
  out.Clear();
  out.set_schema(dump.schema);
  out.set_table(dump.table);
  out.set_page_begin(dump.begin);
  out.set_page_end(dump.end);
  out.set_job(dump.job);
  out.set_server(dump.server);
  out.set_sweep(dump.sweep);
  out.set_sweep_from(dump.sweep_from);
  out.set_relfilenode(dump.relfilenode);
  out.set_asks_begun(true);
  if (dump.owed) Set(*out.mutable_owed(), *dump.owed);
  if (dump.rows == nullptr) return;
  out.set_where(dump.rows->where);
  out.mutable_columns()->Assign(dump.rows->columns.begin(), dump.rows->columns.end());
  out.mutable_keys()->Assign(dump.rows->keys.begin(), dump.rows->keys.end());
}

DumpAnswer AnswerOf(const pb::DumpInfoRequest& request) {
  DumpAnswer answer;
  answer.requeue_reason = request.requeue_reason();
  switch (request.requeue()) {
    case pb::DumpInfoRequest::SERVER_GONE:
      answer.requeue = Requeue::kServerGone;
      break;
    case pb::DumpInfoRequest::TABLE_CHANGED:
      answer.requeue = Requeue::kTableChanged;
      break;
    case pb::DumpInfoRequest::IMPOSSIBLE:
      answer.requeue = Requeue::kImpossible;
      break;
    default:
      break;
  }
  answer.pages = request.pages();
  answer.server = request.server().substr(0, JobList::kMaxNameBytes);
  answer.relfilenode = request.relfilenode();
  answer.sweep_from = request.sweep_from();
  answer.rows = request.rows();
  answer.bytes = request.bytes();
  answer.no_key = request.no_key();
  answer.owes = request.owes();
  return answer;
}

template <typename Wire>
PageRange RangeOf(const Wire& wire) {
  PageRange range;
  range.schema = wire.schema();
  range.table = wire.table();
  range.begin = wire.page_begin();
  range.rows.where = wire.where();
  range.rows.columns.assign(wire.columns().begin(), wire.columns().end());
  range.rows.keys.assign(wire.keys().begin(), wire.keys().end());
  return range;
}

absl::StatusOr<JobList> JobsOf(const pb::ScheduleRequest& request, uint32_t pages_per_dump) {
  JobList jobs;
  for (const pb::DumpInfoResponse& dump : request.dumps()) {
    PageRange range = RangeOf(dump);
    range.end = dump.page_end();
    range.exact = true;
    PGC_RETURN_IF_ERROR(jobs.Add(range, pages_per_dump));
  }
  for (const pb::TableDump& table : request.tables()) {
    PageRange range = RangeOf(table);
    if (table.has_page_end()) range.end = table.page_end();
    range.pages_per_dump = table.pages_per_dump();
    PGC_RETURN_IF_ERROR(jobs.Add(range, pages_per_dump));
  }
  jobs.Finish();
  return jobs;
}

pb::DumpJob::State StateOf(JobState state) {
  switch (state) {
    case JobState::kScheduled:
      return pb::DumpJob::SCHEDULED;
    case JobState::kRunning:
      return pb::DumpJob::RUNNING;
    case JobState::kDone:
      return pb::DumpJob::DONE;
    case JobState::kFailed:
      return pb::DumpJob::FAILED;
  }
  return pb::DumpJob::SCHEDULED;
}

void Set(pb::DumpJob& out, const JobInfo& job) {
  const JobProgress& progress = job.progress;
  out.set_job(job.job);
  out.set_schema(job.schema);
  out.set_table(job.table);
  out.set_state(StateOf(progress.state));
  out.set_page_begin(job.begin);
  if (job.end != kToTheEnd) out.set_page_end(job.end);
  out.set_pages(progress.pages);
  out.set_pages_done(job.pages_done);
  out.set_dumps_in_hand(job.in_hand);
  out.set_rows(progress.rows);
  out.set_bytes(progress.bytes);
  out.set_requeues(progress.requeues);
  out.set_restarts(progress.restarts);
  out.set_reason(progress.reason);
  out.set_server(progress.server);
  out.set_sweeping(job.sweeping);
  out.set_no_key(progress.no_key);
}

void Set(google::protobuf::Duration& out, std::chrono::nanoseconds duration) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(duration);
  out.set_seconds(seconds.count());
  out.set_nanos(static_cast<int32_t>((duration - seconds).count()));
}

absl::StatusOr<std::chrono::nanoseconds> DurationOf(const google::protobuf::Duration& duration) {
  constexpr int64_t kMaxSeconds = int64_t{366} * 86'400;
  if (duration.seconds() < 0 || duration.nanos() < 0 || duration.nanos() >= 1'000'000'000 ||
      duration.seconds() > kMaxSeconds) {
    return absl::InvalidArgumentError("a cool-down is between 0 and a year");
  }
  return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
}

grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// Replies to what changes a schedule, and keeps it in the log.
grpc::ServerUnaryReactor* ReplyToChange(grpc::CallbackServerContext* context, const char* what,
                                        const std::string& uri, const absl::Status& status) {
  log::Info(what, {{"uri", uri.substr(0, kMaxShownBytes)},
                   {"peer", context->peer()},
                   {"error", std::string(status.message())}});
  return Reply(context, status);
}

// What a uri of a request stands for.
class UriNames {
 public:
  explicit UriNames(std::string default_name) : default_name_(std::move(default_name)) {}

  absl::StatusOr<std::string> Full(const std::string& uri) const {
    if (uri.empty()) return absl::InvalidArgumentError("the uri is empty");
    if (default_name_.empty() || uri.find('/') != std::string::npos) return uri;
    return uri + '/' + default_name_;
  }

 private:
  const std::string default_name_;
};

class DumpStream;

// The calls of PullDumpInfo. Thread-safe.
class Streams {
 public:
  // Takes it in any case; after an error it is to be ended at once.
  absl::Status Add(const std::shared_ptr<DumpStream>& stream);
  void Remove(DumpStream* stream);
  void EndAll(const absl::Status& status);
  void WaitUntilEmpty();

 private:
  Mutex mutex_;
  CondVar changed_;
  std::map<DumpStream*, std::shared_ptr<DumpStream>> streams_ PGC_GUARDED_BY(mutex_);
  absl::Status ended_ PGC_GUARDED_BY(mutex_);
};

// One call of PullDumpInfo: a client of the controller.
//
// Threads: gRPC reads one request at a time, and says on any thread when a dump is written; the
// controller gives dumps while it holds its own mutex. So this one's mutex is never held over a
// call of the controller. A client whose answer overtakes OnWriteDone gets its next dump after
// that. Owner: Streams, until OnDone.
class DumpStream final : public grpc::ServerBidiReactor<pb::DumpInfoRequest, pb::DumpInfoResponse>,
                         public DumpTaker {
 public:
  DumpStream(Controller& controller, const UriNames& uris, Streams& streams,
             grpc::CallbackServerContext& context)
      : controller_(controller), uris_(uris), streams_(streams), peer_(context.peer()) {}

  void Start() { StartRead(&request_); }

  void End(const absl::Status& status) {
    MutexLock lock(mutex_);
    EndLocked(status);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Leave(absl::OkStatus());
      return;
    }
    // Then it has a dump already.
    const bool begins = attached_ && !is_held_ && request_.has_begun();
    const absl::Status status =
        begins ? controller_.Begun(client(), BegunOf(request_.begun())) : TakeRequest();
    if (!status.ok()) {
      Leave(status);
      return;
    }
    Controller::Client client = 0;
    {
      MutexLock lock(mutex_);
      if (ended_) return;
      StartRead(&request_);
      if (begins) return;
      if (writing_) {
        wants_ = true;
      } else if (!is_held_) {
        client = client_;
      }
    }
    if (client != 0) controller_.Want(client);
  }

  void OnWriteDone(bool ok) override {
    Controller::Client client = 0;
    {
      MutexLock lock(mutex_);
      writing_ = false;
      if (!ok || ended_) return;
      if (std::exchange(is_note_due_, false)) {
        WriteNote();
      } else if (given_) {
        WriteDump(*std::exchange(given_, std::nullopt));
      } else if (std::exchange(wants_, false)) {
        client = client_;
      }
    }
    if (client != 0) controller_.Want(client);
  }

  // Its dump is given back now, and not when gRPC has given up the writes.
  void OnCancel() override { Leave(absl::CancelledError("the call was cancelled")); }

  void OnDone() override {
    LeaveController();
    streams_.Remove(this);
  }

  void Give(const Dump& dump) override {
    MutexLock lock(mutex_);
    if (ended_) return;
    if (writing_) {
      given_ = dump;
    } else {
      WriteDump(dump);
    }
  }

  void Noted() override {
    MutexLock lock(mutex_);
    ++noted_;
    if (ended_) return;
    if (writing_) {
      is_note_due_ = true;
    } else {
      WriteNote();
    }
  }

  void Fail(const absl::Status& status) override { End(status); }

 private:
  void WriteDump(const Dump& dump) PGC_REQUIRES(mutex_) {
    Set(response_, dump);
    writing_ = true;
    StartWrite(&response_);
  }

  void WriteNote() PGC_REQUIRES(mutex_) {
    response_.Clear();
    response_.set_noted(noted_);
    writing_ = true;
    StartWrite(&response_);
  }

  absl::Status TakeRequest() {
    if (attached_)
      return is_held_ ? absl::OkStatus() : controller_.Answer(client(), AnswerOf(request_));
    PGC_ASSIGN_OR_RETURN(const std::string uri, uris_.Full(request_.uri()));
    is_held_ = !request_.hold().empty();
    PGC_ASSIGN_OR_RETURN(const Controller::Client client,
                         controller_.Attach(uri,
                                            {.consumer = request_.consumer(),
                                             .peer = peer_,
                                             .hold = CutText(request_.hold(), kMaxShownBytes),
                                             .repeats = request_.repeats()},
                                            *this));
    attached_ = true;
    MutexLock lock(mutex_);
    client_ = client;
    return absl::OkStatus();
  }

  void Leave(const absl::Status& status) {
    LeaveController();
    End(status);
  }

  void LeaveController() {
    const Controller::Client leaves = client();
    if (leaves != 0) controller_.Detach(leaves);
  }

  Controller::Client client() {
    MutexLock lock(mutex_);
    return client_;
  }

  void EndLocked(const absl::Status& status) PGC_REQUIRES(mutex_) {
    if (std::exchange(ended_, true)) return;
    Finish(ToGrpc(status));
  }

  Controller& controller_;
  const UriNames& uris_;
  Streams& streams_;
  const std::string peer_;

  // The reader's.
  pb::DumpInfoRequest request_;
  bool attached_ = false;
  bool is_held_ = false;

  Mutex mutex_;
  Controller::Client client_ PGC_GUARDED_BY(mutex_) = 0;
  pb::DumpInfoResponse response_ PGC_GUARDED_BY(mutex_);  // gRPC's while writing_
  bool writing_ PGC_GUARDED_BY(mutex_) = false;
  bool wants_ PGC_GUARDED_BY(mutex_) = false;  // the next dump, once this is written
  // To be written behind it.
  uint32_t noted_ PGC_GUARDED_BY(mutex_) = 0;
  bool is_note_due_ PGC_GUARDED_BY(mutex_) = false;
  std::optional<Dump> given_ PGC_GUARDED_BY(mutex_);
  bool ended_ PGC_GUARDED_BY(mutex_) = false;
};

absl::Status Streams::Add(const std::shared_ptr<DumpStream>& stream) {
  MutexLock lock(mutex_);
  const bool full = streams_.size() >= ControllerService::kMaxStreams;
  streams_.emplace(stream.get(), stream);
  if (!ended_.ok()) return ended_;
  if (!full) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} clients take dumps already", ControllerService::kMaxStreams));
}

void Streams::Remove(DumpStream* stream) {
  std::shared_ptr<DumpStream> removed;  // destroyed without the mutex
  MutexLock lock(mutex_);
  const auto node = streams_.extract(stream);
  if (!node.empty()) removed = node.mapped();
  changed_.NotifyAll();
}

void Streams::EndAll(const absl::Status& status) {
  std::vector<std::shared_ptr<DumpStream>> all;
  {
    MutexLock lock(mutex_);
    ended_ = status;
    for (const auto& [at, stream] : streams_) all.push_back(stream);
  }
  for (const auto& stream : all) stream->End(status);
}

void Streams::WaitUntilEmpty() {
  MutexLock lock(mutex_);
  while (!streams_.empty()) changed_.Wait(mutex_);
}

}  // namespace

class ControllerService::Impl {
 public:
  Impl(std::unique_ptr<Controller> controller, std::string default_name)
      : controller_(std::move(controller)), uris_(std::move(default_name)) {}

  Controller& controller() { return *controller_; }
  const UriNames& uris() const { return uris_; }
  Streams& streams() { return streams_; }

 private:
  const std::unique_ptr<Controller> controller_;
  const UriNames uris_;
  Streams streams_;
};

ControllerService::ControllerService(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ControllerService::~ControllerService() { Shutdown(); }

absl::StatusOr<std::unique_ptr<ControllerService>> ControllerService::Open(
    const ControllerOptions& options) {
  if (options.pages_per_dump == 0 || options.max_tries == 0) {
    return absl::InvalidArgumentError("pages_per_dump and max_tries are at least 1");
  }
  PGC_ASSIGN_OR_RETURN(auto controller,
                       Controller::Open({.data_dir = options.data_dir,
                                         .schedule = {.pages_per_dump = options.pages_per_dump,
                                                      .max_tries = options.max_tries}}));
  return std::unique_ptr<ControllerService>(
      new ControllerService(std::make_unique<Impl>(std::move(controller), options.default_name)));
}

void ControllerService::Shutdown() {
  impl_->streams().EndAll(absl::UnavailableError("the controller is shutting down"));
  impl_->streams().WaitUntilEmpty();
}

grpc::ServerBidiReactor<pb::DumpInfoRequest, pb::DumpInfoResponse>* ControllerService::PullDumpInfo(
    grpc::CallbackServerContext* context) {
  const auto stream =
      std::make_shared<DumpStream>(impl_->controller(), impl_->uris(), impl_->streams(), *context);
  const absl::Status added = impl_->streams().Add(stream);
  if (added.ok()) {
    stream->Start();
  } else {
    stream->End(added);
  }
  return stream.get();
}

grpc::ServerUnaryReactor* ControllerService::Schedule(grpc::CallbackServerContext* context,
                                                      const pb::ScheduleRequest* request,
                                                      pb::ScheduleResponse* response) {
  const auto schedule = [&]() -> absl::Status {
    PGC_ASSIGN_OR_RETURN(const std::string uri, impl_->uris().Full(request->uri()));
    PGC_ASSIGN_OR_RETURN(JobList jobs,
                         JobsOf(*request, impl_->controller().options().pages_per_dump));
    if (!request->once()) {
      return request->replace() ? impl_->controller().Replace(uri, std::move(jobs))
                                : impl_->controller().Start(uri, std::move(jobs));
    }
    PGC_ASSIGN_OR_RETURN(const bool is_first, impl_->controller().StartOnce(uri, std::move(jobs)));
    response->set_once(is_first ? pb::ScheduleResponse::SCHEDULED
                                : pb::ScheduleResponse::WAS_BEFORE);
    return absl::OkStatus();
  };
  const absl::Status status = schedule();
  return ReplyToChange(context,
                       response->once() == pb::ScheduleResponse::WAS_BEFORE
                           ? "dumps were asked for that were scheduled once before"
                           : "dumps were asked for",
                       request->uri(), status);
}

grpc::ServerUnaryReactor* ControllerService::StopSchedule(grpc::CallbackServerContext* context,
                                                          const pb::StopScheduleRequest* request,
                                                          pb::StopScheduleResponse* /*response*/) {
  const auto uri = impl_->uris().Full(request->uri());
  absl::Status status = uri.status();
  if (status.ok()) status = impl_->controller().Stop(*uri);
  return ReplyToChange(context, "dumps were asked to stop", request->uri(), status);
}

grpc::ServerUnaryReactor* ControllerService::SetScheduleCoolDown(
    grpc::CallbackServerContext* context, const pb::SetScheduleCoolDownRequest* request,
    pb::SetScheduleCoolDownResponse* /*response*/) {
  const auto set = [&]() -> absl::Status {
    PGC_ASSIGN_OR_RETURN(const std::string uri, impl_->uris().Full(request->uri()));
    PGC_ASSIGN_OR_RETURN(const auto duration, DurationOf(request->duration()));
    return impl_->controller().SetCoolDown(uri, duration);
  };
  return ReplyToChange(context, "a cool-down was set", request->uri(), set());
}

grpc::ServerUnaryReactor* ControllerService::Pause(grpc::CallbackServerContext* context,
                                                   const pb::PauseRequest* request,
                                                   pb::PauseResponse* /*response*/) {
  const auto uri = impl_->uris().Full(request->uri());
  absl::Status status = uri.status();
  if (status.ok()) status = impl_->controller().Pause(*uri, true);
  return ReplyToChange(context, "dumps were paused", request->uri(), status);
}

grpc::ServerUnaryReactor* ControllerService::Resume(grpc::CallbackServerContext* context,
                                                    const pb::ResumeRequest* request,
                                                    pb::ResumeResponse* /*response*/) {
  const auto uri = impl_->uris().Full(request->uri());
  absl::Status status = uri.status();
  if (status.ok()) status = impl_->controller().Pause(*uri, false);
  return ReplyToChange(context, "dumps go on", request->uri(), status);
}

grpc::ServerUnaryReactor* ControllerService::Status(grpc::CallbackServerContext* context,
                                                    const pb::ControllerStatusRequest* request,
                                                    pb::ControllerStatusResponse* response) {
  const auto uri = impl_->uris().Full(request->uri());
  if (!uri.ok()) return Reply(context, uri.status());
  const UriInfo info = impl_->controller().Status(*uri);
  response->set_uri(info.uri);
  response->set_scheduled(info.scheduled);
  response->set_paused(info.paused);
  response->set_jobs_total(info.jobs_total);
  response->set_jobs_done(info.jobs_done);
  response->set_jobs_failed(info.jobs_failed);
  response->set_rows(info.rows);
  response->set_bytes(info.bytes);
  response->set_rows_per_second(info.rows_per_second);
  response->set_seconds_left(info.seconds_left);
  Set(*response->mutable_cool_down(), info.cool_down);
  for (const JobInfo& job : info.jobs) Set(*response->add_jobs(), job);
  for (const ConsumerInfo& consumer : info.consumers) {
    pb::DumpConsumer& out = *response->add_consumers();
    out.set_peer(consumer.peer);
    out.set_hold(consumer.hold);
    out.set_dumps_in_hand(consumer.has_dump ? 1 : 0);
  }
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControllerService::List(grpc::CallbackServerContext* context,
                                                  const pb::ListSchedulesRequest* /*request*/,
                                                  pb::ListSchedulesResponse* response) {
  for (const UriInfo& info : impl_->controller().List()) {
    auto& out = *response->add_schedules();
    out.set_uri(info.uri);
    out.set_scheduled(info.scheduled);
    out.set_paused(info.paused);
    out.set_jobs_total(info.jobs_total);
    out.set_jobs_done(info.jobs_done);
    out.set_jobs_failed(info.jobs_failed);
  }
  return Reply(context, absl::OkStatus());
}

}  // namespace pgc
