#include "store/embedded_topic.h"

#include <fmt/format.h>
#include <rocksdb/iterator.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/big_endian.h"
#include "base/status_macros.h"
#include "store/envelope.h"
#include "store/records.h"

namespace pgc {
namespace {

constexpr size_t kBlockKeyBytes = 12;

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// A stored block that an iterator stands on.
struct Found {
  EnvelopeHeader header;
  std::string_view bytes;
};

// Moves to the block of a topic that has event `ordinal`, or to the last one before it.
absl::StatusOr<Found> Seek(rocksdb::Iterator& it, uint32_t topic, uint64_t ordinal) {
  it.SeekForPrev(BlockKey(topic, ordinal));
  if (!it.Valid()) {
    if (!it.status().ok()) return absl::DataLossError(it.status().ToString());
    return absl::DataLossError("it is missing");
  }
  const std::string_view key = View(it.key());
  if (key.size() != kBlockKeyBytes || ReadBigEndian32(key) != topic) {
    return absl::DataLossError("it is missing");
  }
  Found found{.header = {}, .bytes = View(it.value())};
  PGC_ASSIGN_OR_RETURN(found.header, ReadEnvelopeHeader(found.bytes));
  if (found.header.ordinal != ReadBigEndian64(key.substr(sizeof topic))) {
    return absl::DataLossError("its block lies in another's place");
  }
  return found;
}

absl::StatusOr<Found> SeekExactly(rocksdb::Iterator& it, uint32_t topic, uint64_t ordinal) {
  PGC_ASSIGN_OR_RETURN(const Found found, Seek(it, topic, ordinal));
  if (ordinal - found.header.ordinal < found.header.events) return found;
  return absl::DataLossError("it is missing");
}

}  // namespace

std::string BlockKey(uint32_t topic, uint64_t ordinal) {
  std::string key;
  AppendBigEndian32(key, topic);
  AppendBigEndian64(key, ordinal);
  return key;
}

EmbeddedTopic::EmbeddedTopic(std::string name, uint32_t id, TopicHead head, EmbeddedShared shared)
    : id_(id),
      shared_(std::move(shared)),
      topic_(std::make_shared<Topic>(std::move(name), std::move(head), *this, shared_.timer,
                                     shared_.clock)) {}

absl::Status EmbeddedTopic::Damaged(uint64_t ordinal, std::string_view what) const {
  return shared_.database.Damaged(
      fmt::format("event {} of topic {} cannot be read: {}", ordinal, topic_->name(), what));
}

absl::StatusOr<StoredBlock> EmbeddedTopic::Read(uint64_t ordinal) const {
  if (auto recent = shared_.recent.Find(id_, ordinal)) return *std::move(recent);
  const auto it = shared_.database.Scan(shared_.database.blocks());
  const absl::StatusOr<Found> found = SeekExactly(*it, id_, ordinal);
  if (!found.ok()) return Damaged(ordinal, std::string(found.status().message()));
  auto block = OpenEnvelope(found->bytes, found->header.ordinal);
  if (!block.ok()) return Damaged(ordinal, std::string(block.status().message()));
  return StoredBlock{.block = *std::move(block), .first = found->header.ordinal};
}

absl::StatusOr<BlockSummary> EmbeddedTopic::Describe(uint64_t ordinal) const {
  const auto it = shared_.database.Scan(shared_.database.blocks());
  const absl::StatusOr<Found> found = SeekExactly(*it, id_, ordinal);
  if (!found.ok()) return Damaged(ordinal, std::string(found.status().message()));
  const EnvelopeHeader& header = found->header;
  return BlockSummary{.range = {.begin = header.ordinal, .end = header.ordinal + header.events},
                      .first = header.first,
                      .last = header.last,
                      .stored_us = header.stored_us,
                      .newest_commit = header.newest_commit,
                      .log_bytes = header.log_bytes};
}

absl::Status EmbeddedTopic::Save(const std::shared_ptr<Subscription>& subscription) {
  return shared_.acks.Save(id_, subscription);
}

absl::Status EmbeddedTopic::Forget(const std::shared_ptr<Subscription>& subscription) {
  return shared_.acks.Forget(id_, subscription);
}

absl::Status EmbeddedTopic::SaveFloor(const TopicFloor& floor) {
  rocksdb::WriteBatch batch;
  const rocksdb::Status status =
      batch.Put(shared_.database.floors(), SubscriptionKey(id_, ""), EncodeFloor(floor));
  if (!status.ok()) return absl::InternalError(status.ToString());
  return shared_.database.Write(batch);
}

absl::Status EmbeddedTopic::DropBelow(uint64_t ordinal) {
  return shared_.database.DropBlocks(BlockKey(id_, 0), BlockKey(id_, ordinal));
}

void EmbeddedTopic::SaveSoon(std::shared_ptr<Subscription> subscription) {
  shared_.acks.SaveSoon(id_, std::move(subscription));
}

absl::Status EmbeddedTopic::AddDeletion(rocksdb::WriteBatch& out) const {
  const Database& database = shared_.database;
  for (const rocksdb::Status& status :
       {out.Delete(database.topics(), topic_->name()),
        out.DeleteRange(database.blocks(), BlockKey(id_, 0), BlockKey(id_ + 1, 0)),
        out.DeleteRange(database.subscriptions(), SubscriptionKey(id_, ""),
                        SubscriptionKey(id_ + 1, "")),
        out.Delete(database.floors(), SubscriptionKey(id_, ""))}) {
    if (!status.ok()) return absl::InternalError(status.ToString());
  }
  return absl::OkStatus();
}

absl::Status EmbeddedTopic::DropBlocks() const {
  return shared_.database.DropBlocks(BlockKey(id_, 0), BlockKey(id_ + 1, 0));
}

absl::Status EmbeddedTopic::Recover() {
  PGC_RETURN_IF_ERROR(RecoverFloor());
  PGC_RETURN_IF_ERROR(RecoverHead());
  return RecoverSubscriptions();
}

absl::Status EmbeddedTopic::RecoverFloor() {
  const auto it = shared_.database.Scan(shared_.database.floors());
  const std::string key = SubscriptionKey(id_, "");
  it->Seek(key);
  if (!it->status().ok()) return shared_.database.Damaged(it->status().ToString());
  if (!it->Valid() || View(it->key()) != key) return absl::OkStatus();
  const auto floor = ParseFloor(View(it->value()));
  if (!floor.ok()) {
    return shared_.database.Damaged(fmt::format("the floor of topic {}: {}", topic_->name(),
                                                std::string(floor.status().message())));
  }
  if (floor->ordinal >= topic_->end()) {
    return shared_.database.Damaged(
        fmt::format("the floor of topic {} is not in its log", topic_->name()));
  }
  topic_->SetFloor(*floor);
  // Where a crash came between the record and the removal.
  return DropBelow(floor->ordinal);
}

// The last block also has what the head sums up over all blocks.
absl::Status EmbeddedTopic::RecoverHead() {
  TopicHead head = topic_->head();
  const auto it = shared_.database.Scan(shared_.database.blocks());
  // Blocks and head are written together, so neither can be ahead of the other.
  const absl::StatusOr<Found> found = Seek(*it, id_, UINT64_MAX);
  if (head.end == 0) {
    return found.ok() ? Damaged(0, "the topic's record does not know it") : absl::OkStatus();
  }
  if (!found.ok()) return Damaged(head.end - 1, std::string(found.status().message()));
  const EnvelopeHeader& header = found->header;
  if (header.ordinal + header.events != head.end || header.last != head.last) {
    return Damaged(head.end - 1, "the last block is not the one that the topic's record describes");
  }
  const auto block = OpenEnvelope(found->bytes, header.ordinal);
  if (!block.ok()) return Damaged(head.end - 1, std::string(block.status().message()));
  head.newest_commit = header.newest_commit;
  head.log_bytes = header.log_bytes;
  newest_us_ = std::max(newest_us_, header.stored_us);
  topic_->Publish(head);
  return absl::OkStatus();
}

absl::Status EmbeddedTopic::RecoverSubscriptions() {
  const auto it = shared_.database.Scan(shared_.database.subscriptions());
  const std::string prefix = SubscriptionKey(id_, "");
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    const std::string name(View(it->key()).substr(prefix.size()));
    auto record = ParseSubscription(View(it->value()), topic_->end());
    if (!record.ok()) {
      return shared_.database.Damaged(fmt::format("subscription {} of topic {}: {}", name,
                                                  topic_->name(),
                                                  std::string(record.status().message())));
    }
    newest_us_ = std::max(newest_us_, record->last_used_us);
    topic_->AddSubscription(name, *std::move(record));
  }
  if (it->status().ok()) return absl::OkStatus();
  return shared_.database.Damaged(it->status().ToString());
}

}  // namespace pgc
