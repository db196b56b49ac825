#include "store/pulsar_reader.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/host_name.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "store/commit_time.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// How long a stop waits at most.
constexpr milliseconds kPoll{100};
constexpr int kQuietPolls = 10;
constexpr int kPollsBetweenLooks = 50;
// What is written is not removed as soon as this.
constexpr milliseconds kLookIsGoodFor{10'000};
constexpr milliseconds kPatience{10'000};
constexpr milliseconds kPatienceOfALook{2'000};
// The times of publication are a little behind those of the commits, but by another clock.
constexpr int64_t kClocksDiffer_us = 1'000'000;
// Of which places are kept for who never releases.
constexpr size_t kMaxRuns = 100'000;

uint64_t UnixMs(PgTimestamp time) {
  const auto epoch_us =
      std::chrono::duration_cast<std::chrono::microseconds>(kPgEpoch.time_since_epoch()).count();
  const int64_t us = time.us - kClocksDiffer_us + epoch_us;
  return us > 0 ? static_cast<uint64_t>(us / 1'000) : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventReader>> PulsarReader::Open(
    std::shared_ptr<pulsar::Client> client, const std::string& topic, const ReaderStart& start,
    const std::string& prefix) {
  std::unique_ptr<PulsarReader> reader(new PulsarReader(std::move(client), topic, start, prefix));
  PGC_RETURN_IF_ERROR(reader->Connect());
  return reader;
}

absl::Status PulsarReader::Connect() {
  PGC_RETURN_IF_ERROR(client_->CheckNotPartitioned(topic_));
  pulsar::ReadFrom from = pulsar::FromEarliest{};
  if (const auto* const after = std::get_if<FromAfter>(&from_)) {
    start_ = last_ = after->checkpoint;
    if (auto place = pulsar::ParseMessageId(after->place); place.ok() && place->is_message()) {
      place_ = *place;
      from = pulsar::FromId{.id = *place};
    } else if (after->checkpoint != Checkpoint{}) {
      log::Warning("the place of the checkpoint in the topic is not known: all of it is read",
                   {{"topic", topic_}, {"lsn", ToString(after->checkpoint.lsn)}});
    }
  } else if (std::holds_alternative<FromEnd>(from_)) {
    from = pulsar::FromLatest{};
  } else if (const auto* const time = std::get_if<FromTime>(&from_)) {
    from = pulsar::FromPublishTime{.unix_ms = UnixMs(time->time)};
  }
  PGC_ASSIGN_OR_RETURN(
      reader_,
      pulsar::Reader::Open(client_,
                           {.topic = topic_, .from = from, .name = HostName(), .prefix = prefix_}));
  return absl::OkStatus();
}

absl::StatusOr<EventSlice> PulsarReader::Next(std::stop_token stop) {
  BlockBuilder builder;
  const uint64_t ordinal = position_;
  while (!stop.stop_requested()) {
    if (!ahead_.has_value()) {
      // What is there goes out at once.
      PGC_ASSIGN_OR_RETURN(ahead_, reader_->Next(builder.empty() ? kPoll : milliseconds(0)));
    }
    const bool full = ahead_.has_value() && builder.full(ahead_->data().size());
    if (!builder.empty() && (full || !ahead_.has_value())) {
      return TakeSlice(builder, ordinal);
    }
    if (!ahead_.has_value()) {
      NoteQuiet();
      continue;
    }
    PGC_RETURN_IF_ERROR(CheckNothingRemoved(ahead_->id()));
    PGC_RETURN_IF_ERROR(Add(*ahead_, builder));
    ahead_.reset();
  }
  return absl::CancelledError("stopped");
}

absl::Status PulsarReader::Add(const pulsar::Message& message, BlockBuilder& builder) {
  PGC_ASSIGN_OR_RETURN(const auto event, ReadPulsarEvent(topic_, message));
  if (!event.has_value()) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(const bool skips, Skips(*event, message));
  if (skips) return absl::OkStatus();
  AddTo(builder, *event, message.data());
  last_ = event->checkpoint;
  begun_ = true;
  Note(message.id());
  ++position_;
  return absl::OkStatus();
}

// Whether an event lies before the start, or comes again.
absl::StatusOr<bool> PulsarReader::Skips(const PulsarEvent& event, const pulsar::Message& message) {
  const bool first = !std::exchange(looked_, true);
  if (begun_) return event.checkpoint <= last_;
  if (const auto* const after = std::get_if<FromAfter>(&from_)) {
    if (first && event.checkpoint > after->checkpoint) {
      PGC_RETURN_IF_ERROR(CheckFollows(message, *after));
    }
    return event.checkpoint <= after->checkpoint;
  }
  if (const auto* const time = std::get_if<FromTime>(&from_)) {
    Event begin;
    begin.kind = event.kind;
    begin.message = message.data();
    const auto committed = CommitTime(begin);
    return !committed.has_value() || *committed < time->time;
  }
  // A transaction whose beginning is not here is of no use.
  return event.checkpoint.seq != 0;
}

absl::Status PulsarReader::CheckFollows(const pulsar::Message& message,
                                        const FromAfter& after) const {
  if (!place_.has_value()) return absl::OkStatus();
  const pulsar::MessageId& id = message.id();
  if (id.ledger == place_->ledger && id.entry - place_->entry <= 1) return absl::OkStatus();
  return Removed(after.checkpoint, id);
}

absl::Status PulsarReader::Removed(const Checkpoint& after, const pulsar::MessageId& next) const {
  return absl::DataLossError(fmt::format(
      "topic {} does not have the event {} any more, and goes on at {}: what was between them may "
      "be removed. Begin with a new copy of the data, and let the namespace keep messages for "
      "longer than a reader may be away or behind",
      topic_, ToKey(after), pulsar::ToString(next)));
}

// Whole ledgers are removed, the oldest first, and a reader that was in one of them is moved on
// without a word. So nothing is missing where the last event is still there, or where it was the
// topic's last a moment ago.
absl::Status PulsarReader::CheckNothingRemoved(const pulsar::MessageId& next) {
  const auto seen_at = std::exchange(end_seen_at_, std::nullopt);
  const bool at_end = seen_at.has_value() && Clock::now() - *seen_at <= kLookIsGoodFor;
  quiet_polls_ = 0;
  if (last_id_.has_value() && last_id_->ledger != next.ledger && !at_end) {
    PGC_ASSIGN_OR_RETURN(const bool there, IsThere(*last_id_, kPatience));
    if (!there) return Removed(last_, next);
  }
  last_id_ = next;
  return absl::OkStatus();
}

absl::StatusOr<bool> PulsarReader::IsThere(const pulsar::MessageId& id,
                                           milliseconds patience) const {
  PGC_ASSIGN_OR_RETURN(const auto reader,
                       pulsar::Reader::Open(client_, {.topic = topic_,
                                                      .from = pulsar::FromId{.id = id},
                                                      .name = HostName(),
                                                      .prefix = prefix_,
                                                      .queue_messages = 1}));
  PGC_ASSIGN_OR_RETURN(const auto found, reader->Next(patience));
  if (!found.has_value()) {
    return absl::UnavailableError(fmt::format("topic {} cannot be read", topic_));
  }
  return found->id().same_entry(id);
}

// Asks, when nothing has come for a while, whether all was read, and again and again: a connection
// may be gone without a word, and others write meanwhile. That there is no more says nothing alone:
// where the ledgers of what was not read are gone, there is no more either.
void PulsarReader::NoteQuiet() {
  if (!last_id_.has_value()) return;
  if (!reader_->connected()) {
    quiet_polls_ = kPollsBetweenLooks;  // until it is there again
    return;
  }
  if (++quiet_polls_ < (end_seen_at_.has_value() ? kPollsBetweenLooks : kQuietPolls)) return;
  quiet_polls_ = 0;
  end_seen_at_.reset();
  const Clock::time_point now = Clock::now();
  const auto more = reader_->HasMore();
  if (!more.ok() || *more) return;
  if (!all_read_at_.has_value() || now - *all_read_at_ > kLookIsGoodFor) {
    const auto there = IsThere(*last_id_, kPatienceOfALook);
    if (!there.ok() || !*there) {
      quiet_polls_ = kQuietPolls - kPollsBetweenLooks;
      return;
    }
  }
  end_seen_at_ = all_read_at_ = now;
}

void PulsarReader::Note(const pulsar::MessageId& id) {
  MutexLock lock(mutex_);
  if (places_.Add(position_, id)) places_.Shorten(kMaxRuns);
}

std::string PulsarReader::PlaceOf(uint64_t ordinal) const {
  MutexLock lock(mutex_);
  const auto id = places_.Find(ordinal);
  return id.has_value() ? pulsar::Serialize(*id) : "";
}

void PulsarReader::Release(uint64_t ordinal) {
  MutexLock lock(mutex_);
  places_.EraseBefore(ordinal);
}

}  // namespace pgc
