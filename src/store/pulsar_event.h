// What a message of a Pulsar topic is to us (docs/contract.md, sections 1 and 4).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/block.h"

namespace pgc {

struct PulsarEvent {
  Checkpoint checkpoint;
  EventKind kind = EventKind::kBegin;
  // Of a change; views of the message.
  std::optional<TableName> table = std::nullopt;
};

// Reads a message's key and payload. Nothing for a kind of event that is not known here, and for a
// keepalive. DataLoss when the two are no event.
absl::StatusOr<std::optional<PulsarEvent>> ReadPulsarEvent(std::string_view key,
                                                           std::span<const uint8_t> payload);

// Adds the event to a block. `payload` is the message's.
void AddTo(BlockBuilder& builder, const PulsarEvent& event, std::span<const uint8_t> payload);

// Of this machine: what its consumers and producers are called, for people. Empty when it has none.
std::string HostName();

}  // namespace pgc
