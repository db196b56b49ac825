#include "gateway/dump_repeats.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/big_endian.h"
#include "base/status_macros.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

constexpr size_t kDataBytes = 9;
constexpr size_t kMinSliceBytes = size_t{16} << 10;

uint32_t ReadNumber(std::string_view bytes) {
  uint32_t number = 0;
  for (const char byte : bytes.substr(0, 4)) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

// Those of the commit at R itself are visible in the rows.
Checkpoint LastShown(const SessionDump& dump) {
  return {.lsn = dump.answer.applied, .seq = std::numeric_limits<uint32_t>::max()};
}

FromAfter AfterShown(const SessionDump& dump) {
  return {.checkpoint = LastShown(dump), .place = dump.answer.store_position};
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

LossSearch::LossSearch(const EventConsumer& consumer, Background& background,
                       const SessionDump& dump, const Checkpoint& end, std::function<void()> ready)
    : dump_(dump),
      end_(end),
      log_end_(std::max(end, consumer.progress().end)),
      unseen_(dump.answer),
      read_(LastShown(dump)),
      log_(consumer, background, AfterShown(dump), std::move(ready)) {}

bool LossSearch::IsLoss(const EventSlice& slice, const Event& event) const {
  if (dump_.looks_up_to) {
    return event.kind == EventKind::kCommit && event.checkpoint.lsn <= *dump_.looks_up_to;
  }
  if (event.kind != EventKind::kChange) return false;
  const PagesHeader& answer = dump_.answer;
  const bool is_twice = answer.no_key && !answer.by_snapshot &&
                        event.checkpoint.lsn <= answer.upper && HasItsTable(dump_, slice, event);
  return is_twice || LosesValues(dump_, slice, event);
}

absl::StatusOr<std::optional<Lsn>> LossSearch::Find(size_t& budget) {
  PGC_ASSIGN_OR_RETURN(const bool is_open, log_.IsOpen());
  if (!is_open) return std::nullopt;
  while (read_ < log_end_) {
    if (budget == 0) return std::nullopt;
    PGC_ASSIGN_OR_RETURN(const auto slice, log_.TryNext());
    if (!slice) return std::nullopt;
    budget -= std::min(budget, std::max(slice->block->bytes().size(), kMinSliceBytes));
    for (SliceCursor cursor(*slice); cursor.Next();) {
      const Event& event = cursor.event();
      read_ = event.checkpoint;
      if (read_.lsn > dump_.answer.upper && read_ > end_) return newest_;
      const bool is_unseen = unseen_.Note(event);
      if ((is_unseen || dump_.looks_up_to) && IsLoss(*slice, event)) newest_ = read_.lsn;
    }
  }
  return newest_;
}

DumpRepeats::DumpRepeats(const EventConsumer& consumer, Background& background,
                         const SessionDump& dump, bool extras, std::function<void()> ready)
    : dump_(dump),
      extras_(extras),
      unseen_(dump.answer),
      read_(LastShown(dump)),
      log_(consumer, background, AfterShown(dump), std::move(ready)) {}

absl::StatusOr<DumpRepeats::Found> DumpRepeats::Find(const Checkpoint& end, size_t& budget) {
  if (is_found_) return Found::kEvent;
  while (true) {
    while (is_beyond_ || (cursor_ && cursor_->Next())) {
      const Event& event = cursor_->event();
      is_beyond_ = event.checkpoint > end;
      if (is_beyond_) return Found::kNone;
      read_ = event.checkpoint;
      if (!unseen_.Note(event) || !IsOfTable(dump_, extras_, *slice_, event)) continue;
      is_found_ = true;
      data_.assign(1, '\0');
      AppendBigEndian32(data_, dump_.serial);
      AppendBigEndian32(data_, count_);
      return Found::kEvent;
    }
    cursor_.reset();
    if (read_ >= end) return Found::kNone;
    if (budget == 0) return Found::kOthers;
    PGC_ASSIGN_OR_RETURN(slice_, log_.TryNext());
    if (!slice_) return Found::kLater;
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
