#include "sink/parallel_applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

// Of the units that are applied at once, for each connection.
constexpr size_t kBytesPerLane = UnitCutter::kMaxUnitBytes;

absl::Status InItsTurn() { return absl::AbortedError("to be applied in its turn"); }

// Applied again it can succeed, over the same connection.
bool MayRepeat(const absl::Status& status) {
  if (absl::IsCancelled(status)) return false;
  return !absl::IsUnavailable(status) || SqlStateOf(status).starts_with("40");
}

}  // namespace

ParallelApplier::ParallelApplier(std::vector<std::unique_ptr<Connection>> targets, Options options,
                                 const std::stop_token& stop)
    : options_(std::move(options)),
      checkpoint_(options_.checkpoint),
      on_stop_(stop, [this] { ended_.request_stop(); }) {
  for (auto& target : targets) {
    lanes_.push_back(std::make_unique<Lane>(std::move(target), options_.apply, ended_.get_token()));
  }
  if (lanes_.size() == 1) return;
  for (const auto& lane : lanes_) {
    lane->thread =
        std::jthread([this, &lane = *lane](const std::stop_token& end) { Run(lane, end); });
  }
}

ParallelApplier::~ParallelApplier() {
  ended_.request_stop();
  for (const auto& lane : lanes_) {
    lane->thread.request_stop();
    if (lane->thread.joinable()) lane->thread.join();
  }
}

absl::Status ParallelApplier::status() const {
  MutexLock lock(mutex_);
  return status_;
}

bool ParallelApplier::idle() const {
  MutexLock lock(mutex_);
  return IsIdle();
}

Applier::Progress ParallelApplier::progress() const {
  MutexLock lock(mutex_);
  return progress_;
}

uint64_t ParallelApplier::durable_ordinal() const {
  MutexLock lock(mutex_);
  return durable_ordinal_;
}

absl::Status ParallelApplier::Sync() {
  PGC_RETURN_IF_ERROR(lanes_[0]->applier.Sync());
  MutexLock lock(mutex_);
  durable_ordinal_ = progress_.ordinal;
  return absl::OkStatus();
}

ParallelApplier::Lane* ParallelApplier::FreeLane() const {
  const auto found =
      std::find_if(lanes_.begin(), lanes_.end(), [](const auto& lane) { return !lane->busy; });
  return found == lanes_.end() ? nullptr : found->get();
}

bool ParallelApplier::IsIdle() const {
  return std::none_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->busy; });
}

absl::Status ParallelApplier::Apply(LogUnit unit, bool durable) {
  if (lanes_.size() == 1 || !Applier::CanApplyAhead(unit)) return ApplyAlone(unit, durable);
  MutexLock lock(mutex_);
  changed_.Wait(mutex_, ended_.get_token(), [&]() PGC_REQUIRES(mutex_) {
    const bool has_room = bytes_ + unit.bytes <= kBytesPerLane * lanes_.size();
    return IsIdle() || (redo_ == kNone && has_room && FreeLane() != nullptr);
  });
  PGC_RETURN_IF_ERROR(status_);
  if (ended_.stop_requested()) return absl::CancelledError("stopped");
  if (redo_ != kNone) {  // and all is done
    redo_ = kNone;
    begun_ = committed_;
    tracker_.Clear();
  }
  Lane& lane = *FreeLane();
  lane.before = lane.applier.progress();
  lane.unit = std::move(unit);
  lane.number = ++given_;
  lane.durable = durable;
  lane.busy = true;
  lane.open = true;
  bytes_ += lane.unit.bytes;
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::Status ParallelApplier::ApplyAlone(const LogUnit& unit, bool durable) {
  Lane& lane = *lanes_[0];
  {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_, ended_.get_token(), [&]() PGC_REQUIRES(mutex_) { return IsIdle(); });
    PGC_RETURN_IF_ERROR(status_);
    if (ended_.stop_requested()) return absl::CancelledError("stopped");
    if (lanes_.size() > 1) lane.applier.Expect(checkpoint_);
  }
  if (unit.begins) lane.before = lane.applier.progress();
  lane.durable = durable;
  PGC_RETURN_IF_ERROR(lane.applier.Apply(unit, durable));
  in_transaction_ = !unit.complete;
  for (size_t i = 1; unit.has_ddl && i < lanes_.size(); ++i) {
    PGC_RETURN_IF_ERROR(lanes_[i]->applier.ForgetSchema());
  }
  MutexLock lock(mutex_);
  if (unit.complete) Committed(lane);
  return absl::OkStatus();
}

void ParallelApplier::Run(Lane& lane, const std::stop_token& stop) {
  while (true) {
    {
      MutexLock lock(mutex_);
      if (!changed_.Wait(mutex_, stop, [&]() PGC_REQUIRES(mutex_) { return lane.busy; })) return;
    }
    ApplyUnit(lane);
    MutexLock lock(mutex_);
    bytes_ -= lane.unit.bytes;
    lane.unit = {};
    lane.busy = false;
    changed_.NotifyAll();
  }
}

void ParallelApplier::ApplyUnit(Lane& lane) {
  absl::Status status = ApplyAhead(lane);
  if (!status.ok() && MayRepeat(status)) {
    const std::string state = SqlStateOf(status);
    if (!state.empty()) {
      log::Info("applying again what was applied at once",
                {{"error", fmt::format("SQLSTATE {}", state)}});
    }
    status = ApplyAgain(lane);
  }
  if (!status.ok()) Fail(std::move(status));
}

absl::Status ParallelApplier::ApplyAhead(Lane& lane) {
  const uint64_t before = lane.number - 1;
  PGC_RETURN_IF_ERROR(Begin(lane));
  PGC_RETURN_IF_ERROR(lane.applier.ApplyAhead());
  bool is_next = false;
  {
    MutexLock lock(mutex_);
    is_next = committed_ == before;
  }
  if (!is_next) PGC_RETURN_IF_ERROR(lane.applier.AwaitEnd(before));
  // Its transaction has ended; its thread is about to say how.
  if (!AwaitTurn(lane)) return InItsTurn();
  PGC_RETURN_IF_ERROR(lane.applier.ApplyRest(lane.durable));
  MutexLock lock(mutex_);
  Committed(lane);
  return absl::OkStatus();
}

// One unit after the other: the tracker has to know all that comes before a change.
absl::Status ParallelApplier::Begin(Lane& lane) {
  uint64_t committed = 0;
  {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_, ended_.get_token(), [&]() PGC_REQUIRES(mutex_) {
      return begun_ + 1 == lane.number || redo_ < lane.number;
    });
    if (ended_.stop_requested()) return absl::CancelledError("stopped");
    if (redo_ < lane.number) return InItsTurn();
    committed = committed_;
  }
  tracker_.Begin(lane.number, committed);
  absl::Status status = lane.applier.Begin(lane.unit, lane.number, tracker_);
  // The next one must not take the end of a transaction that was never begun for its turn.
  if (!status.ok()) SetRedo(lane.number);
  MutexLock lock(mutex_);
  if (begun_ + 1 == lane.number) begun_ = lane.number;
  changed_.NotifyAll();
  return status;
}

bool ParallelApplier::AwaitTurn(Lane& lane) {
  MutexLock lock(mutex_);
  changed_.Wait(mutex_, ended_.get_token(), [&]() PGC_REQUIRES(mutex_) {
    return committed_ + 1 == lane.number || redo_ < lane.number;
  });
  if (redo_ < lane.number || ended_.stop_requested()) return false;
  lane.applier.Expect(checkpoint_);
  return true;
}

void ParallelApplier::SetRedo(uint64_t number) {
  MutexLock lock(mutex_);
  redo_ = std::min(redo_, number);
  changed_.NotifyAll();
}

bool ParallelApplier::IsOpenAfter(uint64_t number) const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [number](const auto& lane) { return lane->open && lane->number > number; });
}

absl::Status ParallelApplier::ApplyAgain(Lane& lane) {
  SetRedo(lane.number);
  PGC_RETURN_IF_ERROR(lane.applier.Abandon());
  {
    MutexLock lock(mutex_);
    lane.open = false;
    changed_.NotifyAll();
    changed_.Wait(mutex_, ended_.get_token(), [&]() PGC_REQUIRES(mutex_) {
      return committed_ + 1 == lane.number && !IsOpenAfter(lane.number);
    });
    if (ended_.stop_requested()) return absl::CancelledError("stopped");
    lane.applier.Expect(checkpoint_);
  }
  PGC_RETURN_IF_ERROR(lane.applier.Apply(lane.unit, lane.durable));
  MutexLock lock(mutex_);
  Committed(lane);
  return absl::OkStatus();
}

void ParallelApplier::Committed(Lane& lane) {
  const Applier::Progress& now = lane.applier.progress();
  progress_.changes += now.changes - lane.before.changes;
  progress_.conflicts += now.conflicts - lane.before.conflicts;
  if (now.checkpoint > progress_.checkpoint) {
    progress_.checkpoint = now.checkpoint;
    progress_.ordinal = now.ordinal;
    progress_.commit_time = now.commit_time;
    checkpoint_ = now.checkpoint;
  }
  if (lane.durable || options_.commits_are_durable) durable_ordinal_ = progress_.ordinal;
  if (!lane.busy) return;
  committed_ = lane.number;
  lane.open = false;
  changed_.NotifyAll();
}

void ParallelApplier::Fail(absl::Status status) {
  {
    MutexLock lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
    changed_.NotifyAll();
  }
  ended_.request_stop();
}

}  // namespace pgc
