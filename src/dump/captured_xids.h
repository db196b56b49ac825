#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "dump/pending_xids.h"
#include "event/pg_snapshot.h"
#include "event/store.h"
#include "pg/connection.h"

namespace pgc {

struct CapturedXidsOptions {
  std::string url;    // of the source
  std::string topic;  // its log
  // The log is followed as long as snapshots are placed, and for this time after the last.
  std::chrono::milliseconds idle{60'000};
  // The log is read back by this much more: clocks are set back a little now and then.
  std::chrono::milliseconds clock_margin{10'000};
  // What is pending beyond this is looked at with a snapshot of its own.
  size_t most_pending = 65'536;
};

// Says where in the log of a source a snapshot of that source stands.
//
// A commit is in the write-ahead log, and so in ours, before other snapshots see it; with
// synchronous replication long before. So the log is followed, by a thread of its own, and each
// captured transaction kept until a snapshot has shown it visible.
//
// Thread-safe. Errors: Unavailable: there is no log yet, or the source is gone. DataLoss: the log
// cannot be read.
class CapturedXids {
 public:
  // The store outlives this.
  CapturedXids(EventStore& store, CapturedXidsOptions options);
  ~CapturedXids();

  // Holds what a snapshot needs that is taken after it was made. Ends before the CapturedXids.
  class Entry {
   public:
    Entry(Entry&& other) noexcept;
    Entry& operator=(Entry&&) = delete;
    ~Entry();

   private:
    friend class CapturedXids;
    Entry(CapturedXids* owner, uint64_t run, PendingXids::Ticket ticket)
        : owner_(owner), run_(run), ticket_(ticket) {}

    CapturedXids* owner_;
    uint64_t run_;
    PendingXids::Ticket ticket_;
  };

  // To be called before the snapshot is taken; `source` is outside of a transaction.
  absl::StatusOr<Entry> Enter(Connection& source, const std::stop_token& stop);

  // Each transaction of the log at or below it is visible in the snapshot. Waits a while for what
  // the log has now to be read.
  absl::StatusOr<Lsn> Place(const Entry& entry, const PgSnapshot& snapshot,
                            const std::stop_token& stop);

  size_t pending() const;
  bool following() const;

 private:
  absl::StatusOr<std::unique_ptr<EventReader>> Open(Connection& source,
                                                    const std::stop_token& stop);
  void Follow(EventReader& reader, const std::stop_token& stop);
  absl::Status Read(EventReader& reader, const std::stop_token& stop);
  absl::Status LookAtPending(const std::stop_token& stop);
  bool HasEnded();
  void Leave(uint64_t run, PendingXids::Ticket ticket);

  EventStore& store_;
  const CapturedXidsOptions options_;

  Mutex start_mutex_;  // held while a run begins; taken before mutex_
  std::jthread thread_ PGC_GUARDED_BY(start_mutex_);

  // The thread's: what it need not keep until it is where the log ended when it began.
  PgSnapshot first_snapshot_;
  Checkpoint first_end_;
  std::unique_ptr<Connection> sql_;

  mutable Mutex mutex_;
  CondVar moved_;
  uint64_t run_ PGC_GUARDED_BY(mutex_) = 0;
  bool running_ PGC_GUARDED_BY(mutex_) = false;
  absl::Status failed_ PGC_GUARDED_BY(mutex_);
  PendingXids pending_ PGC_GUARDED_BY(mutex_);
  Checkpoint position_ PGC_GUARDED_BY(mutex_);  // of the newest event read
  std::chrono::steady_clock::time_point used_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
