#include "store/subscription.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"

namespace pgc {
namespace {

// How often it is logged that a subscription gets nothing newer.
constexpr std::chrono::minutes kWarnEvery{1};

// As Delivery::Measure, of events of a block.
Delivery::Portion Measure(const StoredBlock& from, OrdinalRange range, size_t max_bytes) {
  const OrdinalRange all = from.range();
  if (range == all && from.block->event_bytes() <= max_bytes) {
    return {.end = range.end, .bytes = from.block->event_bytes()};
  }
  Delivery::Portion portion{.end = range.begin, .bytes = 0};
  Block::Cursor cursor(*from.block);
  cursor.SkipTo(static_cast<uint32_t>(range.begin - all.begin));
  while (portion.end < range.end && cursor.Next()) {
    const size_t bytes = cursor.event().message.size();
    if (bytes > max_bytes - portion.bytes) break;
    portion.bytes += bytes;
    ++portion.end;
  }
  return portion;
}

KeyedDelivery::Item ItemOf(const Event& event, uint64_t ordinal) {
  using Kind = KeyedDelivery::Item::Kind;
  Kind kind = Kind::kFree;
  if (event.kind == EventKind::kChange) kind = Kind::kKeyed;
  if (event.kind == EventKind::kTruncate) kind = Kind::kBarrier;
  return {.ordinal = ordinal, .kind = kind, .key = event.key, .bytes = event.message.size()};
}

}  // namespace

Subscription::Subscription(Options options, SubscriptionRecord record, uint64_t handed_out)
    : options_(std::move(options)),
      is_cursor_(record.cursor),
      delivery_(std::move(record.acked), handed_out),
      handed_out_(delivery_.acked().above().empty() ? delivery_.acked().low()
                                                    : delivery_.acked().above().rbegin()->second),
      last_used_us_(record.last_used_us),
      lost_after_(record.lost_after),
      saved_low_(delivery_.acked().low()) {}

const AckRanges& Subscription::Acked() const {
  return keyed_ ? keyed_->acked() : delivery_.acked();
}

// Whether TryNext would give something, or an error.
bool Subscription::HasNext(ConsumerId id) {
  if (IsLost()) return true;
  const Timer::Time now = options_.timer->Now();
  const uint64_t end = options_.end->load();
  if (!keyed_) return delivery_.Next(id, now, end).has_value();
  return keyed_->Next(id, now).has_value() || keyed_->Wanted(end).has_value();
}

bool Subscription::AnyToWake() {
  return std::any_of(consumers_.begin(), consumers_.end(),
                     [this](const auto& one)
                         PGC_REQUIRES(mutex_) { return one.second.ready && HasNext(one.first); });
}

bool Subscription::IsLost() const { return Acked().low() < options_.floor->load(); }

bool Subscription::is_lost() const {
  MutexLock lock(mutex_);
  return IsLost();
}

Checkpoint Subscription::lost_after() const {
  MutexLock lock(mutex_);
  return lost_after_;
}

void Subscription::NoteLoss(const Checkpoint& after) {
  MutexLock lock(mutex_);
  lost_after_ = after;
}

uint64_t Subscription::needed_from() const {
  MutexLock lock(mutex_);
  const uint64_t low = Acked().low();
  return options_.save_soon ? std::min(low, saved_low_) : low;
}

void Subscription::Saved(uint64_t low) {
  MutexLock lock(mutex_);
  saved_low_ = low;
}

absl::StatusOr<ConsumerId> Subscription::Open(const ConsumerOptions& options) {
  MutexLock lock(mutex_);
  if (!consumers_.empty() && options.key_shared != keyed_.has_value()) {
    return absl::FailedPreconditionError(
        fmt::format("subscription {} of topic {} has consumers that are {}key-shared: all of them "
                    "must be, or none",
                    options_.name, options_.topic, keyed_ ? "" : "not "));
  }
  if (consumers_.empty()) {
    keyed_known_ = delivery_.known();
    if (options.key_shared) keyed_.emplace(delivery_.acked());
  }
  last_used_us_ = options_.clock();
  const ConsumerId id = ++next_consumer_;
  Consumer& consumer = consumers_[id];
  consumer.max_bytes = options.max_in_flight_bytes;
  consumer.others = consumer.alone_to = handed_out_;
  if (keyed_) {
    keyed_->Join(id, options.max_in_flight_bytes);
  } else {
    delivery_.Attach(id, options.max_in_flight_bytes, options_.timer->Now());
  }
  return id;
}

absl::StatusOr<ConsumerId> Subscription::OpenReader() {
  MutexLock lock(mutex_);
  if (!consumers_.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("cursor {} of topic {} is in use: it has one reader at a time", options_.name,
                    options_.topic));
  }
  last_used_us_ = options_.clock();
  const ConsumerId id = ++next_consumer_;
  consumers_[id];
  delivery_.Attach(id, 0, options_.timer->Now());
  return id;
}

void Subscription::Close(ConsumerId id) {
  bool save = false;
  {
    MutexLock lock(mutex_);
    Consumer& consumer = consumers_.at(id);
    consumer.ready = nullptr;
    while (consumer.calls > 0) no_call_.Wait(mutex_);
    consumers_.erase(id);
    if (!keyed_) {
      delivery_.Detach(id);
      delivery_.TakeWakeUp();
    } else {
      keyed_->Leave(id);
      if (consumers_.empty()) {
        delivery_ = Delivery(keyed_->acked(), keyed_known_);
        keyed_.reset();
      }
    }
    last_used_us_ = options_.clock();
    save = options_.save_soon && !deleted_ && !std::exchange(unsaved_, true);
  }
  SaveAndWake(save, true);
}

std::optional<Subscription::Upcoming> Subscription::Next(ConsumerId consumer) {
  MutexLock lock(mutex_);
  if (IsLost()) {
    return Upcoming{.what = Upcoming::What::kLost, .ordinal = 0, .block = {}};
  }
  if (keyed_) return NextKeyed(consumer);
  const Timer::Time now = options_.timer->Now();
  const auto next = delivery_.Next(consumer, now, options_.end->load());
  if (!next) {
    WarnWhenStalled(now);
    return std::nullopt;
  }
  Upcoming upcoming{.what = Upcoming::What::kEvents, .ordinal = *next, .block = {}};
  if (current_ && *next >= current_->first && *next < current_->range().end) {
    upcoming.block = current_;
  }
  return upcoming;
}

// What is ready for the consumer, or else a further block: what of it is for others waits for them.
std::optional<Subscription::Upcoming> Subscription::NextKeyed(ConsumerId id) {
  Upcoming upcoming;
  const Timer::Time now = options_.timer->Now();
  if (const auto next = keyed_->Next(id, now)) {
    upcoming.ordinal = *next;
  } else if (const auto wanted = keyed_->Wanted(options_.end->load())) {
    upcoming.what = Upcoming::What::kDispatch;
    upcoming.ordinal = *wanted;
  } else {
    WarnWhenStalled(now);
    return std::nullopt;
  }
  for (const auto* cached : {&consumers_.at(id).current, &current_}) {
    if (!*cached || upcoming.ordinal < (*cached)->first) continue;
    if (upcoming.ordinal < (*cached)->range().end) upcoming.block = *cached;
  }
  return upcoming;
}

void Subscription::Dispatch(const StoredBlock& from) {
  bool wake = false;
  {
    MutexLock lock(mutex_);
    if (!keyed_) return;
    Block::Cursor cursor(*from.block);
    while (const auto wanted = keyed_->Wanted(options_.end->load())) {
      if (*wanted < from.first || *wanted >= from.range().end) break;
      cursor.SkipTo(static_cast<uint32_t>(*wanted - from.first));
      cursor.Next();
      keyed_->Dispatch(ItemOf(cursor.event(), *wanted));
    }
    current_ = from;
    wake = AnyToWake();
  }
  SaveAndWake(false, wake);
}

std::optional<OrdinalRange> Subscription::Take(ConsumerId consumer, const StoredBlock& from) {
  MutexLock lock(mutex_);
  const OrdinalRange block = from.range();
  if (keyed_) {
    const auto handed_out = keyed_->Take(consumer, options_.timer->Now(), block);
    if (handed_out) keyed_known_ = std::max(keyed_known_, handed_out->end);
    NoteHandedOut(consumer, handed_out);
    consumers_.at(consumer).current = from;
    return handed_out;
  }
  const auto taken = delivery_.Take(
      consumer, options_.timer->Now(), options_.end->load(), block,
      [&from](OrdinalRange range, size_t max_bytes) { return Measure(from, range, max_bytes); });
  NoteHandedOut(consumer, taken);
  if (taken && taken->end == block.end) {
    current_.reset();
  } else if (!current_ || current_->first != from.first) {
    current_ = from;
  }
  return taken;
}

void Subscription::NoteHandedOut(ConsumerId id, const std::optional<OrdinalRange>& taken) {
  if (!taken || taken->end <= handed_out_) return;
  Consumer& consumer = consumers_.at(id);
  if (consumer.alone_to != handed_out_) consumer.others = handed_out_;
  consumer.alone_to = handed_out_ = taken->end;
}

uint64_t Subscription::handed_out() const {
  MutexLock lock(mutex_);
  return handed_out_;
}

uint64_t Subscription::HandedToOthers(ConsumerId id) const {
  MutexLock lock(mutex_);
  const Consumer& consumer = consumers_.at(id);
  return consumer.alone_to == handed_out_ ? consumer.others : handed_out_;
}

void Subscription::WarnWhenStalled(Timer::Time now) {
  if (!(keyed_ ? keyed_->stalled() : delivery_.paused())) return;
  if (warned_ && now < *warned_ + kWarnEvery) return;
  warned_ = now;
  log::Warning("a subscription gets nothing newer until it acknowledges older events",
               {{"topic", options_.topic},
                {"subscription", options_.name},
                {"key_shared", keyed_ ? "yes" : "no"},
                {"oldest", std::to_string(Acked().low())},
                {"holes", std::to_string(Acked().above().size())}});
}

void Subscription::NotifyWhenReady(ConsumerId consumer, std::function<void()> ready) {
  {
    MutexLock lock(mutex_);
    consumers_.at(consumer).ready = std::move(ready);
  }
  WakeOne(consumer);
}

// The consumer's callback when it is to be called, which then counts as being under way.
std::function<void()> Subscription::TakeReady(ConsumerId id) {
  MutexLock lock(mutex_);
  const Timer::Time now = options_.timer->Now();
  if (alarm_ && *alarm_ <= now) alarm_.reset();
  const auto found = consumers_.find(id);
  if (found == consumers_.end() || !found->second.ready) return nullptr;
  if (!HasNext(id)) {
    WarnWhenStalled(now);
    SetAlarm(id);
    return nullptr;
  }
  woken_ = id;
  ++found->second.calls;
  return std::exchange(found->second.ready, nullptr);
}

// One that is due already waits for an acknowledgement of the consumer, not for the time.
void Subscription::SetAlarm(ConsumerId id) {
  const Timer::Time now = options_.timer->Now();
  const std::optional<Timer::Time> due = keyed_ ? keyed_->NextDue(id) : delivery_.NextDue(id, now);
  if (!due || *due <= now || (alarm_ && *alarm_ <= *due)) return;
  alarm_ = due;
  options_.timer->CallAt(*due, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->Wake();
  });
}

void Subscription::WakeOne(ConsumerId id) {
  const std::function<void()> ready = TakeReady(id);
  if (!ready) return;
  ready();
  MutexLock lock(mutex_);
  --consumers_.at(id).calls;
  no_call_.NotifyAll();
}

void Subscription::Wake() {
  std::vector<ConsumerId> ids;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, consumer] : consumers_) ids.push_back(id);
    // In turn, so that each is the first to get a single event now and then.
    std::rotate(ids.begin(), std::upper_bound(ids.begin(), ids.end(), woken_), ids.end());
  }
  for (const ConsumerId id : ids) WakeOne(id);
}

void Subscription::SaveAndWake(bool save, bool wake) {
  if (save) options_.save_soon(shared_from_this());
  if (wake) Wake();
}

absl::Status Subscription::Ack(OrdinalRange range) {
  bool save = false;
  bool wake = false;
  {
    MutexLock lock(mutex_);
    if (!save_status_.ok()) return save_status_;
    if (absl::Status status = keyed_ ? AckKeyed(range) : delivery_.Ack(range); !status.ok()) {
      return status;
    }
    save = options_.save_soon && !std::exchange(unsaved_, true);
    wake = keyed_ ? AnyToWake() : delivery_.TakeWakeUp();
  }
  SaveAndWake(save, wake);
  return absl::OkStatus();
}

// What was handed out before a move or a restart, and not since, comes anyway: left alone.
absl::Status Subscription::AckKeyed(OrdinalRange range) {
  absl::Status status = keyed_->Ack(range);
  return absl::IsInvalidArgument(status) && range.end <= keyed_known_ ? absl::OkStatus() : status;
}

absl::Status Subscription::Requeue(ConsumerId consumer, uint64_t ordinal) {
  {
    MutexLock lock(mutex_);
    const Timer::Time now = options_.timer->Now();
    absl::Status status =
        keyed_ ? keyed_->Requeue(ordinal, now) : delivery_.Requeue(consumer, ordinal, now);
    const bool comes_anyway = absl::IsInvalidArgument(status) && keyed_ && ordinal < keyed_known_;
    if (!status.ok() && !comes_anyway) return status;
  }
  Wake();
  return absl::OkStatus();
}

void Subscription::Release(uint64_t before) {
  bool save = false;
  {
    MutexLock lock(mutex_);
    // What is not stored yet cannot be done with; and a record beyond the end would not be read.
    before = std::min(before, options_.end->load());
    if (before <= Acked().low()) return;
    delivery_.Seek(before);
    save = options_.save_soon && !std::exchange(unsaved_, true);
  }
  SaveAndWake(save, false);
}

void Subscription::Seek(uint64_t to) {
  {
    MutexLock lock(mutex_);
    if (!keyed_) {
      delivery_.Seek(to);
      delivery_.TakeWakeUp();
    } else {
      keyed_.emplace(AckRanges(to));
      for (auto& [id, consumer] : consumers_) {
        keyed_->Join(id, consumer.max_bytes);
        consumer.current.reset();
      }
    }
    current_.reset();
    handed_out_ = to;
    for (auto& [id, consumer] : consumers_) consumer.others = consumer.alone_to = to;
  }
  Wake();
}

absl::Status Subscription::Delete() {
  MutexLock lock(mutex_);
  if (!consumers_.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "{} {} of topic {} has {} {}: it can be deleted when they are gone", What(), options_.name,
        options_.topic, consumers_.size(), is_cursor_ ? "readers" : "consumers"));
  }
  deleted_ = true;
  return absl::OkStatus();
}

void Subscription::SaveUseOlderThan(int64_t time_us) {
  bool save = false;
  {
    MutexLock lock(mutex_);
    save = options_.save_soon && last_used_us_ < time_us && !std::exchange(unsaved_, true);
  }
  SaveAndWake(save, false);
}

bool Subscription::DeleteIfUnusedSince(int64_t time_us) {
  MutexLock lock(mutex_);
  if (!consumers_.empty() || last_used_us_ >= time_us) return false;
  deleted_ = true;
  return true;
}

bool Subscription::deleted() const {
  MutexLock lock(mutex_);
  return deleted_;
}

SubscriptionInfo Subscription::Describe() const {
  MutexLock lock(mutex_);
  SubscriptionInfo info;
  info.name = options_.name;
  info.cursor = is_cursor_;
  info.backlog_events = Acked().CountMissing(options_.floor->load(), options_.end->load());
  info.consumers = consumers_.size();
  info.key_shared = keyed_.has_value();
  return info;
}

SubscriptionRecord Subscription::TakeRecord() {
  MutexLock lock(mutex_);
  unsaved_ = false;
  // Whoever is there uses it now; after a crash the record has to say so.
  if (!consumers_.empty()) last_used_us_ = options_.clock();
  return {.acked = Acked(),
          .last_used_us = last_used_us_,
          .lost_after = lost_after_,
          .cursor = is_cursor_};
}

uint64_t Subscription::low() const {
  MutexLock lock(mutex_);
  return Acked().low();
}

void Subscription::Fail(absl::Status status) {
  MutexLock lock(mutex_);
  save_status_ = std::move(status);
}

}  // namespace pgc
