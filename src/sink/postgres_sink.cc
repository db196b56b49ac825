#include "sink/postgres_sink.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"
#include "pg/connection.h"
#include "sink/checkpoint_row.h"
#include "sink/log_units.h"
#include "sink/parallel_applier.h"
#include "sink/pg_log.h"
#include "sink/session.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

// How often what was committed is made durable, where commits are not, and reported.
constexpr std::chrono::seconds kSyncInterval{1};
constexpr std::chrono::seconds kReportInterval{10};

// Where to begin: after the checkpoint, after what the target was copied with, or at the beginning.
absl::StatusOr<ReaderStart> StartOf(const CheckpointRow& row, const SinkOptions& options) {
  if (row.checkpoint.has_value()) {
    return FromAfter{.checkpoint = *row.checkpoint, .place = row.place};
  }
  if (options.pg_log_path.empty()) return FromBeginning{};
  PGC_ASSIGN_OR_RETURN(const std::optional<Lsn> copied, ReadPgLog(options.pg_log_path));
  if (!copied.has_value()) {
    log::Warning(
        "the server's log does not say where the copy stood; starting at the log's beginning",
        {{"path", options.pg_log_path}});
    return FromBeginning{};
  }
  return FromAfter{.checkpoint = {.lsn = *copied, .seq = UINT32_MAX}};
}

struct Targets {
  std::vector<std::unique_ptr<Connection>> connections;
  CheckpointRow row;
  ParallelApplier::Options apply;
};

// Only the first has the lock of the database: see docs/decisions/apply-at-once.md.
absl::StatusOr<Targets> OpenTargets(const SinkOptions& options, const std::stop_token& stop) {
  Targets targets;
  targets.apply.apply = options.apply;
  // Triggers and foreign keys see other tables: then everything depends on everything.
  const size_t count = options.apply.replica_role ? options.connections : 1;
  for (size_t i = 0; i < count; ++i) {
    PGC_ASSIGN_OR_RETURN(
        auto connection,
        Connection::Open(options.url, {.application_name = "pgcapture apply"}, stop));
    Connection& target = *targets.connections.emplace_back(std::move(connection));
    if (i == 0) PGC_RETURN_IF_ERROR(LockTarget(target, stop));
    PGC_RETURN_IF_ERROR(PrepareSession(target, options.apply.replica_role, stop));
    PGC_ASSIGN_OR_RETURN(targets.apply.commits_are_durable,
                         SetSynchronousCommit(target, options.synchronous_commit, stop));
  }
  Connection& first = *targets.connections[0];
  PGC_ASSIGN_OR_RETURN(targets.row, ReadCheckpointRow(first, options.apply.source_id, stop));
  targets.apply.checkpoint = targets.row.stored;
  return targets;
}

// Applies units in order, and moves the cursor behind what is durable.
class Session {
 public:
  Session(std::vector<std::unique_ptr<Connection>> targets, const SinkOptions& options,
          ParallelApplier::Options apply, std::shared_ptr<EventReader> reader,
          const std::stop_token& stop)
      : options_(options),
        commits_are_durable_(apply.commits_are_durable),
        applier_(std::move(targets), std::move(apply), stop),
        units_(std::move(reader)) {}

  absl::Status Run() {
    while (true) {
      const bool unsynced =
          !applier_.in_transaction() &&
          (!applier_.idle() || applier_.durable_ordinal() != applier_.progress().ordinal);
      const auto deadline = unsynced ? synced_at_ + kSyncInterval : Clock::time_point::max();
      auto unit = units_.Next(applier_.ended(), deadline);
      if (!unit.ok()) {
        PGC_RETURN_IF_ERROR(applier_.status());
        return unit.status();
      }
      if (!unit->has_value()) {
        if (applier_.idle()) PGC_RETURN_IF_ERROR(applier_.Sync());
        synced_at_ = Clock::now();
        Release();
        continue;
      }
      // Asked for only where commits are not durable: it is less than some wait for.
      const bool is_time = (*unit)->complete && Clock::now() - synced_at_ >= kSyncInterval;
      if (is_time) synced_at_ = Clock::now();
      PGC_RETURN_IF_ERROR(applier_.Apply(*std::move(*unit), is_time && !commits_are_durable_));
      Release();
      Report();
    }
  }

 private:
  void Release() {
    const uint64_t durable = applier_.durable_ordinal();
    if (durable == released_) return;
    released_ = durable;
    units_.Release(released_);
  }
  void Report() {
    if (options_.applied) options_.applied(applier_.progress().commit_time);
    const auto now = Clock::now();
    if (now - reported_at_ < kReportInterval) return;
    reported_at_ = now;
    const Applier::Progress progress = applier_.progress();
    log::Info("applying", {{"topic", options_.topic},
                           {"lsn", ToString(progress.checkpoint.lsn)},
                           {"lag_ms", std::to_string(LagMs(progress.commit_time))},
                           {"changes", std::to_string(progress.changes)}});
  }

  const SinkOptions& options_;
  const bool commits_are_durable_;
  ParallelApplier applier_;
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
  auto opened = OpenTargets(options, stop);
  if (!opened.ok()) return stopped(opened.status());
  Connection& target = *opened->connections[0];
  const std::optional<Checkpoint>& checkpoint = opened->row.checkpoint;
  PGC_ASSIGN_OR_RETURN(const ReaderStart start, StartOf(opened->row, options));
  PGC_ASSIGN_OR_RETURN(std::shared_ptr<EventReader> reader,
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
             {"connections", std::to_string(opened->connections.size())},
             {"from", checkpoint.has_value() ? ToKey(*checkpoint) : "the beginning"}});
  if (started) started();
  opened->apply.apply.place_of = [reader](uint64_t ordinal) { return reader->PlaceOf(ordinal); };
  Session session(std::move(opened->connections), options, std::move(opened->apply),
                  std::move(reader), stop);
  return stopped(session.Run());
}

}  // namespace pgc
