#include "agent/pipeline.h"

#include <utility>

#include "base/log.h"
#include "base/retry.h"
#include "base/status_macros.h"
#include "event/pipeline.h"
#include "sink/checkpoint_row.h"
#include "sink/postgres_sink.h"
#include "source/postgres_source.h"

namespace pgc {
namespace {

constexpr char kUnavailable[] = "the pipeline is unavailable and will be tried again";

// A source that begins where it is told when the log is new, and counts what is acknowledged.
class AgentSource final : public EventSource {
 public:
  // `count` outlives this.
  AgentSource(std::unique_ptr<EventSource> source, Lsn start, std::atomic<uint64_t>& count)
      : source_(std::move(source)), start_(start), count_(count) {}

  absl::Status Open(const ResumePoint& resume, std::stop_token stop) override {
    ResumePoint from = resume;
    if (from.captured == Lsn{}) from.captured = start_;
    return source_->Open(from, std::move(stop));
  }
  absl::StatusOr<EventBatch> Next(std::stop_token stop) override {
    return source_->Next(std::move(stop));
  }
  void Acknowledge(Lsn captured) override {
    source_->Acknowledge(captured);
    ++count_;
  }

 private:
  const std::unique_ptr<EventSource> source_;
  const Lsn start_;
  std::atomic<uint64_t>& count_;
};

}  // namespace

Pipeline::Pipeline(PipelineParameters parameters, ProvidedStore store, const Around& around)
    : parameters_(std::move(parameters)),
      store_(std::move(store)),
      around_(around),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void Pipeline::Run(const std::stop_token& stop) {
  absl::Status status;
  if (const auto* capture = std::get_if<CaptureParameters>(&parameters_)) {
    status = Retry(kUnavailable, stop, [&] { return CaptureOnce(*capture, stop); });
  } else {
    const auto& apply = std::get<ApplyParameters>(parameters_);
    around_.replica_is_kept({.url = apply.url,
                             .source_id = apply.source_id,
                             .publishes_via_root = publishes_via_root()});
    status = Retry(kUnavailable, stop, [&] { return ApplyOnce(apply, stop); });
    around_.replica_is_left();
  }
  if (status.ok()) return;
  log::Error("pipeline stopped", {{"error", std::string(status.message())}});
  MutexLock lock(mutex_);
  failure_ = std::move(status);
  changed_.NotifyAll();
}

absl::Status Pipeline::CaptureOnce(const CaptureParameters& parameters,
                                   const std::stop_token& stop) {
  PostgresSourceOptions options = parameters.source;
  options.spool_dir = store_.spool_dir;
  options.via_partition_root = publishes_via_root();
  // The sink calls the source back, so the source goes last.
  AgentSource source(NewPostgresSource(std::move(options)), parameters.start, acknowledged_);
  PGC_ASSIGN_OR_RETURN(const auto sink, store_.store->OpenWriter(parameters.source.topic));
  return RunPipeline(source, *sink, stop, [&] {
    log::Info("capturing", {{"topic", parameters.source.topic}});
    SetStarted();
  });
}

absl::Status Pipeline::ApplyOnce(const ApplyParameters& parameters, const std::stop_token& stop) {
  SinkOptions options;
  options.url = parameters.url;
  options.topic = parameters.topic;
  options.pg_log_path = parameters.pg_log_path;
  options.apply.source_id = parameters.source_id;
  options.applied = [this](PgTimestamp commit_time) { commit_us_ = commit_time.us; };
  absl::Status status = RunPostgresSink(*store_.store, options, stop, [this] { SetStarted(); });
  // The topic is made when the source is there for the first time.
  if (absl::IsNotFound(status)) return absl::UnavailableError(status.message());
  return status;
}

void Pipeline::SetStarted() {
  MutexLock lock(mutex_);
  started_ = true;
  changed_.NotifyAll();
}

void Pipeline::WaitForStart(const std::stop_token& stop,
                            std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mutex_);
  changed_.WaitUntil(mutex_, stop, deadline,
                     [this]() PGC_REQUIRES(mutex_) { return started_ || failure_.has_value(); });
}

std::optional<absl::Status> Pipeline::failure() const {
  MutexLock lock(mutex_);
  return failure_;
}

void Pipeline::AddTo(google::protobuf::Struct& report) const {
  auto& fields = *report.mutable_fields();
  if (std::holds_alternative<CaptureParameters>(parameters_)) {
    fields["SourceTxCounter"].set_number_value(static_cast<double>(acknowledged_));
  } else {
    fields["ReplicationLagMilliseconds"].set_number_value(
        static_cast<double>(LagMs(PgTimestamp{commit_us_})));
  }
}

}  // namespace pgc
