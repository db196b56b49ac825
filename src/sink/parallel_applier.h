#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "event/checkpoint.h"
#include "pg/connection.h"
#include "sink/applier.h"
#include "sink/change_tracker.h"
#include "sink/log_units.h"

namespace pgc {

// Applies units of the log over several connections at once. Their transactions are committed in
// the log's order, each with its checkpoint, so that the target is at every moment what it would be
// with one connection (docs/decisions/apply-at-once.md).
//
// With one connection there are no threads. Otherwise each has its own, and one thread calls this.
// What cannot be applied ahead is undone, with all units after it, and applied again in order, one
// at a time: only then is a conflict one. Errors are those of Applier; whatever was not committed
// is undone when the connections close.
class ParallelApplier {
 public:
  struct Options {
    ApplierOptions apply;
    bool commits_are_durable = false;
    // The checkpoint row as it is.
    std::optional<Checkpoint> checkpoint;
  };

  // The sessions are prepared; the first has the lock of the database.
  ParallelApplier(std::vector<std::unique_ptr<Connection>> targets, Options options,
                  const std::stop_token& stop);
  ~ParallelApplier();

  // Applies the unit, or hands it to a connection and returns, once one is free: its error is given
  // by a later call, and by status(). `durable`: see Applier.
  absl::Status Apply(LogUnit unit, bool durable);
  // Makes what was committed before durable; nothing is under way.
  absl::Status Sync();

  // Requested when the `stop` of the constructor is, and when a unit has failed for good.
  std::stop_token ended() const { return ended_.get_token(); }
  absl::Status status() const;
  bool idle() const;
  bool in_transaction() const { return in_transaction_; }
  // Of what is committed.
  Applier::Progress progress() const;
  // What is before this place in the log is committed, and durable.
  uint64_t durable_ordinal() const;

 private:
  static constexpr uint64_t kNone = UINT64_MAX;

  // A connection, and the unit that it applies.
  struct Lane {
    Lane(std::unique_ptr<Connection> connection, const ApplierOptions& options,
         const std::stop_token& stop)
        : target(std::move(connection)), applier(*target, options, stop) {}

    const std::unique_ptr<Connection> target;
    Applier applier;           // of who has the unit; else of the thread that calls
    Applier::Progress before;  // of the applier, when the unit began
    // Written while the lane is free.
    LogUnit unit;
    uint64_t number = 0;
    bool durable = false;
    // Under the mutex:
    bool busy = false;
    bool open = false;  // it may have a transaction
    std::jthread thread;
  };

  absl::Status ApplyAlone(const LogUnit& unit, bool durable);
  void Run(Lane& lane, const std::stop_token& stop);
  void ApplyUnit(Lane& lane);
  absl::Status ApplyAhead(Lane& lane);
  absl::Status Begin(Lane& lane);
  absl::Status ApplyAgain(Lane& lane);
  bool AwaitTurn(Lane& lane);
  void SetRedo(uint64_t number);
  void Committed(Lane& lane) PGC_REQUIRES(mutex_);
  void Fail(absl::Status status);
  Lane* FreeLane() const PGC_REQUIRES(mutex_);
  bool IsIdle() const PGC_REQUIRES(mutex_);
  bool IsOpenAfter(uint64_t number) const PGC_REQUIRES(mutex_);

  const Options options_;
  std::stop_source ended_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  bool in_transaction_ = false;  // one that is larger than a unit, in the first lane
  ChangeTracker tracker_;        // of the lane whose unit is next to begin

  mutable Mutex mutex_;
  CondVar changed_;
  uint64_t given_ PGC_GUARDED_BY(mutex_) = 0;      // the last unit that a lane was given
  uint64_t begun_ PGC_GUARDED_BY(mutex_) = 0;      // that the tracker knows all changes of
  uint64_t committed_ PGC_GUARDED_BY(mutex_) = 0;  // that is committed, with all before it
  uint64_t redo_ PGC_GUARDED_BY(mutex_) = kNone;   // from here on units are applied again, in order
  size_t bytes_ PGC_GUARDED_BY(mutex_) = 0;        // of the units that lanes have
  std::optional<Checkpoint> checkpoint_ PGC_GUARDED_BY(mutex_);  // as the row is
  Applier::Progress progress_ PGC_GUARDED_BY(mutex_);
  uint64_t durable_ordinal_ PGC_GUARDED_BY(mutex_) = 0;
  absl::Status status_ PGC_GUARDED_BY(mutex_);
  std::stop_callback<std::function<void()>> on_stop_;
};

}  // namespace pgc
