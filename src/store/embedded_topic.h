#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/ack_writer.h"
#include "store/database.h"
#include "store/recent_blocks.h"
#include "store/topic.h"

namespace rocksdb {
class WriteBatch;
}  // namespace rocksdb

namespace pgc {

// What the topics of an embedded store share; outlives them.
struct EmbeddedShared {
  Database& database;
  RecentBlocks& recent;
  AckWriter& acks;
  Timer& timer;
  WallClock clock;
};

// One topic's blocks and subscriptions in the database. Thread-safe.
class EmbeddedTopic : public TopicLog {
 public:
  EmbeddedTopic(std::string name, uint32_t id, TopicHead head, EmbeddedShared shared);

  const std::shared_ptr<Topic>& topic() const { return topic_; }
  uint32_t id() const { return id_; }
  const EmbeddedShared& shared() const { return shared_; }

  // Adds the deletion of all that is stored of the topic.
  absl::Status AddDeletion(rocksdb::WriteBatch& out) const;
  // Gives back the space of what was deleted.
  absl::Status DropBlocks() const;

  // After opening: that the last block is the one that the head describes, and the subscriptions.
  absl::Status Recover();
  // Of what was recovered: when the newest of it was stored or used.
  int64_t newest_us() const { return newest_us_; }

  absl::StatusOr<StoredBlock> Read(uint64_t ordinal) const override;
  absl::StatusOr<BlockSummary> Describe(uint64_t ordinal) const override;
  absl::Status Save(const std::shared_ptr<Subscription>& subscription) override;
  absl::Status SaveFloor(const TopicFloor& floor) override;
  absl::Status DropBelow(uint64_t ordinal) override;
  absl::Status Forget(const std::shared_ptr<Subscription>& subscription) override;
  void SaveSoon(std::shared_ptr<Subscription> subscription) override;

 private:
  absl::Status RecoverFloor();
  absl::Status RecoverHead();
  absl::Status RecoverSubscriptions();
  // DataLoss that names directory, topic and event.
  absl::Status Damaged(uint64_t ordinal, std::string_view what) const;

  const uint32_t id_;
  const EmbeddedShared shared_;
  const std::shared_ptr<Topic> topic_;
  int64_t newest_us_ = 0;
};

// The key of a block.
std::string BlockKey(uint32_t topic, uint64_t ordinal);

}  // namespace pgc
