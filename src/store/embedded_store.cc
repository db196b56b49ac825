#include "store/embedded_store.h"

#include <fmt/format.h>
#include <rocksdb/iterator.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/status_macros.h"
#include "store/ack_writer.h"
#include "store/database.h"
#include "store/directory.h"
#include "store/embedded_topic.h"
#include "store/embedded_writer.h"
#include "store/recent_blocks.h"
#include "store/records.h"
#include "store/topics_store.h"

namespace pgc {
namespace {

class EmbeddedStore : public TopicsStore {
 public:
  EmbeddedStore(std::unique_ptr<StoreDirectory> directory, std::unique_ptr<Database> database,
                const EmbeddedStoreOptions& options)
      : limits_{.queue_bytes = options.queue_bytes, .group_bytes = options.group_bytes},
        directory_(std::move(directory)),
        database_(std::move(database)),
        recent_(options.recent_bytes),
        timer_(options.timer != nullptr ? options.timer : std::make_shared<Timer>()),
        acks_(*database_, options.ack_interval) {}

  absl::Status Recover();

  absl::StatusOr<std::unique_ptr<EventSink>> OpenWriter(std::string_view topic) override;
  std::vector<std::string> Topics() const override;
  absl::Status DeleteTopic(std::string_view topic) override;

 private:
  absl::StatusOr<std::shared_ptr<Topic>> Find(std::string_view name) const override;
  absl::StatusOr<EmbeddedTopic*> FindOrMake(std::string_view name) PGC_REQUIRES(mutex_);
  EmbeddedTopic& Add(const std::string& name, const TopicRecord& record) PGC_REQUIRES(mutex_);

  const EmbeddedWriter::Limits limits_;
  const std::unique_ptr<StoreDirectory> directory_;
  const std::unique_ptr<Database> database_;
  RecentBlocks recent_;
  const std::shared_ptr<Timer> timer_;

  mutable Mutex mutex_;
  std::map<std::string, std::unique_ptr<EmbeddedTopic>, std::less<>> topics_ PGC_GUARDED_BY(mutex_);

  AckWriter acks_;  // first to go: it saves what the subscriptions have
};

EmbeddedTopic& EmbeddedStore::Add(const std::string& name, const TopicRecord& record) {
  const EmbeddedShared shared{
      .database = *database_, .recent = recent_, .acks = acks_, .timer = *timer_};
  auto made = std::make_unique<EmbeddedTopic>(name, record.id, record.head, shared);
  return *topics_.emplace(name, std::move(made)).first->second;
}

absl::Status EmbeddedStore::Recover() {
  MutexLock lock(mutex_);
  const auto it = database_->Scan(database_->topics());
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::string name = it->key().ToString();
    const auto record = ParseTopic({it->value().data(), it->value().size()});
    if (!record.ok()) {
      return database_->Damaged(
          fmt::format("topic {}: {}", name, std::string(record.status().message())));
    }
    PGC_RETURN_IF_ERROR(Add(name, *record).Recover());
  }
  return it->status().ok() ? absl::OkStatus() : database_->Damaged(it->status().ToString());
}

absl::StatusOr<EmbeddedTopic*> EmbeddedStore::FindOrMake(std::string_view name) {
  const auto found = topics_.find(name);
  if (found != topics_.end()) return found->second.get();
  TopicRecord record;
  for (const auto& [other, topic] : topics_) record.id = std::max(record.id, topic->id() + 1);
  rocksdb::WriteBatch batch;
  const rocksdb::Status status =
      batch.Put(database_->topics(), rocksdb::Slice(name.data(), name.size()), EncodeTopic(record));
  if (!status.ok()) return absl::InternalError(status.ToString());
  PGC_RETURN_IF_ERROR(database_->Write(batch));
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
  PGC_RETURN_IF_ERROR(Find(name).status());
  return absl::UnimplementedError("topics cannot be deleted yet");
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
  return store;
}

}  // namespace pgc
