// What a message of a Pulsar topic is to us (docs/contract.md, sections 1 and 4).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/block.h"
#include "event/store.h"
#include "pulsar/message.h"

namespace pgc {

struct PulsarEvent {
  Checkpoint checkpoint;
  EventKind kind = EventKind::kBegin;
  // Of a change; views of the message.
  std::optional<TableName> table = std::nullopt;
  bool moves_key = false;  // an UPDATE to another key
};

// Reads a message's key and payload. Nothing for a kind of event that is not known here, and for a
// keepalive. DataLoss when the two are no event.
absl::StatusOr<std::optional<PulsarEvent>> ReadPulsarEvent(std::string_view key,
                                                           std::span<const uint8_t> payload);
// The same of a message of this topic, which the error names.
absl::StatusOr<std::optional<PulsarEvent>> ReadPulsarEvent(std::string_view topic,
                                                           const pulsar::Message& message);

// Adds the event to a block. `payload` is the message's.
void AddTo(BlockBuilder& builder, const PulsarEvent& event, std::span<const uint8_t> payload);

// What was added since the last call, one event at least; the first of it has this ordinal.
EventSlice TakeSlice(BlockBuilder& builder, uint64_t ordinal);

}  // namespace pgc
