#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "event/pipeline.h"
#include "pulsar/producer.h"
#include "store/subscription_tracker.h"

namespace pgc {

// Publishes events, and calls back when all messages before a captured position have their receipt.
//
// As EventSink. Append waits while too much has no receipt. Captured positions are not kept: where
// it resumes, that of the newest event stands for them.
class PulsarWriter : public EventSink {
 public:
  struct Options {
    std::vector<std::string> replicate_to;
    std::chrono::milliseconds stall_timeout;
    // How often the subscription of the tracker `pulsarSub` is acknowledged; zero: there is none.
    std::chrono::milliseconds tracker_interval{0};
  };

  // Takes the producer name first, so that nobody else adds behind the last message that it finds.
  // FailedPrecondition when another writer has it.
  static absl::StatusOr<std::unique_ptr<EventSink>> Open(std::shared_ptr<pulsar::Client> client,
                                                         const std::string& topic,
                                                         const Options& options);

  absl::StatusOr<ResumePoint> Open(DurableCallback durable) override;
  absl::Status Append(EventBatch batch) override;

 private:
  // Durable once so many messages of this writer are stored.
  struct Position {
    uint64_t messages;
    Lsn captured;
  };

  PulsarWriter(std::shared_ptr<pulsar::Client> client, std::string topic)
      : client_(std::move(client)), topic_(std::move(topic)) {}
  absl::Status Publish(const Block& block);
  void Track(const pulsar::MessageId& id);
  void CallBack(uint64_t stored);

  const std::shared_ptr<pulsar::Client> client_;
  const std::string topic_;

  // Of the thread that appends.
  DurableCallback durable_;
  Checkpoint last_;
  Lsn captured_;
  uint64_t sent_ = 0;

  Mutex mutex_;
  uint64_t stored_ PGC_GUARDED_BY(mutex_) = 0;
  std::deque<Position> positions_ PGC_GUARDED_BY(mutex_);
  std::unique_ptr<SubscriptionTracker> tracker_;
  std::unique_ptr<pulsar::Producer> producer_;  // first to go: it calls back
};

}  // namespace pgc
