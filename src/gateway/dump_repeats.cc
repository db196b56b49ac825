#include "gateway/dump_repeats.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

constexpr size_t kDataBytes = 9;
constexpr size_t kMinSliceBytes = size_t{16} << 10;

void AppendNumber(std::string& out, uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}

uint32_t ReadNumber(std::string_view bytes) {
  uint32_t number = 0;
  for (const char byte : bytes.substr(0, 4)) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

// The events after R: those of the commit at R itself are visible in the rows.
ReaderStart After(Lsn place) {
  return FromAfter{.checkpoint = {.lsn = place, .seq = std::numeric_limits<uint32_t>::max()}};
}

uint32_t XidOf(const Event& begin) {
  for (wire::Reader message(begin.message); message.Next();) {
    if (message.field() != static_cast<uint32_t>(EventKind::kBegin)) continue;
    for (wire::Reader fields(message.bytes()); fields.Next();) {
      if (fields.field() == 3) return static_cast<uint32_t>(fields.number());
    }
  }
  return 0;
}

bool HasItsTable(const SessionDump& dump, const EventSlice& slice, const Event& event) {
  if (event.table == Event::kNoTable) return false;
  const TableName& table = slice.block->tables()[event.table];
  return table.schema == dump.schema && table.name == dump.table;
}

}  // namespace

bool UnseenOnly::Note(const Event& event) {
  if (!by_snapshot_) return true;
  if (event.kind == EventKind::kBegin) is_seen_ = snapshot_.Sees(XidOf(event));
  return !is_seen_;
}

bool IsExact(const PagesHeader& answer) { return answer.sweep_needed || answer.no_key; }

bool IsOfTable(const SessionDump& dump, bool extras, const EventSlice& slice, const Event& event) {
  if (event.kind == EventKind::kChange) {
    return HasItsTable(dump, slice, event) && IsWhatItsKindSays(event);
  }
  if (event.kind != EventKind::kTruncate || !extras) return false;
  pb::Message message;
  if (!message.ParseFromArray(event.message.data(), static_cast<int>(event.message.size()))) {
    return false;
  }
  return std::any_of(message.truncate().relations().begin(), message.truncate().relations().end(),
                     [&dump](const pb::Truncate::Relation& relation) {
                       return relation.schema() == dump.schema && relation.table() == dump.table;
                     });
}

bool LosesValues(const SessionDump& dump, const EventSlice& slice, const Event& event) {
  if (event.kind != EventKind::kChange || !event.key.moved() || !HasItsTable(dump, slice, event)) {
    return false;
  }
  const ReplyPart part = PartOf(slice.block, event, {});
  const auto change = Summarize(ChangeOf(part.content));
  return !change || change->new_fields < dump.fields || dump.info.columns_size() > 0;
}

absl::StatusOr<Lsn> LosesAt(const EventConsumer& consumer, const SessionDump& dump, uint64_t end) {
  PGC_ASSIGN_OR_RETURN(const auto reader, consumer.OpenReader(After(dump.answer.applied)));
  const uint64_t log_end = consumer.progress().end;
  Lsn newest;
  UnseenOnly unseen(dump.answer);
  while (reader->position() < log_end) {
    PGC_ASSIGN_OR_RETURN(const EventSlice slice, reader->Next({}));
    for (SliceCursor cursor(slice); cursor.Next();) {
      const Event& event = cursor.event();
      const Lsn lsn = event.checkpoint.lsn;
      if (lsn > dump.answer.upper && cursor.ordinal() >= end) return newest;
      if (!unseen.Note(event) || event.kind != EventKind::kChange) continue;
      const bool is_twice = dump.answer.no_key && !dump.answer.by_snapshot &&
                            lsn <= dump.answer.upper && HasItsTable(dump, slice, event);
      if (is_twice || LosesValues(dump, slice, event)) newest = lsn;
    }
  }
  return newest;
}

absl::StatusOr<std::unique_ptr<DumpRepeats>> DumpRepeats::Open(const EventConsumer& consumer,
                                                               const SessionDump& dump,
                                                               bool extras) {
  PGC_ASSIGN_OR_RETURN(auto log, consumer.OpenReader(After(dump.answer.applied)));
  return std::unique_ptr<DumpRepeats>(new DumpRepeats(dump, extras, std::move(log)));
}

DumpRepeats::DumpRepeats(const SessionDump& dump, bool extras, std::unique_ptr<EventReader> log)
    : dump_(dump), extras_(extras), log_(std::move(log)), unseen_(dump.answer) {}

absl::StatusOr<DumpRepeats::Found> DumpRepeats::Find(uint64_t end, size_t& budget) {
  if (is_found_) return Found::kEvent;
  while (true) {
    while (is_beyond_ || (cursor_ && cursor_->Next())) {
      is_beyond_ = cursor_->ordinal() >= end;
      if (is_beyond_) return Found::kNone;
      const Event& event = cursor_->event();
      if (!unseen_.Note(event) || !IsOfTable(dump_, extras_, *slice_, event)) continue;
      is_found_ = true;
      data_.assign(1, '\0');
      AppendNumber(data_, dump_.serial);
      AppendNumber(data_, count_);
      return Found::kEvent;
    }
    cursor_.reset();
    if (log_->position() >= end) return Found::kNone;
    if (budget == 0) return Found::kOthers;
    // There is a next one, so this does not wait.
    PGC_ASSIGN_OR_RETURN(slice_, log_->Next({}));
    budget -= std::min(budget, std::max(slice_->block->bytes().size(), kMinSliceBytes));
    cursor_.emplace(*slice_);
  }
}

void DumpRepeats::Sent() {
  is_found_ = false;
  ++count_;
}

// The first byte is none that the data of a store begins with: an embedded store's has 8 bytes, and
// a Pulsar message id is a protobuf message, which has no field 0.
std::optional<DumpRepeats::Repeat> DumpRepeats::Parse(std::string_view data) {
  if (data.size() != kDataBytes || data[0] != '\0') return std::nullopt;
  return Repeat{.serial = ReadNumber(data.substr(1)), .number = ReadNumber(data.substr(5))};
}

}  // namespace pgc
