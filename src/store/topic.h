#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "event/store.h"
#include "store/commit_time.h"
#include "store/subscription.h"
#include "store/timer.h"

namespace pgc {

// What is known of a stored block without its events.
struct BlockSummary {
  OrdinalRange range;
  Checkpoint first;
  Checkpoint last;
  int64_t stored_us = 0;        // when, in microseconds since 1970-01-01 UTC
  PgTimestamp newest_commit{};  // of all transactions begun in the log up to its end
  uint64_t log_bytes = 0;       // of the log up to its end
};

// Where what is stored of a topic begins, when retention has removed older events.
struct TopicFloor {
  uint64_t ordinal = 0;  // of the oldest event
  // Of what was removed: its newest event, its newest commit time, and its bytes.
  Checkpoint before{};
  PgTimestamp newest_commit = kNoCommit;
  uint64_t log_bytes = 0;

  bool operator==(const TopicFloor&) const = default;
};

// Where the bytes of one topic lie: what a backend implements. Thread-safe.
class TopicLog {
 public:
  virtual ~TopicLog() = default;

  // The block that has event `ordinal`, which is one before the topic's end. DataLoss when it is
  // not there or cannot be read.
  virtual absl::StatusOr<StoredBlock> Read(uint64_t ordinal) const = 0;
  virtual absl::StatusOr<BlockSummary> Describe(uint64_t ordinal) const = 0;

  // Returns when a restart would find the subscription as it is now.
  virtual absl::Status Save(const std::shared_ptr<Subscription>& subscription) = 0;
  virtual void SaveSoon(std::shared_ptr<Subscription> subscription) = 0;
  // Returns when a restart would find the floor.
  virtual absl::Status SaveFloor(const TopicFloor&) { return absl::OkStatus(); }
  // Gives back the space of what is below it.
  virtual absl::Status DropBelow(uint64_t) { return absl::OkStatus(); }
  // Returns when a restart would not find the subscription, which is marked as deleted.
  virtual absl::Status Forget(const std::shared_ptr<Subscription>& subscription) = 0;
};

// The end of what is stored of a topic.
struct TopicHead {
  uint64_t end = 0;  // the ordinal that the next event gets
  Checkpoint last;   // of the newest event
  Lsn captured;      // never goes back while `origin` is the same
  std::string origin;
  PgTimestamp newest_commit = kNoCommit;  // of all transactions begun
  uint64_t log_bytes = 0;                 // of all blocks ever stored

  // Takes over a batch's position unless it is before the one there, of the same origin. Whether it
  // changed.
  bool Advance(Lsn batch_captured, const std::string& batch_origin);

  bool operator==(const TopicHead&) const = default;
};

// `block` without the events that are not after `last`; nullptr when none is left.
std::shared_ptr<const Block> EventsAfter(std::shared_ptr<const Block> block,
                                         const Checkpoint& last);

// One topic of a store: what is the same whatever the backend. Thread-safe.
//
// Its readers and consumers see what was published, and a backend publishes what is durable.
class Topic : public std::enable_shared_from_this<Topic> {
 public:
  // `timer` and `log` outlive every reader, consumer and writer.
  Topic(std::string name, TopicHead head, TopicLog& log, Timer& timer, WallClock clock = NowUs);

  const std::string& name() const { return name_; }
  TopicHead head() const;
  uint64_t end() const { return end_->load(); }

  // FailedPrecondition while there is a writer.
  absl::Status TakeWriter();
  void ReleaseWriter();
  // Lets everybody see what the log has up to `head`.
  void Publish(const TopicHead& head);

  // A subscription found in the log.
  void AddSubscription(const std::string& name, SubscriptionRecord record);

  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(const ReaderOptions& options);
  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(std::string_view subscription,
                                                              const ConsumerOptions& options);
  absl::StatusOr<TopicInfo> Describe() const;
  absl::Status Seek(std::string_view subscription, const SubscriptionStart& start);
  absl::Status DeleteSubscription(std::string_view subscription);
  // Sees to it that those in use are durable as used at `time_us` or later.
  void SaveUseOlderThan(int64_t time_us);
  // Forgets subscriptions that nobody has used since.
  absl::Status ForgetUnusedSince(int64_t time_us);
  // Nothing can be opened any more, and readers get NotFound. FailedPrecondition while it has a
  // writer or consumers.
  absl::Status Retire();

  // For retention. Blocks are removed from the oldest on; FloorAt and Trim take what the First
  // functions give: where a block begins, at most the newest one.
  TopicFloor floor() const;
  absl::StatusOr<uint64_t> FirstStoredSince(int64_t time_us) const;
  absl::StatusOr<int64_t> NewestStored() const;                    // when; 0 when nothing is
  absl::StatusOr<uint64_t> FirstWithin(uint64_t max_bytes) const;  // to the end
  absl::StatusOr<TopicFloor> FloorAt(uint64_t ordinal) const;
  enum class Needed { kStays, kGoes };  // what is not acknowledged by all subscriptions
  absl::Status Trim(uint64_t to, Needed needed);
  // As found in the log.
  void SetFloor(const TopicFloor& floor);

  // For the readers and consumers.
  // DataLoss that says what the subscription lost.
  absl::Status Lost(const Subscription& subscription) const;
  absl::StatusOr<StoredBlock> Read(uint64_t ordinal) const;
  // The newest event before it.
  absl::StatusOr<Checkpoint> CheckpointBefore(uint64_t ordinal) const;
  // Waits until the topic goes beyond `ordinal` or is retired; false when stopped.
  bool WaitBeyond(uint64_t ordinal, const std::stop_token& stop) const;
  // Of a consumer, or of a cursor's reader.
  void CloseConsumer(const std::shared_ptr<Subscription>& subscription, ConsumerId consumer);

 private:
  using BlockTest = std::function<bool(const BlockSummary&)>;

  absl::StatusOr<std::shared_ptr<Subscription>> FindExisting(std::string_view name) const
      PGC_REQUIRES(subscriptions_mutex_);
  absl::StatusOr<std::shared_ptr<Subscription>> FindSubscription(std::string_view name,
                                                                 const ConsumerOptions& options)
      PGC_REQUIRES(subscriptions_mutex_);
  absl::StatusOr<std::shared_ptr<Subscription>> FindCursor(std::string_view name, uint64_t position)
      PGC_REQUIRES(subscriptions_mutex_);
  absl::Status CheckOpen() const PGC_REQUIRES(mutex_);
  // Saves one that is new, and has it from then on.
  absl::Status Insert(std::shared_ptr<Subscription> made) PGC_REQUIRES(subscriptions_mutex_);
  std::shared_ptr<Subscription> MakeSubscription(std::string_view name, SubscriptionRecord record,
                                                 uint64_t handed_out, bool ephemeral);
  absl::StatusOr<TopicInfo> DescribeNow() const;
  absl::Status CheckNotRetired() const PGC_REQUIRES(mutex_);
  absl::StatusOr<uint64_t> FirstBlock(const TopicHead& head, const BlockTest& test) const;
  absl::StatusOr<uint64_t> FirstAfter(const Checkpoint& checkpoint) const;
  absl::StatusOr<uint64_t> FirstCommitted(PgTimestamp time) const;
  absl::StatusOr<uint64_t> StartOf(const SubscriptionStart& start) const;
  absl::StatusOr<uint64_t> ClipToNewest(const TopicHead& head, uint64_t ordinal) const;
  absl::StatusOr<uint64_t> ClipToNeeded(uint64_t ordinal) const PGC_REQUIRES(subscriptions_mutex_);
  absl::Status NoteLosses(const TopicFloor& floor) PGC_REQUIRES(subscriptions_mutex_);
  absl::Status Removed(std::string_view what) const;
  void WakeConsumers();

  const std::string name_;
  TopicLog& log_;
  Timer& timer_;
  const WallClock clock_;
  const std::shared_ptr<std::atomic<uint64_t>> end_;  // that of head_, shared with subscriptions
  const std::shared_ptr<std::atomic<uint64_t>> floor_ordinal_;  // that of floor_, shared as well
  std::atomic<bool> wake_pending_ = false;

  mutable Mutex mutex_;
  mutable CondVar grown_;
  TopicHead head_ PGC_GUARDED_BY(mutex_);
  TopicFloor floor_ PGC_GUARDED_BY(mutex_);
  bool has_writer_ PGC_GUARDED_BY(mutex_) = false;
  bool retired_ PGC_GUARDED_BY(mutex_) = false;
  size_t consumers_ PGC_GUARDED_BY(mutex_) = 0;
  // Those with consumers, and how many.
  std::map<std::shared_ptr<Subscription>, size_t> open_ PGC_GUARDED_BY(mutex_);

  // Held while a subscription is saved or forgotten and while the floor moves; before mutex_.
  mutable Mutex subscriptions_mutex_;
  std::map<std::string, std::shared_ptr<Subscription>, std::less<>> subscriptions_
      PGC_GUARDED_BY(subscriptions_mutex_);
};

// InvalidArgument when `name` is empty or too long; `what` is "topic" or "subscription".
absl::Status CheckName(std::string_view what, std::string_view name);
// NotFound.
absl::Status NoSuchTopic(std::string_view name);

}  // namespace pgc
