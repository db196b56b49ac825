#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "event/checkpoint.h"
#include "event/store.h"

namespace pgc {

// Events that are applied in one go: some whole transactions, or a part of one.
struct LogUnit {
  std::vector<EventSlice> slices;
  size_t bytes = 0;
  size_t events = 0;
  bool begins = true;    // it starts where a transaction starts
  bool complete = true;  // it ends where one ends
  bool has_ddl = false;  // then it is of one transaction
  bool has_truncate = false;
};

// Cuts slices of the log into units, in order. Not thread-safe.
class UnitCutter {
 public:
  // A transaction that is larger is cut.
  static constexpr size_t kMaxUnitBytes = size_t{4} << 20;
  static constexpr size_t kMaxUnitEvents = 40'000;

  // Takes the next slice and appends the units that it completes. What is not after the event
  // before it is a repeat and left out. DataLoss when an event is missing its transaction's Begin,
  // or a transaction its Commit.
  absl::Status Add(const EventSlice& slice, std::vector<LogUnit>& units);

 private:
  void Append(const EventSlice& slice, uint32_t index, size_t bytes);
  void Push(std::vector<LogUnit>& units);

  Checkpoint last_;
  bool inside_ = false;  // a transaction
  LogUnit open_;         // of the transaction inside which it is
};

// Reads a log ahead of who applies it, in a thread of its own, some bytes ahead at most.
class LogUnits {
 public:
  static constexpr size_t kMaxBytesAhead = size_t{8} << 20;

  explicit LogUnits(std::shared_ptr<EventReader> reader);
  ~LogUnits();

  // What there is, as much as one unit may have; waits for it until `deadline`, and gives nothing
  // then. Cancelled once `stop` is requested; the reader's error after all that came before it.
  absl::StatusOr<std::optional<LogUnit>> Next(const std::stop_token& stop,
                                              std::chrono::steady_clock::time_point deadline);

  // See EventReader::Release.
  void Release(uint64_t ordinal) { reader_->Release(ordinal); }

 private:
  void Read(const std::stop_token& stop);

  const std::shared_ptr<EventReader> reader_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<LogUnit> units_ PGC_GUARDED_BY(mutex_);
  size_t bytes_ PGC_GUARDED_BY(mutex_) = 0;
  absl::Status status_ PGC_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace pgc
