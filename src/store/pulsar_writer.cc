#include "store/pulsar_writer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/host_name.h"
#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "store/pulsar_tail.h"

namespace pgc {
namespace {

// The broker may not have seen yet that the process before this one is gone.
constexpr std::chrono::seconds kNameIsFreed{3};
constexpr std::chrono::milliseconds kNameIsAskedFor{500};

}  // namespace

absl::StatusOr<std::unique_ptr<EventSink>> PulsarWriter::Open(
    std::shared_ptr<pulsar::Client> client, const std::string& topic, const Options& options) {
  std::unique_ptr<PulsarWriter> writer(new PulsarWriter(std::move(client), topic));
  PulsarWriter* const self = writer.get();
  const auto deadline = std::chrono::steady_clock::now() + kNameIsFreed;
  pulsar::Producer::Options of{
      .topic = topic,
      .name = topic + "-producer",
      .host = HostName(),
      .clusters = options.replicate_to,
      .stall_timeout = options.stall_timeout,
      .id_interval = options.tracker_interval,
      .stored_id = [self](const pulsar::MessageId& id) { self->Track(id); }};
  while (true) {
    auto producer = pulsar::Producer::Open(writer->client_, of,
                                           [self](uint64_t stored) { self->CallBack(stored); });
    if (producer.ok()) {
      writer->producer_ = *std::move(producer);
      if (options.tracker_interval.count() > 0) {
        PGC_ASSIGN_OR_RETURN(writer->tracker_, SubscriptionTracker::Open(writer->client_, topic));
      }
      return writer;
    }
    if (!absl::IsFailedPrecondition(producer.status()) ||
        std::chrono::steady_clock::now() > deadline) {
      return producer.status();
    }
    Pause(kNameIsAskedFor, {});
  }
}

absl::StatusOr<ResumePoint> PulsarWriter::Open(DurableCallback durable) {
  durable_ = std::move(durable);
  PGC_ASSIGN_OR_RETURN(last_, FindPulsarTail(client_, topic_));
  captured_ = last_.lsn;
  log::Debug("found the end of a topic", {{"topic", topic_}, {"last", ToKey(last_)}});
  return ResumePoint{.last = last_, .captured = captured_, .origin = "", .captured_is_least = true};
}

absl::Status PulsarWriter::Append(EventBatch batch) {
  PGC_RETURN_IF_ERROR(producer_->Check());
  for (const auto& block : batch.blocks) {
    if (block->last() > last_) PGC_RETURN_IF_ERROR(Publish(*block));
  }
  if (batch.captured <= captured_) return absl::OkStatus();
  captured_ = batch.captured;
  uint64_t stored = 0;
  {
    MutexLock lock(mutex_);
    if (positions_.empty() || positions_.back().messages != sent_) {
      positions_.push_back({.messages = sent_, .captured = {}});
    }
    positions_.back().captured = captured_;
    stored = stored_;
  }
  // When all is stored already no receipt comes.
  if (stored == sent_) CallBack(stored);
  return absl::OkStatus();
}

absl::Status PulsarWriter::Publish(const Block& block) {
  for (Block::Cursor cursor(block); cursor.Next();) {
    const Event& event = cursor.event();
    if (event.checkpoint <= last_) continue;
    PGC_RETURN_IF_ERROR(producer_->Send(ToKey(event.checkpoint), event.message));
    last_ = event.checkpoint;
    ++sent_;
  }
  return absl::OkStatus();
}

// None is sent before the tracker is there.
void PulsarWriter::Track(const pulsar::MessageId& id) { tracker_->Note(id); }

// Under the mutex, so that positions come in order.
void PulsarWriter::CallBack(uint64_t stored) {
  MutexLock lock(mutex_);
  stored_ = std::max(stored_, stored);
  std::optional<Lsn> captured;
  while (!positions_.empty() && positions_.front().messages <= stored_) {
    captured = positions_.front().captured;
    positions_.pop_front();
  }
  if (captured.has_value() && durable_) durable_(*captured);
}

}  // namespace pgc
