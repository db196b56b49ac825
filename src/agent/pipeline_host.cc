#include "agent/pipeline_host.h"

#include <fmt/format.h>

#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "agent/parameters.h"
#include "agent/pipeline.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

absl::Status ShuttingDown() { return absl::UnavailableError("the agent is shutting down"); }

}  // namespace

class PipelineHost::Impl {
 public:
  explicit Impl(PipelineHostOptions options)
      : options_(std::move(options)),
        around_{.replica_is_kept = options_.replica_is_kept,
                .replica_is_left = options_.replica_is_left},
        thread_([this](const std::stop_token& stop) { Run(stop); }) {}
  ~Impl() { Shutdown(); }

  void Configure(Parameters parameters, Answer answer) {
    absl::Status refused;
    {
      MutexLock lock(mutex_);
      if (is_shut_down_) {
        refused = ShuttingDown();
      } else if (calls_.size() >= kMaxWaitingCalls) {
        refused = absl::ResourceExhaustedError(fmt::format("{} calls wait already", calls_.size()));
      } else {
        calls_.push_back({std::move(parameters), std::move(answer)});
        changed_.NotifyAll();
        return;
      }
    }
    answer(refused);
  }

  void Shutdown() {
    std::deque<Call> calls;
    {
      MutexLock lock(mutex_);
      is_shut_down_ = true;
      calls.swap(calls_);
    }
    for (const Call& call : calls) call.answer(ShuttingDown());
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  struct Call {
    Parameters parameters;
    Answer answer;
  };

  void Run(const std::stop_token& stop) {
    while (true) {
      std::optional<Call> call;
      {
        MutexLock lock(mutex_);
        if (!changed_.Wait(mutex_, stop,
                           [this]() PGC_REQUIRES(mutex_) { return !calls_.empty(); })) {
          break;
        }
        call = std::move(calls_.front());
        calls_.pop_front();
      }
      call->answer(Handle(std::move(call->parameters), stop));
    }
    pipeline_ = nullptr;
  }

  absl::StatusOr<Parameters> Handle(Parameters parameters, const std::stop_token& stop) {
    const bool running = pipeline_ != nullptr && !pipeline_->failure().has_value();
    if (!running && !IsStatus(parameters)) {
      PGC_RETURN_IF_ERROR(Start(std::move(parameters), stop));
    }
    if (!failed_to_start_.ok()) return failed_to_start_;
    if (pipeline_ == nullptr) return Parameters();
    if (const auto failure = pipeline_->failure()) return *failure;
    Parameters report = report_;
    pipeline_->AddTo(report);
    return report;
  }

  // An error is of the parameters, and changes nothing.
  absl::Status Start(Parameters parameters, const std::stop_token& stop) {
    if (options_.stores == nullptr) {
      return absl::FailedPreconditionError(
          "this agent runs no pipelines but its own: configure one of `pgcapture agent`");
    }
    PGC_ASSIGN_OR_RETURN(PipelineParameters read, ReadParameters(parameters));
    // The store of the one before may be the same.
    pipeline_ = nullptr;
    auto store = options_.stores(std::visit([](const auto& any) { return any.store; }, read));
    failed_to_start_ = store.status();
    if (!store.ok()) return absl::OkStatus();
    report_ = MaskParameters(std::move(parameters));
    pipeline_ = std::make_unique<Pipeline>(std::move(read), *std::move(store), around_);
    pipeline_->WaitForStart(stop, std::chrono::steady_clock::now() + options_.start_time);
    return absl::OkStatus();
  }

  const PipelineHostOptions options_;
  const Pipeline::Around around_;

  // Of the thread.
  std::unique_ptr<Pipeline> pipeline_;
  absl::Status failed_to_start_;  // that there is no pipeline for
  Parameters report_;             // what the pipeline was told

  Mutex mutex_;
  CondVar changed_;
  std::deque<Call> calls_ PGC_GUARDED_BY(mutex_);
  bool is_shut_down_ PGC_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

PipelineHost::PipelineHost(PipelineHostOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

PipelineHost::~PipelineHost() = default;

void PipelineHost::Configure(Parameters parameters, Answer answer) {
  impl_->Configure(std::move(parameters), std::move(answer));
}
void PipelineHost::Shutdown() { impl_->Shutdown(); }

}  // namespace pgc
