#include "store/pulsar_event.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "event/encoder.h"
#include "event/event_kind.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

// The fields of a Change, and of its columns.
constexpr uint32_t kOperation = 1;
constexpr uint32_t kSchema = 2;
constexpr uint32_t kTable = 3;
constexpr uint32_t kNew = 4;
constexpr uint32_t kOld = 5;
constexpr uint32_t kName = 1;

std::string_view NameOf(std::span<const uint8_t> column) {
  for (wire::Reader fields(column); fields.Next();) {
    if (fields.field() == kName && fields.is_bytes()) return fields.text();
  }
  return {};
}

// Whether a column of the row before has another value in the row after; one that is not there is
// unchanged.
bool IsChanged(std::span<const uint8_t> before, std::span<const uint8_t> change) {
  const std::string_view name = NameOf(before);
  for (wire::Reader fields(change); fields.Next();) {
    if (fields.field() != kNew || !fields.is_bytes() || NameOf(fields.bytes()) != name) continue;
    return !std::ranges::equal(fields.bytes(), before);
  }
  return false;
}

// False when the bytes are no Change.
bool ReadChange(std::span<const uint8_t> bytes, PulsarEvent& event) {
  TableName& table = event.table.emplace();
  bool is_update = false;
  bool has_old = false;
  wire::Reader change(bytes);
  while (change.Next()) {
    if (change.field() == kOperation && change.is_number()) {
      is_update = change.number() == static_cast<uint64_t>(Operation::kUpdate);
    }
    has_old = has_old || change.field() == kOld;
    if (change.field() != kSchema && change.field() != kTable) continue;
    if (!change.is_bytes()) return false;
    (change.field() == kSchema ? table.schema : table.name) = change.text();
  }
  if (!change.ok()) return false;
  // Who writes `old` puts the columns of the replica identity into it.
  for (wire::Reader fields(bytes); is_update && has_old && fields.Next();) {
    if (fields.field() != kOld || !fields.is_bytes()) continue;
    event.moves_key = event.moves_key || IsChanged(fields.bytes(), bytes);
  }
  return true;
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
    event.moves_key = false;
    if (*kind == EventKind::kChange && !ReadChange(message.bytes(), event)) {
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
  // Whether it differs is all that is known of a key here.
  const EventKey key{.hash = 0, .before = event.moves_key ? 1U : 0U};
  uint8_t* const to = builder.Add(event.kind, table, event.checkpoint, payload.size(), key);
  if (!payload.empty()) std::memcpy(to, payload.data(), payload.size());
}

EventSlice TakeSlice(BlockBuilder& builder, uint64_t ordinal) {
  auto block = builder.Finish();
  const uint32_t count = block->size();
  return {.block = std::move(block), .begin = 0, .end = count, .ordinal = ordinal};
}

}  // namespace pgc
