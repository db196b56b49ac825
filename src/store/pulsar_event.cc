#include "store/pulsar_event.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "event/event_kind.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

constexpr uint32_t kSchema = 2;  // of Change
constexpr uint32_t kTable = 3;

// False when the bytes are no Change.
bool ReadTable(std::span<const uint8_t> bytes, TableName& table) {
  wire::Reader change(bytes);
  while (change.Next()) {
    if (change.field() != kSchema && change.field() != kTable) continue;
    if (!change.is_bytes()) return false;
    (change.field() == kSchema ? table.schema : table.name) = change.text();
  }
  return change.ok();
}

}  // namespace

absl::StatusOr<std::optional<PulsarEvent>> ReadPulsarEvent(std::string_view key,
                                                           std::span<const uint8_t> payload) {
  const auto checkpoint = ParseKey(key);
  if (!checkpoint.ok()) {
    return absl::DataLossError(fmt::format("its key is no checkpoint: {}", key.substr(0, 50)));
  }
  PulsarEvent event{.checkpoint = *checkpoint};
  bool known = false;
  wire::Reader message(payload);
  while (message.Next()) {
    const auto kind = EventKindOf(message.field());
    if (!kind.has_value() || !message.is_bytes()) continue;
    known = true;
    event.kind = *kind;
    event.table.reset();
    if (*kind != EventKind::kChange) continue;
    event.table.emplace();
    if (!ReadTable(message.bytes(), *event.table)) {
      return absl::DataLossError(fmt::format("the change at {} is damaged", key));
    }
  }
  if (!message.ok()) return absl::DataLossError(fmt::format("the event at {} is damaged", key));
  if (!known) return std::nullopt;
  return event;
}

absl::StatusOr<std::optional<PulsarEvent>> ReadPulsarEvent(std::string_view topic,
                                                           const pulsar::Message& message) {
  auto event = ReadPulsarEvent(message.key(), message.data());
  if (event.ok()) return event;
  return absl::DataLossError(fmt::format("topic {}, message {}: {}", topic,
                                         pulsar::ToString(message.id()),
                                         std::string(event.status().message())));
}

void AddTo(BlockBuilder& builder, const PulsarEvent& event, std::span<const uint8_t> payload) {
  const uint32_t table = event.table.has_value() ? builder.AddTable(*event.table) : Event::kNoTable;
  uint8_t* const to = builder.Add(event.kind, table, event.checkpoint, payload.size());
  if (!payload.empty()) std::memcpy(to, payload.data(), payload.size());
}

EventSlice TakeSlice(BlockBuilder& builder, uint64_t ordinal) {
  auto block = builder.Finish();
  const uint32_t count = block->size();
  return {.block = std::move(block), .begin = 0, .end = count, .ordinal = ordinal};
}

}  // namespace pgc
