// The event store: an ordered log of events per topic, and the subscriptions that follow it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/block.h"
#include "event/pg_timestamp.h"
#include "event/pipeline.h"

namespace pgc {

// A run of consecutive events of one block: those numbered begin to end - 1.
struct EventSlice {
  std::shared_ptr<const Block> block;
  uint32_t begin = 0;
  uint32_t end = 0;
  // The place in the topic of event number `begin`: the first event ever stored is 0, the next 1.
  uint64_t ordinal = 0;
};

// Walks the events of a slice in order:
//   for (SliceCursor cursor(slice); cursor.Next();) Use(cursor.event());
class SliceCursor {
 public:
  // The slice's block outlives it.
  explicit SliceCursor(const EventSlice& slice)
      : cursor_(*slice.block),
        end_(slice.end),
        at_(slice.begin),
        ordinal_(slice.ordinal - slice.begin) {
    cursor_.SkipTo(slice.begin);
  }

  bool Next() {
    if (at_ == end_ || !cursor_.Next()) return false;
    ++at_;
    return true;
  }
  const Event& event() const { return cursor_.event(); }
  uint32_t index() const { return at_ - 1; }               // of event(), in the block
  uint64_t ordinal() const { return ordinal_ + index(); }  // of event(), in the topic

 private:
  Block::Cursor cursor_;
  const uint32_t end_;
  uint32_t at_;             // of the event that is next
  const uint64_t ordinal_;  // of the block's first event
};

// Reads a topic on its own, leaving nothing behind but its cursor, if it has one.
//
// Not thread-safe, but Release, PlaceOf and start may be called from any thread, also while another
// is in Next.
class EventReader {
 public:
  virtual ~EventReader() = default;

  // The next events, waiting for them. Cancelled once `stop` is requested; DataLoss when they
  // cannot be read.
  virtual absl::StatusOr<EventSlice> Next(std::stop_token stop) = 0;

  // The newest event that was stored before the first one that Next gives: what it leaves out. Zero
  // when that is the first event that the log ever had. So of FromAfter it is the checkpoint itself
  // exactly when the log has that event, or had it until retention removed it: an owner that took
  // its checkpoint from this log knows by it that the log is still the same.
  virtual Checkpoint start() const = 0;

  // The ordinal of the event that Next gives next.
  virtual uint64_t position() const = 0;

  // The `data` of an event that Next gave and that is not released: what finds it again in this
  // store. From any thread.
  virtual std::string PlaceOf(uint64_t ordinal) const = 0;

  // Moves the cursor forward: the events before this ordinal are not needed again. Durable within
  // 500 ms. A place before the cursor is ignored, and so is all of it without a cursor.
  virtual void Release(uint64_t ordinal) = 0;
};

struct FromBeginning {};  // the oldest event stored
struct FromEnd {};        // what is stored from now on
struct FromAfter {        // events after this one
  Checkpoint checkpoint;
  // Its `data`, if that is known. A store may need it to find the event without reading all of the
  // log; one that it does not know is as good as none.
  std::string place = {};
};
struct FromTime {  // the first transaction with a commit time at or after it
  PgTimestamp time;
};
using ReaderStart = std::variant<FromBeginning, FromEnd, FromAfter, FromTime>;

struct ReaderOptions {
  // The reader's owner knows how far it has come; the store does not.
  ReaderStart start = FromBeginning{};
  // Unless empty: the name under which the store keeps, over restarts too, the events that are not
  // released, as it does for a subscription. It is not one, and has a name that no subscription
  // has. Opening sets it to `start`, back or forward. A cursor has one reader at a time, and is
  // forgotten and deleted as a subscription is.
  std::string cursor = {};
};

// Where a new subscription begins, or one is moved to.
struct FromAfterLsn {  // transactions whose commit LSN is above it
  Lsn lsn;
};
using SubscriptionStart = std::variant<FromEnd, FromBeginning, FromAfterLsn, FromTime>;

// How far a subscription and its log have come.
struct StreamProgress {
  // Whether there is anything after what its consumers were handed.
  enum class Rest : uint8_t {
    kMore,      // there is, or it cannot be told
    kProbably,  // nothing has come for a while; an event may still be on its way
    kNone,
  };
  Rest rest = Rest::kMore;
  // What HandedToOthers says may be handed to this one still: it is not known.
  bool may_come_still = false;
  Checkpoint end;  // the newest event that is known to be stored
  Lsn captured;    // each transaction that committed at or below it is stored
};

// A consumer's hold on a subscription: destroying it gives what is unacknowledged to the others, or
// to the next.
//
// Thread-safe, and never waits for events. An event is known by the `data` that its checkpoint
// carries to the consumer and back.
class EventConsumer {
 public:
  virtual ~EventConsumer() = default;

  // The next events, if there are any now: first those that an earlier consumer left
  // unacknowledged, in order, and requeued ones that are due, then newer ones. One that joins
  // others gets newer ones when what they held then is acknowledged, or they are gone, or after a
  // second. DataLoss when they cannot be read.
  virtual absl::StatusOr<std::optional<EventSlice>> TryNext() = 0;

  // Calls `ready` once, from any thread or from within this call, as soon as TryNext may have
  // something or fail. A later call replaces an earlier one. Not called after destruction, which
  // waits for a call under way: do not destroy the consumer inside it.
  virtual void NotifyWhenReady(std::function<void()> ready) = 0;

  // Appends the `data` of event number `index` of a slice from TryNext.
  virtual void AppendData(const EventSlice& slice, uint32_t index, std::string& out) const = 0;

  // Done with an event, in any order; durable within 500 ms. Once more is harmless.
  // InvalidArgument when `data` is not of an event that this subscription has handed out.
  virtual absl::Status Ack(std::string_view data) = 0;

  // Done with events number `begin` to `end` - 1 of a slice from TryNext.
  virtual void AckRange(const EventSlice& slice, uint32_t begin, uint32_t end) = 0;

  // Asks for the event again: after 1 s, doubling with each further requeue up to 60 s. One that
  // is acknowledged already is left alone. Errors as Ack.
  virtual absl::Status Requeue(std::string_view data) = 0;

  // The newest event before the first that was handed out or will be; for people to read.
  virtual Checkpoint start() const = 0;

  virtual StreamProgress progress() const = 0;
  // No event after this one was handed to another consumer, or acknowledged, since this one is the
  // only one to be handed any. A store that does not know it says what was its end when it was
  // asked first, which may wait. Errors as OpenReader.
  virtual absl::StatusOr<Checkpoint> HandedToOthers() = 0;
  // Whether HandedToOthers, OpenReader and destruction may wait for another machine; nothing else
  // here does.
  virtual bool IsRemote() const { return false; }
  // A reader of the same log, without a cursor. Errors as EventStore::OpenReader.
  virtual absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(
      const ReaderStart& start) const = 0;
  // What opens such a reader, on any thread and also when the consumer is gone; empty where
  // OpenReader, and reading what is stored, takes no longer than a disk does.
  using ReaderOpener = std::function<absl::StatusOr<std::unique_ptr<EventReader>>()>;
  virtual ReaderOpener SlowReader(const ReaderStart& /*start*/) const { return nullptr; }
};

struct ConsumerOptions {
  // Kept in memory only and gone with its consumer; the name is for messages.
  bool ephemeral = false;
  // Of a subscription that is new; one that exists goes on where it is.
  SubscriptionStart start = FromEnd{};
  // All events of a key go to one consumer, in order. The consumers of a subscription agree on it.
  bool key_shared = false;
  // How far it has come is known to all clusters of a store that has several; others ignore it.
  bool replicate_state = false;
  // What is handed out to this consumer and not acknowledged, at most; always at least one event.
  size_t max_in_flight_bytes = size_t{64} << 20;
};

struct SubscriptionInfo {
  std::string name;
  bool cursor = false;          // it is one of a reader: released is what is acknowledged below
  Checkpoint acknowledged;      // the newest event before the first that is not acknowledged
  uint64_t backlog_events = 0;  // stored and not acknowledged, Begin and Commit included
  size_t consumers = 0;
  bool key_shared = false;  // of its present consumers
};

struct TopicInfo {
  std::string name;
  uint64_t bytes = 0;   // on disk, about
  uint64_t events = 0;  // stored now
  Checkpoint oldest;    // events stored; zero when there are none
  Checkpoint newest;
  std::chrono::system_clock::time_point oldest_stored;  // when they were stored
  std::chrono::system_clock::time_point newest_stored;
  Lsn captured;
  std::vector<SubscriptionInfo> subscriptions;
};

// EventStore keeps the captured events of each topic, in commit order.
//
// Thread-safe; the handles it opens are as their classes say, and must not outlive it.
// At least once: after a crash a reader may see its last events again, never a gap.
// Errors: Unavailable is worth a retry; NotFound is a topic that no writer has opened yet;
// DataLoss means that a stored event cannot be read, and is never skipped silently.
class EventStore {
 public:
  static constexpr size_t kMaxSubscriptions = 1'000;  // per topic, cursors included
  static constexpr size_t kMaxNameBytes = 255;        // of a topic or a subscription

  virtual ~EventStore() = default;

  // The writer of a topic, which is made at its first use; one at a time (FailedPrecondition).
  // It drops events that are not after the newest one stored, and calls back when durable.
  virtual absl::StatusOr<std::unique_ptr<EventSink>> OpenWriter(std::string_view topic) = 0;

  // With a cursor, that is durable when this returns. DataLoss, which says from where on there are
  // events, when retention has removed some of those after `start`. FailedPrecondition when the
  // cursor has a reader, or is a subscription; ResourceExhausted as OpenConsumer.
  virtual absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(std::string_view topic,
                                                                  const ReaderOptions& options) = 0;

  // A consumer of a named subscription, which is made at its first use and is durable when this
  // returns. Several consumers share a subscription: each event goes to one of them.
  // FailedPrecondition when they do not agree on key_shared, or it is a cursor; ResourceExhausted
  // when the topic has kMaxSubscriptions; DataLoss when it needs events that retention has removed.
  virtual absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view topic, std::string_view subscription, const ConsumerOptions& options) = 0;

  virtual std::vector<std::string> Topics() const = 0;

  virtual absl::StatusOr<TopicInfo> Describe(std::string_view topic) const = 0;
  // Moves a subscription back or forward; what its consumers hold counts as never handed out.
  // Durable when this returns. NotFound; FailedPrecondition when it is a cursor.
  virtual absl::Status Seek(std::string_view topic, std::string_view subscription,
                            const SubscriptionStart& start) = 0;
  // Forgets it, or a cursor; FailedPrecondition while it has consumers, or a reader.
  virtual absl::Status DeleteSubscription(std::string_view topic,
                                          std::string_view subscription) = 0;
  // Deletes its events and subscriptions; FailedPrecondition while it has a writer, consumers, or
  // readers with a cursor.
  virtual absl::Status DeleteTopic(std::string_view topic) = 0;
};

}  // namespace pgc
