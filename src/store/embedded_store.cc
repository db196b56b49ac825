#include "store/embedded_store.h"

#include <fmt/format.h>
#include <rocksdb/iterator.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "store/ack_writer.h"
#include "store/database.h"
#include "store/directory.h"
#include "store/embedded_topic.h"
#include "store/embedded_writer.h"
#include "store/recent_blocks.h"
#include "store/records.h"
#include "store/retention.h"
#include "store/store_clock.h"
#include "store/topics_store.h"

namespace pgc {
namespace {

// How long an unused subscription stays after the store was opened.
constexpr int64_t kGraceUs = std::chrono::microseconds(std::chrono::hours(1)).count();

RetentionLimits LimitsOf(const EmbeddedStoreOptions& options, const std::filesystem::path& dir) {
  RetentionLimits limits;
  if (options.retention_age)
    limits.age_us = std::chrono::microseconds(*options.retention_age).count();
  limits.bytes = options.retention_bytes;
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(dir, error);
  if (!error) limits.hard_bytes = space.capacity / 2;
  limits.hard_bytes = options.hard_limit_bytes.value_or(limits.hard_bytes);
  return limits;
}

class EmbeddedStore : public TopicsStore {
 public:
  EmbeddedStore(std::unique_ptr<StoreDirectory> directory, std::unique_ptr<Database> database,
                const EmbeddedStoreOptions& options)
      : limits_{.queue_bytes = options.queue_bytes, .group_bytes = options.group_bytes},
        directory_(std::move(directory)),
        database_(std::move(database)),
        recent_(options.recent_bytes),
        timer_(options.timer != nullptr ? options.timer : std::make_shared<Timer>()),
        clock_(options.clock, timer_),
        ttl_us_(std::chrono::microseconds(options.subscription_ttl).count()),
        retention_(LimitsOf(options, directory_->path())),
        interval_(options.upkeep_interval),
        acks_(*database_, options.ack_interval) {}

  absl::Status Recover();
  // After Recover.
  void StartUpkeep() {
    opened_us_ = clock_.Believed();
    thread_ = std::jthread([this](const std::stop_token& stop) { Upkeep(stop); });
  }

  absl::StatusOr<std::unique_ptr<EventSink>> OpenWriter(std::string_view topic) override;
  std::vector<std::string> Topics() const override;
  absl::Status DeleteTopic(std::string_view topic) override;

 private:
  absl::StatusOr<std::shared_ptr<Topic>> Find(std::string_view name) const override;
  absl::StatusOr<EmbeddedTopic*> FindOrMake(std::string_view name) PGC_REQUIRES(mutex_);
  void Upkeep(const std::stop_token& stop);
  void ForgetUnused(Topic& topic, int64_t now_us);
  EmbeddedTopic& Add(const std::string& name, const TopicRecord& record) PGC_REQUIRES(mutex_);

  const EmbeddedWriter::Limits limits_;
  const std::unique_ptr<StoreDirectory> directory_;
  const std::unique_ptr<Database> database_;
  RecentBlocks recent_;
  const std::shared_ptr<Timer> timer_;
  StoreClock clock_;
  const int64_t ttl_us_;
  const RetentionLimits retention_;
  const std::chrono::milliseconds interval_;
  int64_t opened_us_ = 0;  // constant once there are threads

  mutable Mutex mutex_;
  std::map<std::string, std::unique_ptr<EmbeddedTopic>, std::less<>> topics_ PGC_GUARDED_BY(mutex_);
  // What readers that are left look at.
  std::vector<std::unique_ptr<EmbeddedTopic>> deleted_ PGC_GUARDED_BY(mutex_);
  uint32_t next_topic_id_ PGC_GUARDED_BY(mutex_) = 0;
  CondVar upkeep_;

  AckWriter acks_;       // before the topics: it saves what the subscriptions have
  std::jthread thread_;  // first to go: it uses the others
};

EmbeddedTopic& EmbeddedStore::Add(const std::string& name, const TopicRecord& record) {
  const EmbeddedShared shared{
      .database = *database_, .recent = recent_, .acks = acks_, .timer = *timer_, .clock = [this] {
        return clock_.Stamp();
      }};
  auto made = std::make_unique<EmbeddedTopic>(name, record.id, record.head, shared);
  return *topics_.emplace(name, std::move(made)).first->second;
}

absl::Status EmbeddedStore::Recover() {
  MutexLock lock(mutex_);
  int64_t newest_us = 0;
  const auto it = database_->Scan(database_->topics());
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::string name = it->key().ToString();
    if (name.empty()) {
      const auto store = ParseStore({it->value().data(), it->value().size()});
      if (!store.ok()) {
        return database_->Damaged(
            fmt::format("the store's record: {}", std::string(store.status().message())));
      }
      next_topic_id_ = store->next_topic_id;
      continue;
    }
    const auto record = ParseTopic({it->value().data(), it->value().size()});
    if (!record.ok()) {
      return database_->Damaged(
          fmt::format("topic {}: {}", name, std::string(record.status().message())));
    }
    EmbeddedTopic& topic = Add(name, *record);
    PGC_RETURN_IF_ERROR(topic.Recover());
    newest_us = std::max(newest_us, topic.newest_us());
  }
  if (!it->status().ok()) return database_->Damaged(it->status().ToString());
  if (newest_us > 0) clock_.GoOnFrom(newest_us);
  return absl::OkStatus();
}

absl::StatusOr<EmbeddedTopic*> EmbeddedStore::FindOrMake(std::string_view name) {
  const auto found = topics_.find(name);
  if (found != topics_.end()) return found->second.get();
  TopicRecord record;
  record.id = next_topic_id_;
  rocksdb::WriteBatch batch;
  for (const rocksdb::Status& status :
       {batch.Put(database_->topics(), "", EncodeStore({.next_topic_id = record.id + 1})),
        batch.Put(database_->topics(), rocksdb::Slice(name.data(), name.size()),
                  EncodeTopic(record))}) {
    if (!status.ok()) return absl::InternalError(status.ToString());
  }
  PGC_RETURN_IF_ERROR(database_->Write(batch));
  next_topic_id_ = record.id + 1;
  return &Add(std::string(name), record);
}

absl::StatusOr<std::unique_ptr<EventSink>> EmbeddedStore::OpenWriter(std::string_view name) {
  PGC_RETURN_IF_ERROR(CheckName("topic", name));
  PGC_RETURN_IF_ERROR(database_->failure());
  MutexLock lock(mutex_);
  PGC_ASSIGN_OR_RETURN(EmbeddedTopic* const topic, FindOrMake(name));
  PGC_RETURN_IF_ERROR(topic->topic()->TakeWriter());
  return std::make_unique<EmbeddedWriter>(*topic, limits_);
}

absl::StatusOr<std::shared_ptr<Topic>> EmbeddedStore::Find(std::string_view name) const {
  PGC_RETURN_IF_ERROR(CheckName("topic", name));
  MutexLock lock(mutex_);
  const auto found = topics_.find(name);
  if (found == topics_.end()) return NoSuchTopic(name);
  return found->second->topic();
}

absl::Status EmbeddedStore::DeleteTopic(std::string_view name) {
  PGC_RETURN_IF_ERROR(CheckName("topic", name));
  MutexLock lock(mutex_);
  const auto found = topics_.find(name);
  if (found == topics_.end()) return NoSuchTopic(name);
  EmbeddedTopic& topic = *found->second;
  PGC_RETURN_IF_ERROR(topic.topic()->Retire());
  rocksdb::WriteBatch batch;
  PGC_RETURN_IF_ERROR(topic.AddDeletion(batch));
  PGC_RETURN_IF_ERROR(database_->Write(batch));
  deleted_.push_back(std::move(found->second));
  topics_.erase(found);
  return topic.DropBlocks();
}

// What time brings with it.
void EmbeddedStore::Upkeep(const std::stop_token& stop) {
  while (true) {
    std::vector<std::shared_ptr<Topic>> topics;
    {
      MutexLock lock(mutex_);
      (void)upkeep_.WaitUntil(mutex_, stop, std::chrono::steady_clock::now() + interval_,
                              [] { return false; });
      if (stop.stop_requested()) return;
      for (const auto& [name, topic] : topics_) topics.push_back(topic->topic());
    }
    const int64_t now_us = clock_.Believed();
    for (const auto& topic : topics) ForgetUnused(*topic, now_us);
    Retain(topics, retention_, now_us);
  }
}

void EmbeddedStore::ForgetUnused(Topic& topic, int64_t now_us) {
  if (ttl_us_ == 0) return;
  // Often enough that a crash makes nobody's last use look too old.
  topic.SaveUseOlderThan(clock_.Stamp() - ttl_us_ / 8);
  if (now_us - opened_us_ < std::min(ttl_us_, kGraceUs)) return;
  const absl::Status status = topic.ForgetUnusedSince(now_us - ttl_us_);
  if (status.ok()) return;
  log::Warning("an unused subscription cannot be forgotten",
               {{"topic", topic.name()}, {"error", std::string(status.message())}});
}

std::vector<std::string> EmbeddedStore::Topics() const {
  MutexLock lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, topic] : topics_) names.push_back(name);
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventStore>> OpenEmbeddedStore(const std::filesystem::path& dir,
                                                              const EmbeddedStoreOptions& options) {
  PGC_ASSIGN_OR_RETURN(auto directory, StoreDirectory::Open(dir));
  PGC_ASSIGN_OR_RETURN(auto database, Database::Open(dir, directory->is_new()));
  if (directory->is_new()) PGC_RETURN_IF_ERROR(directory->MarkMade());
  auto store = std::make_unique<EmbeddedStore>(std::move(directory), std::move(database), options);
  PGC_RETURN_IF_ERROR(store->Recover());
  store->StartUpkeep();
  return store;
}

}  // namespace pgc
