#include "event/message_views.h"

#include <optional>
#include <utility>

#include "event/capture_message.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

namespace members = capture_message;

std::optional<EventKind> KindOf(uint32_t member) {
  switch (member) {
    case members::kChange:
      return EventKind::kChange;
    case members::kBegin:
      return EventKind::kBegin;
    case members::kCommit:
      return EventKind::kCommit;
    case members::kTruncate:
      return EventKind::kTruncate;
    case members::kLogicalMessage:
      return EventKind::kLogicalMessage;
    default:
      return std::nullopt;
  }
}

bool ParseCheckpoint(wire::Reader reader, MessageView& message) {
  while (reader.Next()) {
    if (reader.field() == 0) return false;
    if (reader.field() == 1 && reader.is_number()) message.lsn.value = reader.number();
    if (reader.field() == 2 && reader.is_number()) {
      message.seq = static_cast<uint32_t>(reader.number());
    }
    if (reader.field() == 3 && reader.is_bytes()) message.data = reader.text();
  }
  return reader.ok();
}

bool ParseField(wire::Reader reader, FieldView& field) {
  while (reader.Next()) {
    if (reader.field() == 0) return false;
    if (reader.field() == 1 && reader.is_bytes()) field.name = reader.text();
    if (reader.field() == 2 && reader.is_number()) {
      field.type_oid = static_cast<uint32_t>(reader.number());
    }
    if ((reader.field() == 3 || reader.field() == 4) && reader.is_bytes()) {
      field.kind = reader.field() == 3 ? FieldValue::Kind::kBinary : FieldValue::Kind::kText;
      field.value = reader.text();
    }
  }
  return reader.ok();
}

}  // namespace

void MessageViews::Clear() {
  messages_.clear();
  ends_.clear();
  new_fields_.clear();
  old_fields_.clear();
}

absl::Status MessageViews::Parse(std::span<const uint8_t> bytes) {
  Clear();
  if (!AddAll(bytes)) {
    Clear();
    return absl::InvalidArgumentError("it is no CaptureMessage");
  }
  // Only now do the fields stay where they are.
  Ends begin;
  for (size_t i = 0; i < messages_.size(); ++i) {
    const Ends& end = ends_[i];
    ChangeView& change = messages_[i].change;
    change.new_fields = std::span<const FieldView>(new_fields_)
                            .subspan(begin.new_fields, end.new_fields - begin.new_fields);
    change.old_fields = std::span<const FieldView>(old_fields_)
                            .subspan(begin.old_fields, end.old_fields - begin.old_fields);
    begin = end;
  }
  return absl::OkStatus();
}

// The message itself and, wherever they stand in it, those behind it.
bool MessageViews::AddAll(std::span<const uint8_t> bytes) {
  bool has_more = false;
  if (!Add(bytes, has_more)) return false;
  if (!has_more) return true;
  for (wire::Reader reader(bytes); reader.Next();) {
    if (reader.field() != members::kMore || !reader.is_bytes()) continue;
    bool has_more_itself = false;
    if (!Add(reader.bytes(), has_more_itself) || has_more_itself) return false;
  }
  return true;
}

bool MessageViews::Add(std::span<const uint8_t> bytes, bool& has_more) {
  MessageView& message = messages_.emplace_back();
  bool has_checkpoint = false;
  bool has_content = false;
  wire::Reader reader(bytes);
  while (reader.Next()) {
    if (reader.field() == 0) return false;
    if (reader.is_number() && reader.field() == members::kDumpLsn)
      message.dump_lsn.value = reader.number();
    if (!reader.is_bytes()) continue;
    if (reader.field() == members::kMore) {
      has_more = true;
    } else if (reader.field() == members::kCheckpoint) {
      if (std::exchange(has_checkpoint, true)) return false;
      message.checkpoint = reader.text();
      if (!ParseCheckpoint(wire::Reader(reader.bytes()), message)) return false;
    } else if (const auto kind = KindOf(reader.field())) {
      if (std::exchange(has_content, true)) return false;
      message.kind = *kind;
      message.content = reader.text();
      if (kind == EventKind::kChange && !AddChange(reader.bytes(), message.change)) return false;
    }
  }
  ends_.push_back({.new_fields = new_fields_.size(), .old_fields = old_fields_.size()});
  return reader.ok();
}

bool MessageViews::AddChange(std::span<const uint8_t> bytes, ChangeView& change) {
  wire::Reader reader(bytes);
  while (reader.Next()) {
    if (reader.field() == 0) return false;
    if (reader.field() == 1 && reader.is_number()) {
      if (reader.number() > static_cast<uint64_t>(Operation::kDelete)) return false;
      change.operation = static_cast<Operation>(reader.number());
    }
    if (!reader.is_bytes()) continue;
    if (reader.field() == 2) change.schema = reader.text();
    if (reader.field() == 3) change.table = reader.text();
    if (reader.field() == 4 || reader.field() == 5) {
      std::vector<FieldView>& fields = reader.field() == 4 ? new_fields_ : old_fields_;
      if (!ParseField(wire::Reader(reader.bytes()), fields.emplace_back())) return false;
    }
  }
  return reader.ok();
}

}  // namespace pgc
