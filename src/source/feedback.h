#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <thread>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "event/lsn.h"
#include "pg/replication_stream.h"

namespace pgc {

// Tells the server, in a thread of its own, what is durable: the acknowledged position and never
// more. It does so at once when the server asks or when all that was handed out is acknowledged,
// else at most every 100 ms, and at least once an interval, whatever the pipeline waits for.
//
// Thread-safe but for Start and Stop, which the owner calls.
class Feedback {
 public:
  ~Feedback() { Stop(); }

  // `stream` must outlive this, or Stop.
  void Start(ReplicationStream& stream, std::chrono::milliseconds interval);
  void Stop();

  void HandedOut(Lsn captured);
  void Acknowledge(Lsn captured);
  // The server asked for a reply.
  void Reply();
  // Asks the server for one.
  void Ping();
  // Makes `why` the status, for good.
  void Fail(const absl::Status& why);
  // Why the thread ended, or what Fail was told; Ok while it runs. A failure wakes the stream's
  // reader.
  absl::Status status() const;

 private:
  struct Update {
    Lsn flushed;
    bool ping = false;
  };

  void Run(ReplicationStream& stream, const std::stop_token& stop);
  std::optional<Update> WaitForUpdate(const std::stop_token& stop);
  bool IsUrgent() const PGC_REQUIRES(mutex_);

  std::chrono::milliseconds interval_{0};

  mutable Mutex mutex_;
  CondVar changed_;
  Lsn handed_out_ PGC_GUARDED_BY(mutex_);
  Lsn acknowledged_ PGC_GUARDED_BY(mutex_);
  Lsn sent_ PGC_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point sent_at_ PGC_GUARDED_BY(mutex_);
  bool reply_ PGC_GUARDED_BY(mutex_) = false;
  bool ping_ PGC_GUARDED_BY(mutex_) = false;
  ReplicationStream* stream_ PGC_GUARDED_BY(mutex_) = nullptr;  // between Start and Stop
  absl::Status status_ PGC_GUARDED_BY(mutex_);                  // of the thread
  absl::Status failed_ PGC_GUARDED_BY(mutex_);                  // by Fail

  std::jthread thread_;
};

}  // namespace pgc
