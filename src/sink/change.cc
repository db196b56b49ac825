#include "sink/change.h"

#include <fmt/format.h>

#include "event/wire_reader.h"

namespace pgc {
namespace {

bool ReadField(std::span<const uint8_t> bytes, ChangeField& field) {
  field = {};
  field.value.kind = FieldValue::Kind::kNull;
  wire::Reader reader(bytes);
  while (reader.Next()) {
    switch (reader.field()) {
      case 1:
        field.name = reader.text();
        break;
      case 2:
        field.oid = static_cast<uint32_t>(reader.number());
        break;
      case 3:
        field.value = {.kind = FieldValue::Kind::kBinary, .bytes = reader.bytes()};
        break;
      case 4:
        field.value = {.kind = FieldValue::Kind::kText, .bytes = reader.bytes()};
        break;
      default:
        break;
    }
  }
  return reader.ok();
}

bool ReadChange(std::span<const uint8_t> bytes, Change& change) {
  wire::Reader reader(bytes);
  bool ok = true;
  while (ok && reader.Next()) {
    switch (reader.field()) {
      case 1:
        change.op = static_cast<Operation>(reader.number());
        ok = reader.number() <= static_cast<uint64_t>(Operation::kDelete);
        break;
      case 2:
        change.schema = reader.text();
        break;
      case 3:
        change.table = reader.text();
        break;
      case 4:
        ok = ReadField(reader.bytes(), change.new_row.emplace_back());
        break;
      case 5:
        ok = ReadField(reader.bytes(), change.old_row.emplace_back());
        break;
      default:
        break;
    }
  }
  return ok && reader.ok();
}

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

absl::Status Damaged(std::string_view what) {
  return absl::DataLossError(fmt::format("an event of the log is no {}", what));
}

// The bytes of the member of a `Message` with this number; no data when it is another.
std::span<const uint8_t> Member(std::span<const uint8_t> message, uint32_t field) {
  wire::Reader reader(message);
  std::span<const uint8_t> found;
  while (reader.Next()) {
    if (reader.field() == field && reader.is_bytes()) found = reader.bytes();
  }
  return reader.ok() ? found : std::span<const uint8_t>();
}

}  // namespace

absl::Status ParseChange(std::span<const uint8_t> message, Change& change) {
  change.op = Operation::kInsert;
  change.schema = {};
  change.table = {};
  change.new_row.clear();
  change.old_row.clear();
  const auto bytes = Member(message, static_cast<uint32_t>(EventKind::kChange));
  if (bytes.data() == nullptr || !ReadChange(bytes, change)) return Damaged("change");
  return absl::OkStatus();
}

absl::StatusOr<PgTimestamp> ParseCommitTime(std::span<const uint8_t> message) {
  wire::Reader reader(Member(message, static_cast<uint32_t>(EventKind::kCommit)));
  PgTimestamp time;
  while (reader.Next()) {
    if (reader.field() == 3) time.us = static_cast<int64_t>(reader.number());
  }
  if (!reader.ok()) return Damaged("Commit");
  return time;
}

absl::StatusOr<Truncation> ParseTruncate(std::span<const uint8_t> message) {
  Truncation truncation;
  wire::Reader reader(Member(message, static_cast<uint32_t>(EventKind::kTruncate)));
  bool ok = true;
  while (ok && reader.Next()) {
    if (reader.field() == 3) truncation.restart_identity = reader.number() != 0;
    if (reader.field() != 1) continue;
    TableName& table = truncation.tables.emplace_back();
    wire::Reader names(reader.bytes());
    while (names.Next()) {
      if (names.field() == 1) table.schema = names.text();
      if (names.field() == 2) table.name = names.text();
    }
    ok = names.ok();
  }
  if (!ok || !reader.ok()) return Damaged("Truncate");
  return truncation;
}

absl::StatusOr<std::vector<SequencePosition>> ParseSequences(std::span<const uint8_t> message) {
  std::vector<SequencePosition> positions;
  wire::Reader reader(Member(message, static_cast<uint32_t>(EventKind::kSequences)));
  bool ok = true;
  while (ok && reader.Next()) {
    if (reader.field() == 1) ok = ReadPosition(reader.bytes(), positions.emplace_back());
  }
  if (!ok || !reader.ok()) return Damaged("Sequences");
  return positions;
}

}  // namespace pgc
