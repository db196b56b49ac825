#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "event/store.h"
#include "pulsar/reader.h"
#include "store/message_places.h"
#include "store/pulsar_event.h"

namespace pgc {

// Reads the events of a topic, as blocks of what has arrived.
//
// As EventReader. Ordinals are this reader's own: the first event that it gives is 0. The topic may
// have repeats, behind a disconnection of who wrote it; they are left out. DataLoss, where it is to
// begin or go on after an event whose place is known, when what is there instead may not be what
// followed.
class PulsarReader : public EventReader {
 public:
  static absl::StatusOr<std::unique_ptr<EventReader>> Open(std::shared_ptr<pulsar::Client> client,
                                                           const std::string& topic,
                                                           const ReaderStart& start,
                                                           const std::string& prefix);

  absl::StatusOr<EventSlice> Next(std::stop_token stop) override;
  Checkpoint start() const override { return start_; }
  uint64_t position() const override { return position_; }
  std::string PlaceOf(uint64_t ordinal) const override;
  void Release(uint64_t ordinal) override;

 private:
  PulsarReader(std::shared_ptr<pulsar::Client> client, std::string topic, const ReaderStart& start,
               std::string prefix)
      : client_(std::move(client)),
        topic_(std::move(topic)),
        prefix_(std::move(prefix)),
        from_(start) {}
  absl::Status Connect();
  absl::Status Add(const pulsar::Message& message, BlockBuilder& builder);
  absl::StatusOr<bool> Skips(const PulsarEvent& event, const pulsar::Message& message);
  absl::Status CheckFollows(const pulsar::Message& message, const FromAfter& after) const;
  absl::Status CheckNothingRemoved(const pulsar::MessageId& next);
  absl::StatusOr<bool> IsThere(const pulsar::MessageId& id,
                               std::chrono::milliseconds patience) const;
  absl::Status Removed(const Checkpoint& after, const pulsar::MessageId& next) const;
  void NoteQuiet();
  void Note(const pulsar::MessageId& id);

  const std::shared_ptr<pulsar::Client> client_;
  const std::string topic_;
  const std::string prefix_;
  const ReaderStart from_;
  std::optional<pulsar::MessageId> place_;  // of the event after which to begin
  Checkpoint start_;
  std::unique_ptr<pulsar::Reader> reader_;
  std::optional<pulsar::Message> ahead_;  // read, and not given
  bool begun_ = false;                    // an event was given
  bool looked_ = false;                   // a message was read
  Checkpoint last_;                       // of the event given last, or of the start
  uint64_t position_ = 0;
  std::optional<pulsar::MessageId> last_id_;  // of the message read last
  int quiet_polls_ = 0;                       // since then
  // When the topic had no more since then, as far as its broker knew.
  std::optional<std::chrono::steady_clock::time_point> end_seen_at_;
  // When it was so last, whatever has come since.
  std::optional<std::chrono::steady_clock::time_point> all_read_at_;

  mutable Mutex mutex_;
  MessagePlaces places_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
