#include "sink/postgres_sink.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "pg/connection.h"
#include "sink/checkpoint_row.h"
#include "sink/log_units.h"
#include "sink/pg_log.h"
#include "sink/session.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

// How often what was committed is made durable, where commits are not, and reported.
constexpr std::chrono::seconds kSyncInterval{1};
constexpr std::chrono::seconds kReportInterval{10};

// Where to begin: after the checkpoint, after what the target was copied with, or at the beginning.
absl::StatusOr<ReaderStart> StartOf(const std::optional<Checkpoint>& checkpoint,
                                    const SinkOptions& options) {
  if (checkpoint.has_value()) return FromAfter{*checkpoint};
  if (options.pg_log_path.empty()) return FromBeginning{};
  PGC_ASSIGN_OR_RETURN(const std::optional<Lsn> copied, ReadPgLog(options.pg_log_path));
  if (!copied.has_value()) {
    log::Warning(
        "the server's log does not say where the copy stood; starting at the log's beginning",
        {{"path", options.pg_log_path}});
    return FromBeginning{};
  }
  return FromAfter{{.lsn = *copied, .seq = UINT32_MAX}};
}

// Applies units one after the other, and moves the cursor behind what is durable.
class Session {
 public:
  Session(Connection& target, const SinkOptions& options, std::unique_ptr<EventReader> reader,
          bool commits_are_durable, const std::stop_token& stop)
      : options_(options),
        stop_(stop),
        commits_are_durable_(commits_are_durable),
        applier_(target, options.apply, stop),
        units_(std::move(reader)) {}

  absl::Status Run() {
    while (true) {
      const bool unsynced = !applier_.in_transaction() && released_ != applier_.progress().ordinal;
      const auto deadline = unsynced ? synced_at_ + kSyncInterval : Clock::time_point::max();
      PGC_ASSIGN_OR_RETURN(const std::optional<LogUnit> unit, units_.Next(stop_, deadline));
      if (!unit.has_value()) {
        PGC_RETURN_IF_ERROR(applier_.Sync());
        Release();
        continue;
      }
      // Asked for only where commits are not durable: it is less than some wait for.
      const bool make_durable = !commits_are_durable_ && Clock::now() - synced_at_ >= kSyncInterval;
      PGC_RETURN_IF_ERROR(applier_.Apply(*unit, make_durable));
      if ((commits_are_durable_ || make_durable) && unit->complete) Release();
      Report();
    }
  }

 private:
  void Release() {
    synced_at_ = Clock::now();
    released_ = applier_.progress().ordinal;
    if (released_ > 0) units_.Release(released_);
  }
  void Report() {
    if (options_.applied) options_.applied(applier_.progress().commit_time);
    const auto now = Clock::now();
    if (now - reported_at_ < kReportInterval) return;
    reported_at_ = now;
    const Applier::Progress& progress = applier_.progress();
    log::Info("applying", {{"topic", options_.topic},
                           {"lsn", ToString(progress.checkpoint.lsn)},
                           {"lag_ms", std::to_string(LagMs(progress.commit_time))},
                           {"changes", std::to_string(progress.changes)}});
  }

  const SinkOptions& options_;
  const std::stop_token stop_;
  const bool commits_are_durable_;
  Applier applier_;
  LogUnits units_;
  Clock::time_point synced_at_{};
  Clock::time_point reported_at_ = Clock::now();
  uint64_t released_ = 0;
};

}  // namespace

absl::Status RunPostgresSink(EventStore& store, const SinkOptions& options,
                             const std::stop_token& stop, const std::function<void()>& started) {
  const auto stopped = [&stop](absl::Status status) {
    return stop.stop_requested() ? absl::OkStatus() : std::move(status);
  };
  auto connection = Connection::Open(options.url, {.application_name = "pgcapture apply"}, stop);
  if (!connection.ok()) return stopped(connection.status());
  Connection& target = **connection;
  const auto prepare = [&]() -> absl::StatusOr<std::optional<Checkpoint>> {
    PGC_RETURN_IF_ERROR(LockTarget(target, stop));
    PGC_RETURN_IF_ERROR(PrepareSession(target, options.apply.replica_role, stop));
    return ReadCheckpoint(target, options.apply.source_id, stop);
  };
  const auto checkpoint = prepare();
  if (!checkpoint.ok()) return stopped(checkpoint.status());
  const auto durable = SetSynchronousCommit(target, options.synchronous_commit, stop);
  if (!durable.ok()) return stopped(durable.status());
  PGC_ASSIGN_OR_RETURN(const ReaderStart start, StartOf(*checkpoint, options));
  PGC_ASSIGN_OR_RETURN(auto reader,
                       store.OpenReader(options.topic, {.start = start, .cursor = NameOf(target)}));
  if (std::holds_alternative<FromBeginning>(start) && reader->start() != Checkpoint{}) {
    return absl::DataLossError(fmt::format(
        "the target has no checkpoint, and the log of {} begins after {}: what was before is "
        "removed. Copy the database anew",
        options.topic, ToString(reader->start().lsn)));
  }
  log::Info("keeping a replica",
            {{"topic", options.topic},
             {"target", NameOf(target)},
             {"from", checkpoint->has_value() ? ToKey(**checkpoint) : "the beginning"}});
  if (started) started();
  return stopped(Session(target, options, std::move(reader), *durable, stop).Run());
}

}  // namespace pgc
