// The product's one loop: events move from a source to a sink.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/block.h"

namespace pgc {

// What a sink already has, durably; all empty when it has nothing.
struct ResumePoint {
  // The newest event stored. The sink drops what is not after it.
  Checkpoint last;
  // Every transaction whose commit record starts before this is stored whole.
  Lsn captured;
  // Opaque to the sink: the source that `captured` is a position of (EventBatch::origin).
  std::string origin;
  // The sink does not keep captured positions: `captured` is what its newest event tells, and later
  // ones may have been called durable.
  bool captured_is_least = false;
};

// Some blocks, in order, and the position that is captured once they are stored. `blocks` may be
// empty: the position alone has moved. A transaction may be spread over batches.
struct EventBatch {
  std::vector<std::shared_ptr<const Block>> blocks;
  Lsn captured;
  std::string origin;
};

// Where events come from. One thread calls Open and Next; Acknowledge is thread-safe.
class EventSource {
 public:
  virtual ~EventSource() = default;

  // Begins after `resume`; called once. Unavailable is worth a retry with a new source;
  // FailedPrecondition and DataLoss need an operator.
  virtual absl::Status Open(const ResumePoint& resume, std::stop_token stop) = 0;

  // Waits for the next batch. Cancelled once `stop` is requested.
  virtual absl::StatusOr<EventBatch> Next(std::stop_token stop) = 0;

  // All that was captured up to `captured` is durable and need not be sent again.
  virtual void Acknowledge(Lsn captured) = 0;
};

// Where events go. One thread calls it.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // Called with each captured position that has become durable, from any thread.
  using DurableCallback = std::function<void(Lsn captured)>;

  // Gets ready for appends and tells where they stopped; called once, before Append.
  virtual absl::StatusOr<ResumePoint> Open(DurableCallback durable) = 0;

  // Stores the batch after all earlier ones. It may return before the batch is durable. After an
  // error nothing of the batch counts as stored, and the sink takes no more.
  virtual absl::Status Append(EventBatch batch) = 0;
};

// Moves events from `source` to `sink` until stopped or until one of them fails. Ok when stopped.
// `started` is called once both are open.
absl::Status RunPipeline(EventSource& source, EventSink& sink, std::stop_token stop,
                         const std::function<void()>& started = nullptr);

}  // namespace pgc
