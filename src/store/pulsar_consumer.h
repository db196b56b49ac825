#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "event/store.h"
#include "pulsar/consumer.h"
#include "store/message_places.h"
#include "store/place_marks.h"
#include "store/pulsar_event.h"
#include "store/timer.h"

namespace pgc {

// Shares a subscription of a Pulsar topic (docs/contract.md, section 4).
//
// As EventConsumer, but: `data` is a message id, ordinals are this consumer's own, and neither what
// others are handed is known, nor whether the broker has more: when nothing has come for kSilence
// there is probably no more. The broker keeps entries, of up to a thousand messages: one is
// acknowledged when all of its messages are, so what shares an entry with an unacknowledged event
// may come again, in this stream only after a disconnection. A requeued event comes again after a
// minute, to whichever consumer the broker chooses; what it shares its entry with is left out here.
// An entry that the broker has given to another one instead is forgotten after another minute.
// An id that is not in hand, from before a reconnection, is no error, and changes nothing.
class PulsarConsumer : public EventConsumer {
 public:
  struct Options {
    std::string subscription;
    bool from_beginning = false;  // of a new subscription; else its end
    size_t max_in_flight_bytes;
    std::chrono::milliseconds requeue_delay{60'000};
    // A broker sends no more to who has so many messages unacknowledged (50,000 unless told, and
    // half as many again before it goes on); from far below that its silence says nothing.
    size_t many_unacked = 10'000;
  };

  // Errors as pulsar::Consumer::Open.
  static absl::StatusOr<std::unique_ptr<EventConsumer>> Open(std::shared_ptr<pulsar::Client> client,
                                                             const std::string& topic,
                                                             const Options& options);

  ~PulsarConsumer() override;
  PulsarConsumer(const PulsarConsumer&) = delete;
  PulsarConsumer& operator=(const PulsarConsumer&) = delete;

  absl::StatusOr<std::optional<EventSlice>> TryNext() override;
  void NotifyWhenReady(std::function<void()> ready) override;
  void AppendData(const EventSlice& slice, uint32_t index, std::string& out) const override;
  absl::Status Ack(std::string_view data) override;
  void AckRange(const EventSlice& slice, uint32_t begin, uint32_t end) override;
  absl::Status Requeue(std::string_view data) override;
  // Not known.
  Checkpoint start() const override { return {}; }
  StreamProgress progress() const override;
  absl::StatusOr<Checkpoint> HandedToOthers() override;
  bool IsRemote() const override { return true; }
  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(const ReaderStart& start) const override {
    return SlowReader(start)();
  }
  ReaderOpener SlowReader(const ReaderStart& start) const override;

  static constexpr std::chrono::milliseconds kSilence{1'000};

 private:
  enum class State : uint8_t { kToCome, kInHand, kDone, kRequeued };
  // Of the broker's: what it gives and is acknowledged as a whole.
  struct Entry {
    struct Item {
      State state = State::kToCome;
      uint32_t bytes = 0;
    };
    std::vector<Item> items;
    size_t not_done = 0;
    bool sent_here = true;  // and not taken back: the broker counts it
    // It is to come again, and has not begun to: when it is asked for, or then forgotten.
    std::optional<std::chrono::steady_clock::time_point> due;
    std::vector<uint64_t> runs;  // what places_ has of it, by the first ordinal
  };
  struct Awaited {
    std::chrono::steady_clock::time_point due;
    pulsar::MessageId id;  // of a message of the entry
  };
  using Place = std::pair<int64_t, int64_t>;  // ledger and entry
  using Entries = std::map<Place, Entry>;
  static Place PlaceOf(const pulsar::MessageId& id) { return {id.ledger, id.entry}; }

  PulsarConsumer(std::shared_ptr<pulsar::Client> client, std::string topic, const Options& options)
      : client_(std::move(client)), topic_(std::move(topic)), options_(options) {}

  bool HasRoom(size_t bytes) const PGC_REQUIRES(mutex_);
  void NoteTaken(const pulsar::MessageId& id) PGC_REQUIRES(mutex_);
  void CheckCameWhole(const pulsar::MessageId& last) PGC_REQUIRES(mutex_);
  void Expect(Entry& entry, const pulsar::MessageId& id) PGC_REQUIRES(mutex_);
  void NotSentHere(Entry& entry) PGC_REQUIRES(mutex_);
  bool IsWanted(const pulsar::MessageId& id) const PGC_REQUIRES(mutex_);
  void HandOut(const PulsarEvent& event, const pulsar::Message& message, BlockBuilder& builder)
      PGC_REQUIRES(mutex_);
  Entry& EntryOf(const pulsar::MessageId& id) PGC_REQUIRES(mutex_);
  void Finish(const pulsar::MessageId& id) PGC_REQUIRES(mutex_);
  void Forget(Entries::iterator entry) PGC_REQUIRES(mutex_);
  void SetTimer() PGC_REQUIRES(mutex_);
  void AskForOldest(size_t count) PGC_REQUIRES(mutex_);
  void ForgetOldest(size_t count) PGC_REQUIRES(mutex_);
  Entries::iterator Find(const Awaited& awaited) PGC_REQUIRES(mutex_);
  static size_t CountDue(const std::deque<Awaited>& awaited);
  std::function<void()> TakeReadyIfRoom() PGC_REQUIRES(mutex_);
  void NoteStored(const Checkpoint& checkpoint, EventKind kind) PGC_REQUIRES(mutex_);

  const std::shared_ptr<pulsar::Client> client_;
  const std::string topic_;
  const Options options_;
  std::unique_ptr<pulsar::Consumer> consumer_;

  mutable Mutex mutex_;
  std::optional<pulsar::Message> ahead_ PGC_GUARDED_BY(mutex_);    // taken, and not handed out
  std::optional<pulsar::MessageId> taken_ PGC_GUARDED_BY(mutex_);  // the last one
  Entries entries_ PGC_GUARDED_BY(mutex_);
  MessagePlaces places_ PGC_GUARDED_BY(mutex_);  // of what was handed out
  // Oldest first: what is to be asked for, and what comes again without.
  std::deque<Awaited> requeued_ PGC_GUARDED_BY(mutex_);
  std::deque<Awaited> asked_ PGC_GUARDED_BY(mutex_);
  bool timer_is_set_ PGC_GUARDED_BY(mutex_) = false;
  size_t bytes_in_hand_ PGC_GUARDED_BY(mutex_) = 0;
  size_t unacked_ PGC_GUARDED_BY(mutex_) = 0;  // messages, as the broker counts them
  uint64_t next_ordinal_ PGC_GUARDED_BY(mutex_) = 0;
  // The newest event, and commit, that are known to be in the topic.
  Checkpoint newest_ PGC_GUARDED_BY(mutex_);
  Lsn newest_commit_ PGC_GUARDED_BY(mutex_);
  PlaceMarks marks_ PGC_GUARDED_BY(mutex_);
  // When the broker was last heard of, or not to be reached.
  std::chrono::steady_clock::time_point heard_ PGC_GUARDED_BY(mutex_) =
      std::chrono::steady_clock::now();
  std::optional<Checkpoint> first_end_ PGC_GUARDED_BY(mutex_);  // of the topic
  // Waits for room.
  std::function<void()> ready_ PGC_GUARDED_BY(mutex_);
  // From the first requeue on. Last: it uses the others.
  std::optional<Timer> timer_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
