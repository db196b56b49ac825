// A capture and a reader that go on whatever happens to them, and what both must have had.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "event/pipeline.h"
#include "event/store.h"
#include "store/store_testing.h"

namespace pgc {

// Transactions of three events with the lsns 1 and following, as far as they are allowed. It
// outlives the sources and keeps what they were told.
class Transactions {
 public:
  static constexpr uint32_t kEvents = 3;

  void Allow(uint64_t more) {
    MutexLock lock(mutex_);
    allowed_ += more;
    changed_.NotifyAll();
  }
  uint64_t allowed() {
    MutexLock lock(mutex_);
    return allowed_;
  }
  uint64_t durable() {
    MutexLock lock(mutex_);
    return durable_;
  }
  // The last one that was handed out.
  uint64_t given() {
    MutexLock lock(mutex_);
    return given_;
  }
  void Acknowledge(Lsn captured) {
    MutexLock lock(mutex_);
    durable_ = std::max(durable_, captured.value);
    changed_.NotifyAll();
  }
  // What was durable may be gone from the topic, by an operator's hand.
  void MayBeRemoved() {
    MutexLock lock(mutex_);
    may_be_removed_ = true;
  }
  bool may_be_removed() {
    MutexLock lock(mutex_);
    return may_be_removed_;
  }
  bool WaitDurable(uint64_t lsn, std::chrono::seconds patience) {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (durable_ < lsn) {
      if (!changed_.WaitUntil(mutex_, deadline)) return durable_ >= lsn;
    }
    return true;
  }
  // Waits, for a moment, until this one may be handed out.
  bool Take(uint64_t lsn, const std::stop_token& stop) {
    MutexLock lock(mutex_);
    const auto moment = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
    const bool may = changed_.WaitUntil(
        mutex_, stop, moment, [&]() PGC_NO_THREAD_SAFETY_ANALYSIS { return lsn <= allowed_; });
    if (may) given_ = std::max(given_, lsn);
    return may;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t allowed_ PGC_GUARDED_BY(mutex_) = 0;
  uint64_t durable_ PGC_GUARDED_BY(mutex_) = 0;
  uint64_t given_ PGC_GUARDED_BY(mutex_) = 0;
  bool may_be_removed_ PGC_GUARDED_BY(mutex_) = false;
};

// Some transactions come all the time.
inline void Flow(std::mt19937_64& random, Transactions& transactions,
                 std::chrono::milliseconds length) {
  const auto end = std::chrono::steady_clock::now() + length;
  do {
    transactions.Allow(1 + random() % 30);
    Pause(std::chrono::milliseconds(5), {});
  } while (std::chrono::steady_clock::now() < end);
}

// Begins again behind what the sink has, like PostgreSQL.
class TransactionSource : public EventSource {
 public:
  explicit TransactionSource(Transactions& transactions) : transactions_(transactions) {}

  absl::Status Open(const ResumePoint& resume, std::stop_token /*stop*/) override {
    const uint64_t durable = transactions_.durable();
    if (resume.last.lsn.value < durable && !transactions_.may_be_removed()) {
      return absl::DataLossError("what was called durable is not stored");
    }
    const bool whole = resume.last.seq + 1 == Transactions::kEvents;
    next_ = std::max(durable + 1, resume.last.lsn.value + (whole ? 1 : 0));
    // What is there already is not called durable once more.
    transactions_.Acknowledge(Lsn{next_ - 1});
    return absl::OkStatus();
  }
  absl::StatusOr<EventBatch> Next(std::stop_token stop) override {
    const bool may = transactions_.Take(next_, stop);
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    if (!may) return MakeBatch({}, next_ - 1);
    const uint64_t lsn = next_++;
    return MakeBatch({MakeBlock(lsn, 0, Transactions::kEvents)}, lsn);
  }
  void Acknowledge(Lsn captured) override { transactions_.Acknowledge(captured); }

 private:
  Transactions& transactions_;
  uint64_t next_ = 1;
};

// Does something on a thread of its own, and again after each Unavailable, as the commands do.
class Repeating {
 public:
  explicit Repeating(std::function<absl::Status(const std::stop_token&)> once)
      : thread_([this, once = std::move(once)](const std::stop_token& stop) {
          const absl::Status status = Run(once, stop);
          MutexLock lock(mutex_);
          status_ = status;
          ended_ = true;
          changed_.NotifyAll();
        }) {}

  // Ok while it goes on.
  absl::Status status() {
    MutexLock lock(mutex_);
    return status_;
  }
  // What it failed with last, and was tried again after.
  absl::Status last() {
    MutexLock lock(mutex_);
    return last_;
  }
  int restarts() {
    MutexLock lock(mutex_);
    return restarts_;
  }
  bool ended() {
    MutexLock lock(mutex_);
    return ended_;
  }
  // What it ended with, or DeadlineExceeded.
  absl::Status WaitEnd(std::chrono::seconds patience) {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!ended_) {
      if (!changed_.WaitUntil(mutex_, deadline) && !ended_) {
        return absl::DeadlineExceededError("it goes on");
      }
    }
    return status_;
  }

 private:
  absl::Status Run(const std::function<absl::Status(const std::stop_token&)>& once,
                   const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      absl::Status status = once(stop);
      if (absl::IsCancelled(status)) return absl::OkStatus();
      if (!absl::IsUnavailable(status)) return status;
      {
        MutexLock lock(mutex_);
        last_ = status;
        ++restarts_;
      }
      Pause(std::chrono::milliseconds(100), stop);
    }
    return absl::OkStatus();
  }

  Mutex mutex_;
  CondVar changed_;
  absl::Status status_ PGC_GUARDED_BY(mutex_);
  absl::Status last_ PGC_GUARDED_BY(mutex_);
  int restarts_ PGC_GUARDED_BY(mutex_) = 0;
  bool ended_ PGC_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // the first to go
};

// Moves the transactions to a topic, as app/capture.cc does.
class Capturing : public Repeating {
 public:
  Capturing(EventStore& store, const std::string& topic, Transactions& transactions)
      : Repeating([&store, &transactions, topic](const std::stop_token& stop) {
          return RunOnce(store, topic, transactions, stop);
        }) {}

 private:
  static absl::Status RunOnce(EventStore& store, const std::string& topic,
                              Transactions& transactions, const std::stop_token& stop) {
    TransactionSource source(transactions);
    PGC_ASSIGN_OR_RETURN(const auto sink, store.OpenWriter(topic));
    return RunPipeline(source, *sink, stop);
  }
};

// Reads a topic from its beginning, and goes on behind the last event it had.
class Following {
 public:
  Following(EventStore& store, const std::string& topic)
      : repeating_([this, &store, topic](const std::stop_token& stop) {
          return RunOnce(store, topic, stop);
        }) {}

  absl::Status status() { return repeating_.status(); }
  int restarts() { return repeating_.restarts(); }
  std::vector<Checkpoint> seen() {
    MutexLock lock(mutex_);
    return seen_;
  }
  absl::Status WaitEnd(std::chrono::seconds patience) { return repeating_.WaitEnd(patience); }
  // Waits until it had so many events; false when it has ended without.
  bool Wait(size_t events, std::chrono::seconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    MutexLock lock(mutex_);
    while (seen_.size() < events && !repeating_.ended()) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline) break;
      (void)changed_.WaitUntil(mutex_, std::min(deadline, now + std::chrono::milliseconds(50)));
    }
    return seen_.size() >= events;
  }

 private:
  absl::Status RunOnce(EventStore& store, const std::string& topic, const std::stop_token& stop) {
    PGC_ASSIGN_OR_RETURN(const auto reader, store.OpenReader(topic, {.start = start_}));
    while (true) {
      PGC_ASSIGN_OR_RETURN(const EventSlice slice, reader->Next(stop));
      FromAfter after;
      {
        MutexLock lock(mutex_);
        for (SliceCursor cursor(slice); cursor.Next();) {
          after.checkpoint = cursor.event().checkpoint;
          seen_.push_back(after.checkpoint);
        }
        changed_.NotifyAll();
      }
      const uint64_t last = slice.ordinal + (slice.end - slice.begin) - 1;
      after.place = reader->PlaceOf(last);
      start_ = after;
      reader->Release(last);
    }
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<Checkpoint> seen_ PGC_GUARDED_BY(mutex_);
  ReaderStart start_ = FromBeginning{};  // of its thread
  Repeating repeating_;                  // the first to go
};

// Each event of the first transactions once, in order, and nothing else.
inline void ExpectWhole(const std::vector<Checkpoint>& seen, uint64_t transactions,
                        std::string_view who) {
  for (uint64_t i = 0; i < std::min<uint64_t>(seen.size(), transactions * Transactions::kEvents);
       ++i) {
    const Checkpoint wanted{.lsn = {1 + i / Transactions::kEvents},
                            .seq = static_cast<uint32_t>(i % Transactions::kEvents)};
    ASSERT_EQ(seen[i], wanted) << who << ", event " << i;
  }
  EXPECT_EQ(seen.size(), transactions * Transactions::kEvents) << who;
}

// The same of the topic, read from its beginning now.
inline void ExpectStored(EventStore& store, const std::string& topic, uint64_t transactions) {
  const auto reader = store.OpenReader(topic, {.start = FromBeginning{}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<Checkpoint> stored;
  for (const Seen& event : ReadCount(**reader, transactions * Transactions::kEvents)) {
    stored.push_back(event.checkpoint);
  }
  ExpectWhole(stored, transactions, "the topic");
}

}  // namespace pgc
