#include "store/memory_store.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/status_macros.h"
#include "store/topic.h"
#include "store/topics_store.h"

namespace pgc {
namespace {

class MemoryLog : public TopicLog {
 public:
  // Stores a block at the end of `head`, which moves behind it.
  void Add(std::shared_ptr<const Block> block, TopicHead& head) {
    StoredBlock stored{.block = std::move(block), .first = head.end};
    head.end = stored.range().end;
    head.last = stored.block->last();
    head.newest_commit = NewestCommit(*stored.block, head.newest_commit);
    head.log_bytes += stored.block->bytes().size();
    const BlockSummary summary{.range = stored.range(),
                               .first = stored.block->first(),
                               .last = stored.block->last(),
                               .stored_us = NowUs(),
                               .newest_commit = head.newest_commit,
                               .log_bytes = head.log_bytes};
    MutexLock lock(mutex_);
    blocks_.push_back({.block = std::move(stored), .summary = summary});
  }

  void Clear() {
    MutexLock lock(mutex_);
    blocks_.clear();
  }

  absl::StatusOr<StoredBlock> Read(uint64_t ordinal) const override {
    PGC_ASSIGN_OR_RETURN(const Kept kept, Find(ordinal));
    return kept.block;
  }
  absl::StatusOr<BlockSummary> Describe(uint64_t ordinal) const override {
    PGC_ASSIGN_OR_RETURN(const Kept kept, Find(ordinal));
    return kept.summary;
  }

  absl::Status Save(const std::shared_ptr<Subscription>&) override { return absl::OkStatus(); }
  absl::Status Forget(const std::shared_ptr<Subscription>&) override { return absl::OkStatus(); }
  void SaveSoon(std::shared_ptr<Subscription>) override {}

 private:
  struct Kept {
    StoredBlock block;
    BlockSummary summary;
  };

  absl::StatusOr<Kept> Find(uint64_t ordinal) const {
    MutexLock lock(mutex_);
    const auto after = std::upper_bound(
        blocks_.begin(), blocks_.end(), ordinal,
        [](uint64_t wanted, const Kept& kept) { return wanted < kept.block.first; });
    if (after == blocks_.begin()) return absl::DataLossError("no such event");
    return *std::prev(after);
  }

  mutable Mutex mutex_;
  std::vector<Kept> blocks_ PGC_GUARDED_BY(mutex_);
};

struct MemoryTopic {
  explicit MemoryTopic(const std::string& name, Timer& timer)
      : topic(std::make_shared<Topic>(name, TopicHead{}, log, timer)) {}

  MemoryLog log;
  const std::shared_ptr<Topic> topic;
};

class MemoryWriter : public EventSink {
 public:
  explicit MemoryWriter(MemoryTopic& to) : log_(to.log), topic_(*to.topic) {}
  ~MemoryWriter() override { topic_.ReleaseWriter(); }

  absl::StatusOr<ResumePoint> Open(DurableCallback durable) override {
    durable_ = std::move(durable);
    head_ = topic_.head();
    return ResumePoint{.last = head_.last, .captured = head_.captured, .origin = head_.origin};
  }

  absl::Status Append(EventBatch batch) override {
    for (auto& block : batch.blocks) {
      auto kept = EventsAfter(std::move(block), head_.last);
      if (kept != nullptr) log_.Add(std::move(kept), head_);
    }
    const TopicHead before = head_;
    head_.Advance(batch.captured, batch.origin);
    topic_.Publish(head_);
    if ((head_.captured > before.captured || head_.origin != before.origin) && durable_)
      durable_(head_.captured);
    return absl::OkStatus();
  }

 private:
  MemoryLog& log_;
  Topic& topic_;
  TopicHead head_;
  DurableCallback durable_;
};

class MemoryStore : public TopicsStore {
 public:
  explicit MemoryStore(std::shared_ptr<Timer> timer)
      : timer_(timer != nullptr ? std::move(timer) : std::make_shared<Timer>()) {}

  absl::StatusOr<std::unique_ptr<EventSink>> OpenWriter(std::string_view name) override {
    PGC_RETURN_IF_ERROR(CheckName("topic", name));
    MutexLock lock(mutex_);
    auto& found = topics_[std::string(name)];
    if (found == nullptr) found = std::make_unique<MemoryTopic>(std::string(name), *timer_);
    PGC_RETURN_IF_ERROR(found->topic->TakeWriter());
    return std::make_unique<MemoryWriter>(*found);
  }

  std::vector<std::string> Topics() const override {
    MutexLock lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, topic] : topics_) names.push_back(name);
    return names;
  }

  absl::Status DeleteTopic(std::string_view name) override {
    PGC_RETURN_IF_ERROR(CheckName("topic", name));
    MutexLock lock(mutex_);
    const auto found = topics_.find(name);
    if (found == topics_.end()) return NoSuchTopic(name);
    PGC_RETURN_IF_ERROR(found->second->topic->Retire());
    found->second->log.Clear();
    deleted_.push_back(std::move(found->second));
    topics_.erase(found);
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::shared_ptr<Topic>> Find(std::string_view name) const override {
    PGC_RETURN_IF_ERROR(CheckName("topic", name));
    MutexLock lock(mutex_);
    const auto found = topics_.find(name);
    if (found == topics_.end()) return NoSuchTopic(name);
    return found->second->topic;
  }

  const std::shared_ptr<Timer> timer_;
  mutable Mutex mutex_;
  std::map<std::string, std::unique_ptr<MemoryTopic>, std::less<>> topics_ PGC_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<MemoryTopic>> deleted_ PGC_GUARDED_BY(mutex_);  // readers may be left
};

}  // namespace

std::unique_ptr<EventStore> NewMemoryStore(std::shared_ptr<Timer> timer) {
  return std::make_unique<MemoryStore>(std::move(timer));
}

}  // namespace pgc
