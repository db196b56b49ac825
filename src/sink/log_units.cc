#include "sink/log_units.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace pgc {
namespace {

absl::Status Broken(const Checkpoint& checkpoint, std::string_view what) {
  return absl::DataLossError(
      fmt::format("the log has {} at {}: it cannot be applied", what, ToKey(checkpoint)));
}

bool CanJoin(const LogUnit& unit, const LogUnit& next) {
  return unit.complete && next.begins && next.complete && !unit.has_ddl && !next.has_ddl &&
         unit.bytes + next.bytes <= UnitCutter::kMaxUnitBytes &&
         unit.events + next.events <= UnitCutter::kMaxUnitEvents;
}

void Join(LogUnit& unit, LogUnit&& next) {
  auto first = next.slices.begin();
  EventSlice& last = unit.slices.back();
  if (first->block == last.block && first->begin == last.end) {
    last.end = first->end;
    ++first;
  }
  unit.slices.insert(unit.slices.end(), std::make_move_iterator(first),
                     std::make_move_iterator(next.slices.end()));
  unit.bytes += next.bytes;
  unit.events += next.events;
  unit.has_truncate = unit.has_truncate || next.has_truncate;
}

}  // namespace

void UnitCutter::Append(const EventSlice& slice, uint32_t index, size_t bytes) {
  std::vector<EventSlice>& slices = open_.slices;
  if (!slices.empty() && slices.back().block == slice.block && slices.back().end == index) {
    ++slices.back().end;
  } else {
    slices.push_back({.block = slice.block,
                      .begin = index,
                      .end = index + 1,
                      .ordinal = slice.ordinal + (index - slice.begin)});
  }
  open_.bytes += bytes;
  ++open_.events;
}

void UnitCutter::Push(std::vector<LogUnit>& units) {
  if (!units.empty() && CanJoin(units.back(), open_)) {
    Join(units.back(), std::move(open_));
  } else {
    units.push_back(std::move(open_));
  }
  open_ = LogUnit();
  open_.begins = false;
  open_.complete = false;
}

absl::Status UnitCutter::Add(const EventSlice& slice, std::vector<LogUnit>& units) {
  // A table that was described anew is in the dictionary once more.
  const std::vector<TableName>& tables = slice.block->tables();
  for (SliceCursor cursor(slice); cursor.Next();) {
    const Event& event = cursor.event();
    if (event.checkpoint <= last_) continue;
    last_ = event.checkpoint;
    const bool begins = event.kind == EventKind::kBegin;
    const bool in_transaction = begins || event.kind == EventKind::kCommit ||
                                event.kind == EventKind::kChange ||
                                event.kind == EventKind::kTruncate;
    if (begins && inside_) return Broken(event.checkpoint, "a Begin inside a transaction");
    if (in_transaction && !begins && !inside_) {
      return Broken(event.checkpoint, "an event of a transaction without its Begin");
    }
    if (!inside_ || begins) {
      open_ = LogUnit();
      open_.complete = false;
    }
    inside_ = in_transaction ? event.kind != EventKind::kCommit : inside_;
    Append(slice, cursor.index(), event.message.size());
    if (event.kind == EventKind::kChange && tables[event.table] == kDdlLog) open_.has_ddl = true;
    if (event.kind == EventKind::kTruncate) open_.has_truncate = true;
    if (!inside_) {
      open_.complete = true;
      Push(units);
    } else if (open_.bytes >= kMaxUnitBytes || open_.events >= kMaxUnitEvents) {
      Push(units);
    }
  }
  return absl::OkStatus();
}

LogUnits::LogUnits(std::shared_ptr<EventReader> reader)
    : reader_(std::move(reader)), thread_([this](const std::stop_token& stop) { Read(stop); }) {}

LogUnits::~LogUnits() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void LogUnits::Read(const std::stop_token& stop) {
  UnitCutter cutter;
  std::vector<LogUnit> units;
  absl::Status status;
  while (status.ok()) {
    const auto slice = reader_->Next(stop);
    status = slice.status();
    if (status.ok()) status = cutter.Add(*slice, units);
    MutexLock lock(mutex_);
    for (LogUnit& unit : units) {
      bytes_ += unit.bytes;
      units_.push_back(std::move(unit));
    }
    units.clear();
    changed_.NotifyAll();
    changed_.Wait(mutex_, stop, [this]() PGC_REQUIRES(mutex_) { return bytes_ < kMaxBytesAhead; });
  }
  MutexLock lock(mutex_);
  status_ = std::move(status);
  changed_.NotifyAll();
}

absl::StatusOr<std::optional<LogUnit>> LogUnits::Next(
    const std::stop_token& stop, std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mutex_);
  const auto ready = [this]() PGC_REQUIRES(mutex_) { return !units_.empty() || !status_.ok(); };
  // A wait without an end is one of its own: the clock overflows at its last instant.
  const bool there = deadline == std::chrono::steady_clock::time_point::max()
                         ? changed_.Wait(mutex_, stop, ready)
                         : changed_.WaitUntil(mutex_, stop, deadline, ready);
  if (stop.stop_requested()) return absl::CancelledError("stopped");
  if (!there) return std::optional<LogUnit>();
  if (units_.empty()) return status_;
  LogUnit unit = std::move(units_.front());
  units_.pop_front();
  while (!units_.empty() && CanJoin(unit, units_.front())) {
    Join(unit, std::move(units_.front()));
    units_.pop_front();
  }
  bytes_ -= std::min(bytes_, unit.bytes);
  changed_.NotifyAll();
  return std::optional<LogUnit>(std::move(unit));
}

}  // namespace pgc
