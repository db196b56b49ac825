#include "store/topic.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "store/topic_handles.h"

namespace pgc {
namespace {

// Ephemeral ones are not counted as subscriptions, but they cost the same.
constexpr size_t kMaxConsumers = 2 * EventStore::kMaxSubscriptions;

}  // namespace

bool TopicHead::Advance(Lsn batch_captured, const std::string& batch_origin) {
  if (batch_captured < captured) return false;
  const bool new_origin = !batch_origin.empty() && batch_origin != origin;
  if (batch_captured == captured && !new_origin) return false;
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

Topic::Topic(std::string name, TopicHead head, TopicLog& log, Timer& timer)
    : name_(std::move(name)),
      log_(log),
      timer_(timer),
      end_(std::make_shared<std::atomic<uint64_t>>(head.end)),
      head_(std::move(head)) {}

TopicHead Topic::head() const {
  MutexLock lock(mutex_);
  return head_;
}

absl::Status Topic::TakeWriter() {
  MutexLock lock(mutex_);
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
    open = open_;
  }
  for (const auto& subscription : open) subscription->Wake();
}

bool Topic::WaitBeyond(uint64_t ordinal, const std::stop_token& stop) const {
  MutexLock lock(mutex_);
  return grown_.Wait(mutex_, stop, [&]() PGC_REQUIRES(mutex_) { return head_.end > ordinal; });
}

absl::StatusOr<std::unique_ptr<EventReader>> Topic::OpenReader(const ReaderStart& start) {
  uint64_t position = 0;
  if (std::holds_alternative<FromEnd>(start)) {
    position = end();
  } else if (const auto* after = std::get_if<FromAfter>(&start)) {
    PGC_ASSIGN_OR_RETURN(position, FirstAfter(after->checkpoint));
  }
  return std::make_unique<TopicReader>(shared_from_this(), position);
}

// Where the first block begins that passes `test`, or the log ends: a binary search, for a test
// that all later blocks pass as well.
absl::StatusOr<uint64_t> Topic::FirstBlock(const TopicHead& head, const BlockTest& test) const {
  uint64_t low = 0;
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
  const TopicHead head = this->head();
  PGC_ASSIGN_OR_RETURN(const uint64_t first, FirstBlock(head, [&](const BlockSummary& block) {
                         return block.last > checkpoint;
                       }));
  if (first == head.end) return first;
  PGC_ASSIGN_OR_RETURN(const StoredBlock found, log_.Read(first));
  for (Block::Cursor cursor(*found.block); cursor.Next();) {
    if (cursor.event().checkpoint > checkpoint) return found.first + cursor.index();
  }
  return found.range().end;
}

// The Begin of the first transaction that was committed at `time` or later. Commit times may go
// back from one to the next, the newest up to a block does not.
absl::StatusOr<uint64_t> Topic::FirstCommitted(PgTimestamp time) const {
  const TopicHead head = this->head();
  PGC_ASSIGN_OR_RETURN(const uint64_t first, FirstBlock(head, [&](const BlockSummary& block) {
                         return block.newest_commit >= time;
                       }));
  if (first == head.end) return first;
  PGC_ASSIGN_OR_RETURN(const StoredBlock found, log_.Read(first));
  for (Block::Cursor cursor(*found.block); cursor.Next();) {
    const std::optional<PgTimestamp> committed = CommitTime(cursor.event());
    if (committed && *committed >= time) return found.first + cursor.index();
  }
  return found.first;
}

absl::StatusOr<uint64_t> Topic::StartOf(const SubscriptionStart& start) const {
  if (std::holds_alternative<FromBeginning>(start)) return 0;
  if (const auto* after = std::get_if<FromAfterLsn>(&start)) {
    return FirstAfter({.lsn = after->lsn, .seq = UINT32_MAX});
  }
  if (const auto* from = std::get_if<FromTime>(&start)) return FirstCommitted(from->time);
  return end();
}

absl::StatusOr<Checkpoint> Topic::CheckpointBefore(uint64_t ordinal) const {
  if (ordinal == 0) return Checkpoint{};
  const TopicHead head = this->head();
  if (ordinal == head.end) return head.last;
  PGC_ASSIGN_OR_RETURN(const StoredBlock found, log_.Read(ordinal - 1));
  Block::Cursor cursor(*found.block);
  cursor.SkipTo(static_cast<uint32_t>(ordinal - 1 - found.first));
  cursor.Next();
  return cursor.event().checkpoint;
}

std::shared_ptr<Subscription> Topic::MakeSubscription(std::string_view name, Delivery delivery,
                                                      bool ephemeral) {
  Subscription::Options options{
      .topic = name_, .name = std::string(name), .timer = &timer_, .end = end_, .save_soon = {}};
  if (!ephemeral) {
    options.save_soon = [&log = log_](std::shared_ptr<Subscription> subscription) {
      log.SaveSoon(std::move(subscription));
    };
  }
  return std::make_shared<Subscription>(std::move(options), std::move(delivery));
}

void Topic::AddSubscription(const std::string& name, AckRanges acked) {
  MutexLock lock(subscriptions_mutex_);
  // What was handed out before the restart is not known; it was at most all there was.
  subscriptions_[name] = MakeSubscription(name, Delivery(std::move(acked), end()), false);
}

absl::StatusOr<std::shared_ptr<Subscription>> Topic::FindSubscription(
    std::string_view name, const ConsumerOptions& options) {
  const auto found = subscriptions_.find(name);
  if (found != subscriptions_.end() && !options.ephemeral) return found->second;
  PGC_ASSIGN_OR_RETURN(const uint64_t start, StartOf(options.start));
  if (options.ephemeral) return MakeSubscription(name, Delivery(AckRanges(start), start), true);
  if (subscriptions_.size() >= EventStore::kMaxSubscriptions) {
    return absl::ResourceExhaustedError(fmt::format(
        "topic {} has {} subscriptions, the most there can be", name_, subscriptions_.size()));
  }
  PGC_RETURN_IF_ERROR(log_.SaveNew(std::string(name), AckRanges(start)));
  auto made = MakeSubscription(name, Delivery(AckRanges(start), start), false);
  subscriptions_.emplace(name, made);
  return made;
}

absl::StatusOr<std::unique_ptr<EventConsumer>> Topic::OpenConsumer(std::string_view name,
                                                                   const ConsumerOptions& options) {
  PGC_RETURN_IF_ERROR(CheckName("subscription", name));
  std::shared_ptr<Subscription> subscription;
  {
    MutexLock lock(subscriptions_mutex_);
    PGC_ASSIGN_OR_RETURN(subscription, FindSubscription(name, options));
  }
  PGC_ASSIGN_OR_RETURN(const Checkpoint start, CheckpointBefore(subscription->low()));
  {
    MutexLock lock(mutex_);
    if (open_.size() >= kMaxConsumers) {
      return absl::ResourceExhaustedError(
          fmt::format("topic {} has {} consumers, the most there can be", name_, open_.size()));
    }
    PGC_RETURN_IF_ERROR(subscription->Open());
    open_.push_back(subscription);
  }
  return std::make_unique<TopicConsumer>(shared_from_this(), std::move(subscription), start);
}

void Topic::CloseConsumer(const std::shared_ptr<Subscription>& subscription) {
  subscription->Close();
  MutexLock lock(mutex_);
  open_.erase(std::find(open_.begin(), open_.end(), subscription));
}

absl::StatusOr<TopicInfo> Topic::Describe() const {
  const TopicHead head = this->head();
  TopicInfo info;
  info.name = name_;
  info.events = head.end;
  info.newest = head.last;
  info.captured = head.captured;
  return info;
}

absl::Status Topic::Seek(std::string_view, const SubscriptionStart&) {
  return absl::UnimplementedError("a subscription cannot be moved yet");
}

absl::Status Topic::DeleteSubscription(std::string_view) {
  return absl::UnimplementedError("a subscription cannot be deleted yet");
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
