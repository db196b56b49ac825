#include "testing/captured.h"

#include <algorithm>
#include <string_view>
#include <thread>

#include "base/pause.h"
#include "base/status_macros.h"
#include "testing/protobuf_fields.h"

namespace pgc {
namespace {

CapturedField ParseField(std::string_view bytes) {
  CapturedField field;
  for (ProtobufFields fields(bytes); fields.Next();) {
    if (fields.number == 1) field.name = fields.bytes;
    if (fields.number == 2) field.oid = static_cast<uint32_t>(fields.value);
    if (fields.number == 3 || fields.number == 4) {
      field.is_text = fields.number == 4;
      field.value = fields.bytes;
    }
  }
  return field;
}

}  // namespace

absl::StatusOr<std::vector<CapturedEvent>> ReadTo(EventSource& source, Lsn end,
                                                  std::chrono::seconds limit) {
  std::stop_source stop;
  std::jthread watchdog([&stop, limit](const std::stop_token& done) {
    Pause(limit, done);
    stop.request_stop();
  });
  PGC_RETURN_IF_ERROR(source.Open({}, stop.get_token()));
  std::vector<CapturedEvent> events;
  Checkpoint last;
  for (Lsn captured; captured < end;) {
    PGC_ASSIGN_OR_RETURN(const EventBatch batch, source.Next(stop.get_token()));
    for (const auto& block : batch.blocks) {
      for (Block::Cursor cursor(*block); cursor.Next();) {
        const Event& event = cursor.event();
        // As a store does: what comes again is dropped.
        if (event.checkpoint <= last) continue;
        last = event.checkpoint;
        if (event.kind == EventKind::kSequences) continue;
        events.push_back({.kind = event.kind,
                          .checkpoint = event.checkpoint,
                          .key = event.key,
                          .message = {event.message.begin(), event.message.end()}});
      }
    }
    captured = std::max(captured, batch.captured);
    source.Acknowledge(captured);
  }
  return events;
}

CapturedChange ParseChange(const CapturedEvent& event) {
  CapturedChange change;
  ProtobufFields message(event.message);
  if (event.kind != EventKind::kChange || !message.Next()) return change;
  for (ProtobufFields fields(message.bytes); fields.Next();) {
    if (fields.number == 1) change.op = static_cast<int>(fields.value);
    if (fields.number == 2) change.schema = fields.bytes;
    if (fields.number == 3) change.table = fields.bytes;
    if (fields.number == 4) change.new_row.push_back(ParseField(fields.bytes));
    if (fields.number == 5) change.old_row.push_back(ParseField(fields.bytes));
  }
  return change;
}

}  // namespace pgc
