#include "store/topic.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "store/topic_handles.h"

namespace pgc {
namespace {

// Ephemeral ones are not counted as subscriptions, but they cost the same.
constexpr size_t kMaxConsumers = 2 * EventStore::kMaxSubscriptions;

std::chrono::system_clock::time_point TimeOf(int64_t us) {
  return std::chrono::system_clock::time_point(std::chrono::microseconds(us));
}

}  // namespace

bool TopicHead::Advance(Lsn batch_captured, const std::string& batch_origin) {
  const bool new_origin = !batch_origin.empty() && batch_origin != origin;
  // A position is one of its origin: on a new timeline a smaller one can be the newer.
  if (batch_captured <= captured && !new_origin) return false;
  captured = batch_captured;
  if (new_origin) origin = batch_origin;
  return true;
}

std::shared_ptr<const Block> EventsAfter(std::shared_ptr<const Block> block,
                                         const Checkpoint& last) {
  if (block->first() > last) return block;
  if (block->last() <= last) return nullptr;
  uint32_t from = 0;
  for (Block::Cursor cursor(*block); cursor.Next() && cursor.event().checkpoint <= last;) ++from;
  return Tail(*block, from);
}

Topic::Topic(std::string name, TopicHead head, TopicLog& log, Timer& timer, WallClock clock)
    : name_(std::move(name)),
      log_(log),
      timer_(timer),
      clock_(std::move(clock)),
      end_(std::make_shared<std::atomic<uint64_t>>(head.end)),
      floor_ordinal_(std::make_shared<std::atomic<uint64_t>>(0)),
      head_(std::move(head)) {}

TopicHead Topic::head() const {
  MutexLock lock(mutex_);
  return head_;
}

absl::Status Topic::CheckNotRetired() const {
  return retired_ ? NoSuchTopic(name_) : absl::OkStatus();
}

absl::Status Topic::TakeWriter() {
  MutexLock lock(mutex_);
  PGC_RETURN_IF_ERROR(CheckNotRetired());
  if (has_writer_) {
    return absl::FailedPreconditionError(fmt::format("topic {} has another writer", name_));
  }
  has_writer_ = true;
  return absl::OkStatus();
}

void Topic::ReleaseWriter() {
  MutexLock lock(mutex_);
  has_writer_ = false;
}

void Topic::Publish(const TopicHead& head) {
  {
    MutexLock lock(mutex_);
    const bool grown = head.end != head_.end;
    head_ = head;
    if (!grown) return;
    end_->store(head.end);
    grown_.NotifyAll();
    if (open_.empty()) return;
  }
  // On the timer's thread: what a consumer does when it is woken does not hold back the writer.
  if (wake_pending_.exchange(true)) return;
  timer_.CallAt(Timer::kNow, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->WakeConsumers();
  });
}

void Topic::WakeConsumers() {
  wake_pending_ = false;
  std::vector<std::shared_ptr<Subscription>> open;
  {
    MutexLock lock(mutex_);
    for (const auto& [subscription, consumers] : open_) open.push_back(subscription);
  }
  for (const auto& subscription : open) subscription->Wake();
}

bool Topic::WaitBeyond(uint64_t ordinal, const std::stop_token& stop) const {
  MutexLock lock(mutex_);
  return grown_.Wait(mutex_, stop,
                     [&]() PGC_REQUIRES(mutex_) { return retired_ || head_.end > ordinal; });
}

absl::StatusOr<StoredBlock> Topic::Read(uint64_t ordinal) const {
  {
    MutexLock lock(mutex_);
    PGC_RETURN_IF_ERROR(CheckNotRetired());
  }
  auto block = log_.Read(ordinal);
  // Asked afterwards, because it may be removed while it is read.
  if (ordinal >= floor_ordinal_->load()) return block;
  return Removed(fmt::format("event {}", ordinal));
}

absl::Status Topic::Removed(std::string_view what) const {
  return absl::DataLossError(
      fmt::format("topic {}: {} was removed by retention, there are only events after {}: begin "
                  "there or later, or, where nothing may be missing, with a new copy of the data",
                  name_, what, ToKey(floor().before)));
}

absl::Status Topic::CheckOpen() const {
  PGC_RETURN_IF_ERROR(CheckNotRetired());
  if (consumers_ < kMaxConsumers) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("topic {} has {} consumers, the most there can be", name_, consumers_));
}

absl::StatusOr<std::unique_ptr<EventReader>> Topic::OpenReader(const ReaderOptions& options) {
  if (!options.cursor.empty()) PGC_RETURN_IF_ERROR(CheckName("cursor", options.cursor));
  MutexLock subscriptions_lock(subscriptions_mutex_);  // so that the floor stays where it is
  uint64_t position = floor().ordinal;
  if (std::holds_alternative<FromEnd>(options.start)) {
    position = end();
  } else if (const auto* after = std::get_if<FromAfter>(&options.start)) {
    PGC_ASSIGN_OR_RETURN(position, FirstAfter(after->checkpoint));
  } else if (const auto* from = std::get_if<FromTime>(&options.start)) {
    PGC_ASSIGN_OR_RETURN(position, FirstCommitted(from->time));
  }
  PGC_ASSIGN_OR_RETURN(const Checkpoint start, CheckpointBefore(position));
  if (options.cursor.empty()) {
    return std::make_unique<TopicReader>(shared_from_this(), position, start);
  }
  {
    MutexLock lock(mutex_);
    PGC_RETURN_IF_ERROR(CheckOpen());
  }
  PGC_ASSIGN_OR_RETURN(const auto cursor, FindCursor(options.cursor, position));
  PGC_ASSIGN_OR_RETURN(const ConsumerId id, cursor->OpenReader());
  cursor->Seek(position);
  {
    MutexLock lock(mutex_);
    ++consumers_;
    ++open_[cursor];
  }
  // From here on its destruction closes it.
  auto reader = std::make_unique<CursorReader>(shared_from_this(), position, start, cursor, id);
  PGC_RETURN_IF_ERROR(log_.Save(cursor));
  return reader;
}

// Where the first block begins that passes `test`, or the log ends: a binary search, for a test
// that all later blocks pass as well.
absl::StatusOr<uint64_t> Topic::FirstBlock(const TopicHead& head, const BlockTest& test) const {
  uint64_t low = floor().ordinal;
  uint64_t high = head.end;
  while (low < high) {
    PGC_ASSIGN_OR_RETURN(const BlockSummary middle, log_.Describe(low + (high - low) / 2));
    if (test(middle)) {
      high = middle.range.begin;
    } else {
      low = middle.range.end;
    }
  }
  return high;
}

absl::StatusOr<uint64_t> Topic::FirstAfter(const Checkpoint& checkpoint) const {
  if (checkpoint < floor().before)
    return Removed(fmt::format("what follows {}", ToKey(checkpoint)));
  const TopicHead head = this->head();
  PGC_ASSIGN_OR_RETURN(const uint64_t first, FirstBlock(head, [&](const BlockSummary& block) {
                         return block.last > checkpoint;
                       }));
  if (first == head.end) return first;
  PGC_ASSIGN_OR_RETURN(const StoredBlock found, Read(first));
  for (Block::Cursor cursor(*found.block); cursor.Next();) {
    if (cursor.event().checkpoint > checkpoint) return found.first + cursor.index();
  }
  return found.range().end;
}

// The Begin of the first transaction that was committed at `time` or later. Commit times may go
// back from one to the next, the newest up to a block does not.
absl::StatusOr<uint64_t> Topic::FirstCommitted(PgTimestamp time) const {
  if (time <= floor().newest_commit) return Removed("a transaction of that time or later");
  const TopicHead head = this->head();
  PGC_ASSIGN_OR_RETURN(const uint64_t first, FirstBlock(head, [&](const BlockSummary& block) {
                         return block.newest_commit >= time;
                       }));
  if (first == head.end) return first;
  PGC_ASSIGN_OR_RETURN(const StoredBlock found, Read(first));
  for (Block::Cursor cursor(*found.block); cursor.Next();) {
    const std::optional<PgTimestamp> committed = CommitTime(cursor.event());
    if (committed && *committed >= time) return found.first + cursor.index();
  }
  return found.first;
}

absl::StatusOr<uint64_t> Topic::StartOf(const SubscriptionStart& start) const {
  if (std::holds_alternative<FromBeginning>(start)) return floor().ordinal;
  if (const auto* after = std::get_if<FromAfterLsn>(&start)) {
    return FirstAfter({.lsn = after->lsn, .seq = UINT32_MAX});
  }
  if (const auto* from = std::get_if<FromTime>(&start)) return FirstCommitted(from->time);
  return end();
}

absl::StatusOr<Checkpoint> Topic::CheckpointBefore(uint64_t ordinal) const {
  if (const TopicFloor floor = this->floor(); ordinal == floor.ordinal) return floor.before;
  const TopicHead head = this->head();
  if (ordinal == head.end) return head.last;
  PGC_ASSIGN_OR_RETURN(const StoredBlock found, Read(ordinal - 1));
  Block::Cursor cursor(*found.block);
  cursor.SkipTo(static_cast<uint32_t>(ordinal - 1 - found.first));
  cursor.Next();
  return cursor.event().checkpoint;
}

std::shared_ptr<Subscription> Topic::MakeSubscription(std::string_view name,
                                                      SubscriptionRecord record,
                                                      uint64_t handed_out, bool ephemeral) {
  Subscription::Options options{.topic = name_,
                                .name = std::string(name),
                                .timer = &timer_,
                                .clock = clock_,
                                .end = end_,
                                .floor = floor_ordinal_,
                                .save_soon = {}};
  if (!ephemeral) {
    options.save_soon = [&log = log_](std::shared_ptr<Subscription> subscription) {
      log.SaveSoon(std::move(subscription));
    };
  }
  return std::make_shared<Subscription>(std::move(options), std::move(record), handed_out);
}

void Topic::AddSubscription(const std::string& name, SubscriptionRecord record) {
  MutexLock lock(subscriptions_mutex_);
  // What was handed out before the restart is not known; it was at most all there was.
  subscriptions_[name] = MakeSubscription(name, std::move(record), end(), false);
}

absl::Status Topic::Insert(std::shared_ptr<Subscription> made) {
  if (subscriptions_.size() >= EventStore::kMaxSubscriptions) {
    return absl::ResourceExhaustedError(fmt::format(
        "topic {} has {} subscriptions, the most there can be", name_, subscriptions_.size()));
  }
  PGC_RETURN_IF_ERROR(log_.Save(made));
  const std::string& name = made->name();
  subscriptions_.emplace(name, std::move(made));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Subscription>> Topic::FindCursor(std::string_view name,
                                                                uint64_t position) {
  const auto found = subscriptions_.find(name);
  if (found != subscriptions_.end()) {
    if (found->second->is_cursor()) return found->second;
    return absl::FailedPreconditionError(
        fmt::format("{} is a subscription of topic {}: a cursor needs another name, or that the "
                    "subscription is deleted",
                    name, name_));
  }
  SubscriptionRecord record{.acked = AckRanges(position), .last_used_us = clock_(), .cursor = true};
  auto made = MakeSubscription(name, std::move(record), position, false);
  PGC_RETURN_IF_ERROR(Insert(made));
  return made;
}

absl::StatusOr<std::shared_ptr<Subscription>> Topic::FindSubscription(
    std::string_view name, const ConsumerOptions& options) {
  const auto found = subscriptions_.find(name);
  if (found != subscriptions_.end() && !options.ephemeral) {
    if (!found->second->is_cursor()) return found->second;
    return absl::FailedPreconditionError(
        fmt::format("{} is the cursor of a replica of topic {}: a subscription needs another name",
                    name, name_));
  }
  PGC_ASSIGN_OR_RETURN(const uint64_t start, StartOf(options.start));
  SubscriptionRecord record{.acked = AckRanges(start), .last_used_us = clock_()};
  auto made = MakeSubscription(name, std::move(record), start, options.ephemeral);
  if (options.ephemeral) return made;
  PGC_RETURN_IF_ERROR(Insert(made));
  return made;
}

absl::StatusOr<std::unique_ptr<EventConsumer>> Topic::OpenConsumer(std::string_view name,
                                                                   const ConsumerOptions& options) {
  PGC_RETURN_IF_ERROR(CheckName("subscription", name));
  std::shared_ptr<Subscription> subscription;
  ConsumerId consumer = 0;
  Checkpoint start;
  {
    MutexLock subscriptions_lock(subscriptions_mutex_);
    {
      MutexLock lock(mutex_);
      PGC_RETURN_IF_ERROR(CheckOpen());
    }
    PGC_ASSIGN_OR_RETURN(subscription, FindSubscription(name, options));
    if (subscription->is_lost()) return Lost(*subscription);
    PGC_ASSIGN_OR_RETURN(start, CheckpointBefore(subscription->low()));
    PGC_ASSIGN_OR_RETURN(consumer, subscription->Open(options));
    MutexLock lock(mutex_);
    ++consumers_;
    ++open_[subscription];
  }
  return std::make_unique<TopicConsumer>(shared_from_this(), std::move(subscription), consumer,
                                         start);
}

void Topic::CloseConsumer(const std::shared_ptr<Subscription>& subscription, ConsumerId consumer) {
  subscription->Close(consumer);
  MutexLock lock(mutex_);
  --consumers_;
  const auto open = open_.find(subscription);
  if (--open->second == 0) open_.erase(open);
}

// What is described may be removed meanwhile: then it is described anew.
absl::StatusOr<TopicInfo> Topic::Describe() const {
  while (true) {
    const uint64_t floor = floor_ordinal_->load();
    absl::StatusOr<TopicInfo> info = DescribeNow();
    if (info.ok() || floor_ordinal_->load() == floor) return info;
  }
}

absl::StatusOr<TopicInfo> Topic::DescribeNow() const {
  const TopicHead head = this->head();
  TopicInfo info;
  info.name = name_;
  info.captured = head.captured;
  const TopicFloor floor = this->floor();
  info.events = head.end - floor.ordinal;
  info.bytes = head.log_bytes - floor.log_bytes;
  if (info.events > 0) {
    PGC_ASSIGN_OR_RETURN(const BlockSummary oldest, log_.Describe(floor.ordinal));
    PGC_ASSIGN_OR_RETURN(const BlockSummary newest, log_.Describe(head.end - 1));
    info.oldest = oldest.first;
    info.newest = head.last;
    info.oldest_stored = TimeOf(oldest.stored_us);
    info.newest_stored = TimeOf(newest.stored_us);
  }
  std::vector<std::shared_ptr<Subscription>> subscriptions;
  {
    MutexLock lock(subscriptions_mutex_);
    for (const auto& [name, subscription] : subscriptions_) subscriptions.push_back(subscription);
  }
  for (const auto& subscription : subscriptions) {
    info.subscriptions.push_back(subscription->Describe());
    Checkpoint& acknowledged = info.subscriptions.back().acknowledged;
    if (subscription->is_lost()) {
      acknowledged = subscription->lost_after();
    } else {
      PGC_ASSIGN_OR_RETURN(acknowledged, CheckpointBefore(subscription->low()));
    }
  }
  return info;
}

absl::StatusOr<std::shared_ptr<Subscription>> Topic::FindExisting(std::string_view name) const {
  PGC_RETURN_IF_ERROR(CheckName("subscription", name));
  const auto found = subscriptions_.find(name);
  if (found != subscriptions_.end()) return found->second;
  return absl::NotFoundError(fmt::format("topic {} has no subscription {}", name_, name));
}

absl::Status Topic::Seek(std::string_view name, const SubscriptionStart& start) {
  MutexLock lock(subscriptions_mutex_);
  PGC_ASSIGN_OR_RETURN(const auto subscription, FindExisting(name));
  if (subscription->is_cursor()) {
    return absl::FailedPreconditionError(
        fmt::format("{} is the cursor of a replica of topic {}: the replica itself knows how far "
                    "it is, and sets it",
                    name, name_));
  }
  PGC_ASSIGN_OR_RETURN(const uint64_t to, StartOf(start));
  subscription->Seek(to);
  return log_.Save(subscription);
}

absl::Status Topic::DeleteSubscription(std::string_view name) {
  MutexLock lock(subscriptions_mutex_);
  PGC_ASSIGN_OR_RETURN(const auto subscription, FindExisting(name));
  PGC_RETURN_IF_ERROR(subscription->Delete());
  subscriptions_.erase(subscription->name());
  return log_.Forget(subscription);
}

void Topic::SaveUseOlderThan(int64_t time_us) {
  std::vector<std::shared_ptr<Subscription>> open;
  {
    MutexLock lock(mutex_);
    for (const auto& [subscription, consumers] : open_) open.push_back(subscription);
  }
  for (const auto& subscription : open) subscription->SaveUseOlderThan(time_us);
}

absl::Status Topic::ForgetUnusedSince(int64_t time_us) {
  MutexLock lock(subscriptions_mutex_);
  for (auto it = subscriptions_.begin(); it != subscriptions_.end();) {
    const std::shared_ptr<Subscription> subscription = it->second;
    if (!subscription->DeleteIfUnusedSince(time_us)) {
      ++it;
      continue;
    }
    it = subscriptions_.erase(it);
    PGC_RETURN_IF_ERROR(log_.Forget(subscription));
    log::Info(fmt::format("a {} that nobody used is forgotten", subscription->What()),
              {{"topic", name_}, {subscription->What(), subscription->name()}});
  }
  return absl::OkStatus();
}

TopicFloor Topic::floor() const {
  MutexLock lock(mutex_);
  return floor_;
}

void Topic::SetFloor(const TopicFloor& floor) {
  MutexLock lock(mutex_);
  floor_ = floor;
  floor_ordinal_->store(floor.ordinal);
}

// The newest block stays: the log goes on from it.
absl::StatusOr<uint64_t> Topic::ClipToNewest(const TopicHead& head, uint64_t ordinal) const {
  if (head.end == 0) return 0;
  PGC_ASSIGN_OR_RETURN(const BlockSummary newest, log_.Describe(head.end - 1));
  return std::min(ordinal, newest.range.begin);
}

absl::StatusOr<uint64_t> Topic::FirstStoredSince(int64_t time_us) const {
  const TopicHead head = this->head();
  PGC_ASSIGN_OR_RETURN(const uint64_t first, FirstBlock(head, [&](const BlockSummary& block) {
                         return block.stored_us >= time_us;
                       }));
  return ClipToNewest(head, first);
}

absl::StatusOr<int64_t> Topic::NewestStored() const {
  const TopicHead head = this->head();
  if (head.end == floor().ordinal) return 0;
  PGC_ASSIGN_OR_RETURN(const BlockSummary newest, log_.Describe(head.end - 1));
  return newest.stored_us;
}

absl::StatusOr<uint64_t> Topic::FirstWithin(uint64_t max_bytes) const {
  const TopicHead head = this->head();
  const TopicFloor floor = this->floor();
  if (head.log_bytes - floor.log_bytes <= max_bytes) return floor.ordinal;
  PGC_ASSIGN_OR_RETURN(const uint64_t last_out, FirstBlock(head, [&](const BlockSummary& block) {
                         return head.log_bytes - block.log_bytes <= max_bytes;
                       }));
  PGC_ASSIGN_OR_RETURN(const BlockSummary block, log_.Describe(last_out));
  return ClipToNewest(head, block.range.end);
}

absl::StatusOr<TopicFloor> Topic::FloorAt(uint64_t ordinal) const {
  const TopicFloor floor = this->floor();
  if (ordinal <= floor.ordinal) return floor;
  PGC_ASSIGN_OR_RETURN(const BlockSummary before, log_.Describe(ordinal - 1));
  return TopicFloor{.ordinal = ordinal,
                    .before = before.last,
                    .newest_commit = before.newest_commit,
                    .log_bytes = before.log_bytes};
}

// Where the block begins that has the first event that a subscription needs, if that is lower.
absl::StatusOr<uint64_t> Topic::ClipToNeeded(uint64_t ordinal) const {
  std::vector<std::shared_ptr<Subscription>> all;
  for (const auto& [name, subscription] : subscriptions_) all.push_back(subscription);
  {
    MutexLock lock(mutex_);  // ephemeral ones as well
    for (const auto& [subscription, consumers] : open_) all.push_back(subscription);
  }
  for (const auto& subscription : all) {
    if (!subscription->is_lost()) ordinal = std::min(ordinal, subscription->needed_from());
  }
  if (ordinal <= floor().ordinal) return floor().ordinal;
  PGC_ASSIGN_OR_RETURN(const BlockSummary block, log_.Describe(ordinal));
  return block.range.begin;
}

// Which subscriptions lose something at this floor, and from where, while that can still be read.
absl::Status Topic::NoteLosses(const TopicFloor& floor) {
  for (const auto& [name, subscription] : subscriptions_) {
    const uint64_t low = subscription->low();
    if (low >= floor.ordinal || subscription->is_lost()) continue;
    PGC_ASSIGN_OR_RETURN(const Checkpoint after, CheckpointBefore(low));
    subscription->NoteLoss(after);
    PGC_RETURN_IF_ERROR(log_.Save(subscription));
    log::Warning(
        fmt::format("a {} loses events: the log has reached its hard limit", subscription->What()),
        {{"topic", name_},
         {subscription->What(), name},
         {"after", ToKey(after)},
         {"to", ToKey(floor.before)}});
  }
  return absl::OkStatus();
}

absl::Status Topic::Trim(uint64_t to, Needed needed) {
  {
    MutexLock lock(subscriptions_mutex_);
    if (needed == Needed::kStays) {
      PGC_ASSIGN_OR_RETURN(to, ClipToNeeded(to));
    }
    if (to <= floor().ordinal) return absl::OkStatus();
    PGC_ASSIGN_OR_RETURN(const TopicFloor raised, FloorAt(to));
    PGC_RETURN_IF_ERROR(NoteLosses(raised));
    PGC_RETURN_IF_ERROR(log_.SaveFloor(raised));
    SetFloor(raised);
  }
  WakeConsumers();
  return log_.DropBelow(to);
}

absl::Status Topic::Lost(const Subscription& subscription) const {
  return absl::DataLossError(fmt::format(
      "subscription {} of topic {} has lost its events after {} up to {}: they were removed before "
      "it acknowledged them; move it with seek, and it goes on from there",
      subscription.name(), name_, ToKey(subscription.lost_after()), ToKey(floor().before)));
}

absl::Status Topic::Retire() {
  MutexLock subscriptions_lock(subscriptions_mutex_);
  MutexLock lock(mutex_);
  if (has_writer_ || consumers_ > 0) {
    return absl::FailedPreconditionError(
        fmt::format("topic {} has {} consumers and {} writer: it can be deleted when they are gone",
                    name_, consumers_, has_writer_ ? "a" : "no"));
  }
  // None of them has consumers.
  for (const auto& [name, subscription] : subscriptions_) (void)subscription->Delete();
  subscriptions_.clear();
  retired_ = true;
  grown_.NotifyAll();
  return absl::OkStatus();
}

absl::Status NoSuchTopic(std::string_view name) {
  return absl::NotFoundError(fmt::format("no topic {}", name));
}

absl::Status CheckName(std::string_view what, std::string_view name) {
  if (name.empty()) return absl::InvalidArgumentError(fmt::format("a {} needs a name", what));
  if (name.size() <= EventStore::kMaxNameBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("the name of a {} has {} bytes, more than {}", what,
                                                name.size(), EventStore::kMaxNameBytes));
}

}  // namespace pgc
