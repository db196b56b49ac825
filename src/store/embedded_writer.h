#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "event/pipeline.h"
#include "store/embedded_topic.h"
#include "store/envelope.h"

namespace rocksdb {
class WriteBatch;
}  // namespace rocksdb

namespace pgc {

// The writer of a topic: Append queues, and a thread commits what is queued with one sync.
//
// As EventSink. Append waits while the queue is full; an error of the disk ends that, and is the
// answer to every further Append. Destruction ends with the group that is being written; what is
// queued behind it was not called durable and is dropped.
class EmbeddedWriter : public EventSink {
 public:
  struct Limits {
    size_t queue_bytes;
    size_t group_bytes;
  };

  // Has been entered as the writer of `to`, which outlives it.
  EmbeddedWriter(EmbeddedTopic& to, Limits limits) : to_(to), limits_(limits) {}
  ~EmbeddedWriter() override;

  absl::StatusOr<ResumePoint> Open(DurableCallback durable) override;
  absl::Status Append(EventBatch batch) override;

 private:
  void Run(const std::stop_token& stop);
  std::vector<EventBatch> TakeGroup(const std::stop_token& stop);
  absl::Status Commit(std::vector<EventBatch> group);
  absl::Status AddBlock(std::shared_ptr<const Block> block, TopicHead& head,
                        rocksdb::WriteBatch& out, std::vector<StoredBlock>& stored);

  EmbeddedTopic& to_;
  const Limits limits_;
  DurableCallback durable_;

  // The committer's.
  TopicHead head_;
  Sealer sealer_;

  Mutex mutex_;
  CondVar changed_;
  std::deque<EventBatch> queue_ PGC_GUARDED_BY(mutex_);
  size_t queued_bytes_ PGC_GUARDED_BY(mutex_) = 0;
  absl::Status status_ PGC_GUARDED_BY(mutex_);
  bool closed_ PGC_GUARDED_BY(mutex_) = false;
  int appending_ PGC_GUARDED_BY(mutex_) = 0;
  std::jthread committer_;
};

}  // namespace pgc
