#include "sink/sequences.h"

#include "absl/status/status.h"
#include "event/block.h"
#include "sink/wire_reader.h"

namespace pgc {
namespace {

constexpr auto kMember = static_cast<uint32_t>(EventKind::kSequences);

bool ReadPosition(std::span<const uint8_t> bytes, SequencePosition& position) {
  wire::Reader reader(bytes);
  while (reader.Next()) {
    switch (reader.field()) {
      case 1:
        position.schema = reader.text();
        break;
      case 2:
        position.name = reader.text();
        break;
      case 3:
        position.last_value = static_cast<int64_t>(reader.number());
        break;
      case 4:
        position.is_called = reader.number() != 0;
        break;
      default:
        break;
    }
  }
  return reader.ok();
}

}  // namespace

absl::StatusOr<std::vector<SequencePosition>> ParseSequences(std::span<const uint8_t> message) {
  std::vector<SequencePosition> positions;
  wire::Reader outer(message);
  bool ok = true;
  while (ok && outer.Next()) {
    if (outer.field() != kMember) continue;
    wire::Reader reader(outer.bytes());
    while (ok && reader.Next()) {
      if (reader.field() == 1) ok = ReadPosition(reader.bytes(), positions.emplace_back());
    }
    ok = ok && reader.ok();
  }
  if (!ok || !outer.ok()) return absl::DataLossError("an event of the log has no sequences");
  return positions;
}

}  // namespace pgc
