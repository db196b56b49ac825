#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "event/pipeline.h"
#include "testing/event_text.h"

namespace pgc {

// How long a test waits for what must come.
constexpr std::chrono::seconds kTestTimeout{30};

// Reads a source in a thread of its own and collects what comes, acknowledging it or not.
// Thread-safe but for Stop and destruction.
class SourceReader {
 public:
  explicit SourceReader(std::unique_ptr<EventSource> source, const ResumePoint& resume = {},
                        bool acknowledge = true)
      : source_(std::move(source)),
        thread_([this, resume, acknowledge](const std::stop_token& stop) {
          Run(resume, acknowledge, stop);
        }) {}
  ~SourceReader() { (void)Stop(); }

  // Why it ended; waits for that.
  absl::Status End() {
    Wait([this]() PGC_REQUIRES(mutex_) { return ended_; });
    MutexLock lock(mutex_);
    return ended_ ? status_ : absl::DeadlineExceededError("still reading");
  }
  absl::Status Stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    source_.reset();
    MutexLock lock(mutex_);
    return status_;
  }

  bool WaitUntilOpen() {
    return Wait([this]() PGC_REQUIRES(mutex_) { return open_ || ended_; }) && IsOpen();
  }
  // At least this many events, as test_decoding writes them; fewer at the time limit.
  std::vector<std::string> WaitForEvents(size_t count) {
    Wait([this, count]() PGC_REQUIRES(mutex_) { return events_.size() >= count || ended_; });
    MutexLock lock(mutex_);
    return events_;
  }
  // The same of positions of sequences, which are not among the others: they come when they may.
  std::vector<std::string> WaitForSequences(size_t count) {
    Wait([this, count]() PGC_REQUIRES(mutex_) { return sequences_.size() >= count || ended_; });
    MutexLock lock(mutex_);
    return sequences_;
  }
  std::vector<std::string> WaitForPosition(Lsn position) {
    Wait([this, position]() PGC_REQUIRES(mutex_) { return captured_ >= position || ended_; });
    MutexLock lock(mutex_);
    return events_;
  }
  std::vector<std::string> events() {
    MutexLock lock(mutex_);
    return events_;
  }
  // What a sink would resume with.
  ResumePoint resume() {
    MutexLock lock(mutex_);
    return {.last = {}, .captured = captured_, .origin = origin_};
  }
  void Acknowledge(Lsn captured) { source_->Acknowledge(captured); }
  size_t largest_batch_bytes() {
    MutexLock lock(mutex_);
    return largest_batch_bytes_;
  }

 private:
  void Run(const ResumePoint& resume, bool acknowledge, const std::stop_token& stop) {
    absl::Status status = source_->Open(resume, stop);
    Set([this]() PGC_REQUIRES(mutex_) { open_ = true; }, status.ok());
    Checkpoint last;
    while (status.ok()) {
      auto batch = source_->Next(stop);
      status = batch.status();
      if (!status.ok()) break;
      std::vector<std::string> lines;
      std::vector<std::string> sequence_lines;
      size_t bytes = 0;
      for (const auto& block : batch->blocks) {
        bytes += block->bytes().size();
        for (Block::Cursor cursor(*block); cursor.Next();) {
          // As a store does: what comes again is dropped.
          if (cursor.event().checkpoint <= last) continue;
          last = cursor.event().checkpoint;
          const bool of_sequences = cursor.event().kind == EventKind::kSequences;
          (of_sequences ? sequence_lines : lines).push_back(ToText(cursor.event()));
        }
      }
      Set([&]() PGC_REQUIRES(mutex_) {
        EXPECT_GE(batch->captured, captured_);
        events_.insert(events_.end(), lines.begin(), lines.end());
        sequences_.insert(sequences_.end(), sequence_lines.begin(), sequence_lines.end());
        captured_ = batch->captured;
        origin_ = batch->origin;
        largest_batch_bytes_ = std::max(largest_batch_bytes_, bytes);
      });
      if (acknowledge) source_->Acknowledge(batch->captured);
    }
    Set([this, &status]() PGC_REQUIRES(mutex_) {
      status_ = status;
      ended_ = true;
    });
  }
  template <typename Change>
  void Set(Change change, bool really = true) {
    MutexLock lock(mutex_);
    if (really) change();
    changed_.NotifyAll();
  }
  template <typename Ready>
  bool Wait(Ready ready) {
    MutexLock lock(mutex_);
    return changed_.WaitUntil(mutex_, std::stop_token(),
                              std::chrono::steady_clock::now() + kTestTimeout, ready);
  }
  bool IsOpen() {
    MutexLock lock(mutex_);
    return open_;
  }

  std::unique_ptr<EventSource> source_;
  Mutex mutex_;
  CondVar changed_;
  bool open_ PGC_GUARDED_BY(mutex_) = false;
  bool ended_ PGC_GUARDED_BY(mutex_) = false;
  absl::Status status_ PGC_GUARDED_BY(mutex_);
  std::vector<std::string> events_ PGC_GUARDED_BY(mutex_);
  std::vector<std::string> sequences_ PGC_GUARDED_BY(mutex_);
  Lsn captured_ PGC_GUARDED_BY(mutex_);
  std::string origin_ PGC_GUARDED_BY(mutex_);
  size_t largest_batch_bytes_ PGC_GUARDED_BY(mutex_) = 0;
  std::jthread thread_;
};

}  // namespace pgc
