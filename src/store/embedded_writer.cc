#include "store/embedded_writer.h"

#include <rocksdb/write_batch.h>

#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "store/records.h"

namespace pgc {
namespace {

// What a batch takes in the queue beside its blocks.
constexpr size_t kBatchBytes = 128;

size_t Bytes(const EventBatch& batch) {
  size_t bytes = kBatchBytes + batch.origin.size();
  for (const auto& block : batch.blocks) bytes += block->bytes().size();
  return bytes;
}

}  // namespace

EmbeddedWriter::~EmbeddedWriter() {
  committer_.request_stop();
  {
    MutexLock lock(mutex_);
    closed_ = true;
    changed_.NotifyAll();
    while (appending_ > 0) changed_.Wait(mutex_);
  }
  if (committer_.joinable()) committer_.join();
  to_.topic()->ReleaseWriter();
}

absl::StatusOr<ResumePoint> EmbeddedWriter::Open(DurableCallback durable) {
  durable_ = std::move(durable);
  head_ = to_.topic()->head();
  ResumePoint resume{.last = head_.last, .captured = head_.captured, .origin = head_.origin};
  committer_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  return resume;
}

absl::Status EmbeddedWriter::Append(EventBatch batch) {
  const size_t bytes = Bytes(batch);
  MutexLock lock(mutex_);
  ++appending_;
  while (status_.ok() && !closed_ && queued_bytes_ > 0 &&
         queued_bytes_ + bytes > limits_.queue_bytes) {
    changed_.Wait(mutex_);
  }
  --appending_;
  changed_.NotifyAll();
  if (!status_.ok()) return status_;
  if (closed_) return absl::CancelledError("the writer is closed");
  queued_bytes_ += bytes;
  queue_.push_back(std::move(batch));
  return absl::OkStatus();
}

// All that is queued, up to the limit of a group; nothing when stopped.
std::vector<EventBatch> EmbeddedWriter::TakeGroup(const std::stop_token& stop) {
  std::vector<EventBatch> group;
  MutexLock lock(mutex_);
  changed_.Wait(mutex_, stop, [this]() PGC_REQUIRES(mutex_) { return !queue_.empty(); });
  if (stop.stop_requested()) return group;
  size_t bytes = 0;
  while (!queue_.empty() &&
         (group.empty() || bytes + Bytes(queue_.front()) <= limits_.group_bytes)) {
    bytes += Bytes(queue_.front());
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  changed_.NotifyAll();
  return group;
}

void EmbeddedWriter::Run(const std::stop_token& stop) {
  while (true) {
    std::vector<EventBatch> group = TakeGroup(stop);
    if (group.empty()) return;
    if (absl::Status status = Commit(std::move(group)); !status.ok()) {
      log::Error("the log cannot be written",
                 {{"topic", to_.topic()->name()}, {"error", std::string(status.message())}});
      MutexLock lock(mutex_);
      status_ = std::move(status);
      queue_.clear();
      queued_bytes_ = 0;
      changed_.NotifyAll();
      return;
    }
  }
}

absl::Status EmbeddedWriter::AddBlock(std::shared_ptr<const Block> block, TopicHead& head,
                                      rocksdb::WriteBatch& out, std::vector<StoredBlock>& stored) {
  const auto kept = EventsAfter(std::move(block), head.last);
  if (kept == nullptr) return absl::OkStatus();
  head.newest_commit = NewestCommit(*kept, head.newest_commit);
  const std::string_view sealed = sealer_.Seal(*kept, {.ordinal = head.end,
                                                       .stored_us = to_.shared().clock(),
                                                       .newest_commit = head.newest_commit,
                                                       .log_bytes_before = head.log_bytes});
  head.log_bytes += sealed.size();
  const rocksdb::Status status =
      out.Put(to_.shared().database.blocks(), BlockKey(to_.id(), head.end),
              rocksdb::Slice(sealed.data(), sealed.size()));
  if (!status.ok()) return absl::InternalError(status.ToString());
  stored.push_back({.block = kept, .first = head.end});
  head.end += kept->size();
  head.last = kept->last();
  return absl::OkStatus();
}

absl::Status EmbeddedWriter::Commit(std::vector<EventBatch> group) {
  TopicHead head = head_;
  rocksdb::WriteBatch batch;
  std::vector<StoredBlock> stored;
  bool changed = false;
  for (EventBatch& from : group) {
    for (auto& block : from.blocks) {
      PGC_RETURN_IF_ERROR(AddBlock(std::move(block), head, batch, stored));
    }
    changed |= head.Advance(from.captured, from.origin);
  }
  if (stored.empty() && !changed) return absl::OkStatus();
  Database& database = to_.shared().database;
  const rocksdb::Status status = batch.Put(database.topics(), to_.topic()->name(),
                                           EncodeTopic({.id = to_.id(), .head = head}));
  if (!status.ok()) return absl::InternalError(status.ToString());
  PGC_RETURN_IF_ERROR(database.Write(batch));
  for (const StoredBlock& block : stored) to_.shared().recent.Add(to_.id(), block);
  to_.topic()->Publish(head);
  const bool moved = head.captured > head_.captured || head.origin != head_.origin;
  head_ = std::move(head);
  if (moved && durable_) durable_(head_.captured);
  return absl::OkStatus();
}

}  // namespace pgc
