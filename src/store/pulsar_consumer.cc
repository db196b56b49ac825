#include "store/pulsar_consumer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/host_name.h"
#include "base/status_macros.h"
#include "store/pulsar_reader.h"
#include "store/pulsar_tail.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Entries that are to come again.
constexpr size_t kMaxAwaited = 10'000;
// The least that the library takes. What it was asked for it looks through a third of this after
// the last call, so it is called for many at once and then left alone.
constexpr milliseconds kLibraryDelay{100};
constexpr milliseconds kBetweenCalls{250};
// What a batch can say of itself.
constexpr int32_t kMaxBatch = 1'000'000;

size_t ItemsOf(const pulsar::MessageId& id) {
  return static_cast<size_t>(std::clamp(id.batch_size, 1, kMaxBatch));
}

// Of a message in its entry. One that came in pieces is alone.
size_t ItemOf(const pulsar::MessageId& id) {
  return static_cast<size_t>(std::max(id.batch_index, 0));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventConsumer>> PulsarConsumer::Open(
    std::shared_ptr<pulsar::Client> client, const std::string& topic, const Options& options) {
  std::unique_ptr<PulsarConsumer> consumer(new PulsarConsumer(std::move(client), topic, options));
  PGC_ASSIGN_OR_RETURN(
      consumer->consumer_,
      pulsar::Consumer::Open(consumer->client_, {.topic = topic,
                                                 .subscription = options.subscription,
                                                 .name = HostName(),
                                                 .from_earliest = options.from_beginning,
                                                 .nack_delay = kLibraryDelay}));
  return consumer;
}

// The timer's call, which may be under way, sets it no more.
PulsarConsumer::~PulsarConsumer() {
  MutexLock lock(mutex_);
  requeued_.clear();
}

absl::StatusOr<std::optional<EventSlice>> PulsarConsumer::TryNext() {
  MutexLock lock(mutex_);
  BlockBuilder builder;
  Checkpoint last;
  const uint64_t ordinal = next_ordinal_;
  if (!consumer_->connected()) heard_ = Clock::now();
  ForgetOldest(asked_.size() - std::min(asked_.size(), kMaxAwaited));
  while (true) {
    if (!ahead_.has_value()) {
      // What was found goes out first, and the error is met again.
      auto next = consumer_->TryNext();
      if (!next.ok() && builder.empty()) return next.status();
      if (!next.ok()) break;
      if (!next->has_value()) {
        ForgetOldest(CountDue(asked_));
        break;
      }
      ahead_ = **std::move(next);
      heard_ = Clock::now();
      NoteTaken(ahead_->id());
    }
    const size_t bytes = ahead_->data().size();
    if (!builder.empty() && builder.full(bytes)) break;
    auto event = ReadPulsarEvent(topic_, *ahead_);
    if (!event.ok() && builder.empty()) return event.status();
    if (!event.ok()) break;
    if (!IsWanted(ahead_->id())) {
      ahead_.reset();
      continue;
    }
    if (!event->has_value()) {
      Finish(ahead_->id());
      ahead_.reset();
      continue;
    }
    // What comes again lies before what came first.
    if (!HasRoom(bytes) || (!builder.empty() && (*event)->checkpoint <= last)) break;
    last = (*event)->checkpoint;
    HandOut(**event, *ahead_, builder);
    ahead_.reset();
  }
  if (builder.empty()) return std::nullopt;
  return TakeSlice(builder, ordinal);
}

// One event at least may be in hand.
bool PulsarConsumer::HasRoom(size_t bytes) const {
  return bytes_in_hand_ == 0 || bytes_in_hand_ + bytes <= options_.max_in_flight_bytes;
}

// An entry's messages come in order, and none of another between them.
void PulsarConsumer::NoteTaken(const pulsar::MessageId& id) {
  const bool begins =
      !taken_.has_value() || PlaceOf(*taken_) != PlaceOf(id) || ItemOf(*taken_) >= ItemOf(id);
  if (begins && taken_.has_value()) CheckCameWhole(*taken_);
  taken_ = id;
  if (!begins) return;
  Entry& entry = EntryOf(id);
  entry.due.reset();
  if (!std::exchange(entry.sent_here, true)) unacked_ += entry.items.size();
}

// Where a disconnection has cut an entry off, the broker gives it to somebody anew.
void PulsarConsumer::CheckCameWhole(const pulsar::MessageId& last) {
  const auto found = entries_.find(PlaceOf(last));
  if (found == entries_.end() || found->second.due.has_value()) return;
  const auto& items = found->second.items;
  const bool whole = std::none_of(items.begin(), items.end(), [](const Entry::Item& item) {
    return item.state == State::kToCome || item.state == State::kRequeued;
  });
  if (!whole) Expect(found->second, last);
}

// It is the broker's again. Forgotten if it went to another consumer, as it seems.
void PulsarConsumer::Expect(Entry& entry, const pulsar::MessageId& id) {
  NotSentHere(entry);
  entry.due = Clock::now() + options_.requeue_delay;
  asked_.push_back({.due = *entry.due, .id = id});
}

void PulsarConsumer::NotSentHere(Entry& entry) {
  if (!std::exchange(entry.sent_here, false)) return;
  // It may go on only now.
  if (unacked_ >= options_.many_unacked) heard_ = Clock::now();
  unacked_ -= entry.items.size();
}

// Not what is in hand, or done, and comes again because its entry does. That may be done with, or
// the broker's again, before all of it has come.
bool PulsarConsumer::IsWanted(const pulsar::MessageId& id) const {
  const auto found = entries_.find(PlaceOf(id));
  if (found == entries_.end()) return false;
  const Entry& entry = found->second;
  const size_t item = ItemOf(id);
  if (item >= entry.items.size()) return true;
  const State state = entry.items[item].state;
  return state == State::kToCome || state == State::kRequeued;
}

void PulsarConsumer::HandOut(const PulsarEvent& event, const pulsar::Message& message,
                             BlockBuilder& builder) {
  const pulsar::MessageId& id = message.id();
  const auto data = message.data();
  AddTo(builder, event, data);
  Entry& entry = EntryOf(id);
  entry.items[ItemOf(id)] = {.state = State::kInHand, .bytes = static_cast<uint32_t>(data.size())};
  bytes_in_hand_ += data.size();
  if (places_.Add(next_ordinal_, id)) entry.runs.push_back(next_ordinal_);
  ++next_ordinal_;
  NoteStored(event.checkpoint, event.kind);
  marks_.Add(event.checkpoint, id);
}

void PulsarConsumer::NoteStored(const Checkpoint& checkpoint, EventKind kind) {
  newest_ = std::max(newest_, checkpoint);
  if (kind == EventKind::kCommit) newest_commit_ = std::max(newest_commit_, checkpoint.lsn);
}

PulsarConsumer::Entry& PulsarConsumer::EntryOf(const pulsar::MessageId& id) {
  Entry& entry = entries_[PlaceOf(id)];
  const size_t items = std::max(ItemsOf(id), ItemOf(id) + 1);
  if (items > entry.items.size()) {
    entry.not_done += items - entry.items.size();
    if (entry.sent_here) unacked_ += items - entry.items.size();
    entry.items.resize(items);
  }
  return entry;
}

// Done with a message, and perhaps with its entry. One that is not in hand is left alone.
void PulsarConsumer::Finish(const pulsar::MessageId& id) {
  const auto found = entries_.find(PlaceOf(id));
  if (found == entries_.end() || ItemOf(id) >= found->second.items.size()) return;
  Entry& entry = found->second;
  Entry::Item& item = entry.items[ItemOf(id)];
  if (item.state == State::kDone) return;
  if (item.state == State::kInHand) bytes_in_hand_ -= item.bytes;
  item.state = State::kDone;
  if (--entry.not_done > 0) return;
  consumer_->AckEntry(id);
  Forget(found);
}

void PulsarConsumer::Forget(Entries::iterator entry) {
  for (const uint64_t ordinal : entry->second.runs) places_.Erase(ordinal);
  NotSentHere(entry->second);
  entries_.erase(entry);
}

void PulsarConsumer::NotifyWhenReady(std::function<void()> ready) {
  bool at_once = false;
  {
    MutexLock lock(mutex_);
    ready_ = nullptr;
    if (ahead_.has_value()) {
      at_once = HasRoom(ahead_->data().size());
      if (!at_once) {
        ready_ = std::move(ready);
        return;
      }
    }
  }
  if (at_once) {
    ready();
  } else {
    consumer_->NotifyWhenReady(std::move(ready));
  }
}

// Who waits for room that there is now.
std::function<void()> PulsarConsumer::TakeReadyIfRoom() {
  if (!ready_ || (ahead_.has_value() && !HasRoom(ahead_->data().size()))) return nullptr;
  return std::exchange(ready_, nullptr);
}

void PulsarConsumer::AppendData(const EventSlice& slice, uint32_t index, std::string& out) const {
  MutexLock lock(mutex_);
  const auto id = places_.Find(slice.ordinal + (index - slice.begin));
  if (id.has_value()) out += pulsar::Serialize(*id);
}

absl::Status PulsarConsumer::Ack(std::string_view data) {
  PGC_ASSIGN_OR_RETURN(const pulsar::MessageId id, pulsar::ParseMessageId(data));
  std::function<void()> ready;
  {
    MutexLock lock(mutex_);
    Finish(id);
    ready = TakeReadyIfRoom();
  }
  if (ready) ready();
  return absl::OkStatus();
}

void PulsarConsumer::AckRange(const EventSlice& slice, uint32_t begin, uint32_t end) {
  std::function<void()> ready;
  {
    MutexLock lock(mutex_);
    for (uint32_t index = begin; index < end; ++index) {
      const auto id = places_.Find(slice.ordinal + (index - slice.begin));
      if (id.has_value()) Finish(*id);
    }
    ready = TakeReadyIfRoom();
  }
  if (ready) ready();
}

absl::Status PulsarConsumer::Requeue(std::string_view data) {
  PGC_ASSIGN_OR_RETURN(const pulsar::MessageId id, pulsar::ParseMessageId(data));
  std::function<void()> ready;
  {
    MutexLock lock(mutex_);
    const auto found = entries_.find(PlaceOf(id));
    if (found == entries_.end() || ItemOf(id) >= found->second.items.size()) {
      return absl::OkStatus();
    }
    Entry::Item& item = found->second.items[ItemOf(id)];
    if (item.state != State::kInHand) return absl::OkStatus();
    item.state = State::kRequeued;
    bytes_in_hand_ -= item.bytes;
    if (!found->second.due.has_value()) {
      found->second.due = Clock::now() + options_.requeue_delay;
      requeued_.push_back({.due = *found->second.due, .id = id});
      SetTimer();
    }
    if (requeued_.size() > kMaxAwaited) AskForOldest(kMaxAwaited / 2);
    ready = TakeReadyIfRoom();
  }
  if (ready) ready();
  return absl::OkStatus();
}

// Not so early that the library is called without a pause.
void PulsarConsumer::SetTimer() {
  if (timer_is_set_ || requeued_.empty()) return;
  timer_is_set_ = true;
  if (!timer_.has_value()) timer_.emplace();
  timer_->CallAt(std::max(requeued_.front().due, Clock::now() + kBetweenCalls), [this] {
    MutexLock lock(mutex_);
    timer_is_set_ = false;
    AskForOldest(CountDue(requeued_));
    SetTimer();
  });
}

void PulsarConsumer::AskForOldest(size_t count) {
  for (; count > 0; --count, requeued_.pop_front()) {
    const auto found = Find(requeued_.front());
    if (found == entries_.end()) continue;
    consumer_->NackEntry(requeued_.front().id);
    Expect(found->second, requeued_.front().id);
  }
}

void PulsarConsumer::ForgetOldest(size_t count) {
  for (; count > 0; --count, asked_.pop_front()) {
    const auto found = Find(asked_.front());
    if (found == entries_.end()) continue;
    for (const Entry::Item& left : found->second.items) {
      if (left.state == State::kInHand) bytes_in_hand_ -= left.bytes;
    }
    Forget(found);
  }
}

// Nothing for what has come since, or is done.
PulsarConsumer::Entries::iterator PulsarConsumer::Find(const Awaited& awaited) {
  const auto found = entries_.find(PlaceOf(awaited.id));
  return found != entries_.end() && found->second.due == awaited.due ? found : entries_.end();
}

size_t PulsarConsumer::CountDue(const std::deque<Awaited>& awaited) {
  const auto now = Clock::now();
  const auto later = std::find_if(awaited.begin(), awaited.end(),
                                  [now](const Awaited& entry) { return entry.due > now; });
  return static_cast<size_t>(later - awaited.begin());
}

StreamProgress PulsarConsumer::progress() const {
  MutexLock lock(mutex_);
  using Rest = StreamProgress::Rest;
  const bool is_silent =
      !ahead_.has_value() && unacked_ < options_.many_unacked && Clock::now() - heard_ >= kSilence;
  return {.rest = is_silent ? Rest::kProbably : Rest::kMore,
          .may_come_still = true,
          .end = newest_,
          .captured = newest_commit_};
}

absl::StatusOr<Checkpoint> PulsarConsumer::HandedToOthers() {
  {
    MutexLock lock(mutex_);
    if (first_end_.has_value()) return *first_end_;
  }
  PGC_ASSIGN_OR_RETURN(const std::optional<pulsar::MessageId> last, consumer_->LastId());
  std::optional<PulsarTail> tail;
  if (last.has_value()) {
    PGC_ASSIGN_OR_RETURN(tail, ReadPulsarTail(client_, topic_, *last));
  }
  MutexLock lock(mutex_);
  if (tail.has_value()) {
    NoteStored(tail->checkpoint, tail->kind);
    marks_.SetAhead(tail->checkpoint, tail->id);
  }
  first_end_ = tail.has_value() ? tail->checkpoint : Checkpoint{};
  return *first_end_;
}

EventConsumer::ReaderOpener PulsarConsumer::SlowReader(const ReaderStart& start) const {
  ReaderStart from = start;
  auto* const after = std::get_if<FromAfter>(&from);
  if (after != nullptr && after->place.empty()) {
    MutexLock lock(mutex_);
    if (const auto id = marks_.NewestUpTo(after->checkpoint)) after->place = pulsar::Serialize(*id);
  }
  return [client = client_, topic = topic_, from = std::move(from)] {
    return PulsarReader::Open(client, topic, from, {});
  };
}

}  // namespace pgc
