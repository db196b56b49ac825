#include "store/topic_handles.h"

#include <fmt/format.h>

#include <utility>

#include "base/big_endian.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr size_t kDataBytes = 8;

EventSlice Slice(const StoredBlock& from, OrdinalRange range) {
  return {.block = from.block,
          .begin = static_cast<uint32_t>(range.begin - from.first),
          .end = static_cast<uint32_t>(range.end - from.first),
          .ordinal = range.begin};
}

absl::StatusOr<OrdinalRange> ParseData(std::string_view data) {
  if (data.size() != kDataBytes) {
    return absl::InvalidArgumentError(
        fmt::format("a checkpoint's data has {} bytes, not {}: send it back as it came",
                    data.size(), kDataBytes));
  }
  uint64_t ordinal = 0;
  for (const char byte : data) ordinal = ordinal << 8 | static_cast<uint8_t>(byte);
  if (ordinal == UINT64_MAX) return absl::InvalidArgumentError("a checkpoint's data is no event's");
  return OrdinalRange{.begin = ordinal, .end = ordinal + 1};
}

}  // namespace

std::string TopicReader::PlaceOf(uint64_t ordinal) const {
  std::string place;
  AppendBigEndian64(place, ordinal);
  return place;
}

absl::StatusOr<EventSlice> TopicReader::Next(std::stop_token stop) {
  if (stop.stop_requested() || !topic_->WaitBeyond(position_, stop)) {
    return absl::CancelledError("stopped");
  }
  PGC_ASSIGN_OR_RETURN(const StoredBlock found, topic_->Read(position_));
  const OrdinalRange rest{.begin = position_, .end = found.range().end};
  position_ = rest.end;
  return Slice(found, rest);
}

absl::StatusOr<std::optional<EventSlice>> TopicConsumer::TryNext() {
  while (auto next = subscription_->Next(id_)) {
    using What = Subscription::Upcoming::What;
    if (next->what == What::kLost) return topic_->Lost(*subscription_);
    if (!next->block) {
      PGC_ASSIGN_OR_RETURN(next->block, topic_->Read(next->ordinal));
    }
    if (next->what == What::kDispatch) {
      subscription_->Dispatch(*next->block);
      continue;
    }
    // Acknowledgements and other consumers can have moved it to another block meanwhile.
    if (const auto taken = subscription_->Take(id_, *next->block)) {
      return Slice(*next->block, *taken);
    }
  }
  return std::nullopt;
}

void TopicConsumer::AppendData(const EventSlice& slice, uint32_t index, std::string& out) const {
  AppendBigEndian64(out, slice.ordinal + (index - slice.begin));
}

absl::Status TopicConsumer::Ack(std::string_view data) {
  PGC_ASSIGN_OR_RETURN(const OrdinalRange event, ParseData(data));
  return subscription_->Ack(event);
}

void TopicConsumer::AckRange(const EventSlice& slice, uint32_t begin, uint32_t end) {
  // Where it fails, the events stay unacknowledged, which only means that they come again.
  (void)subscription_->Ack(
      {.begin = slice.ordinal + (begin - slice.begin), .end = slice.ordinal + (end - slice.begin)});
}

absl::Status TopicConsumer::Requeue(std::string_view data) {
  PGC_ASSIGN_OR_RETURN(const OrdinalRange event, ParseData(data));
  return subscription_->Requeue(id_, event.begin);
}

StreamProgress TopicConsumer::progress() const {
  // First the log's end, which only grows: what was handed out later may lie beyond it.
  const TopicHead head = topic_->head();
  using Rest = StreamProgress::Rest;
  return {.rest = subscription_->handed_out() >= head.end ? Rest::kNone : Rest::kMore,
          .end = head.last,
          .captured = head.captured};
}

absl::StatusOr<Checkpoint> TopicConsumer::HandedToOthers() {
  const uint64_t ordinal = subscription_->HandedToOthers(id_);
  while (true) {
    const TopicFloor floor = topic_->floor();
    if (ordinal <= floor.ordinal) return floor.before;
    auto newest = topic_->CheckpointBefore(ordinal);
    // It may have been removed while it was read.
    if (newest.ok() || topic_->floor() == floor) return newest;
  }
}

}  // namespace pgc
