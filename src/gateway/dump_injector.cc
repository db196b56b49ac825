#include "gateway/dump_injector.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRepeatDataBytes = 9;
constexpr std::string_view kLastRow{"\x01", 1};
constexpr size_t kMinSliceBytes = size_t{16} << 10;
// What a row has around it in its message.
constexpr size_t kOverheadBytes = 24;

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

// Whether not every event of the table may come again behind its rows.
bool IsExact(const PagesHeader& answer) { return answer.sweep_needed || answer.no_key; }

uint32_t XidOf(const Event& begin) {
  for (wire::Reader message(begin.message); message.Next();) {
    if (message.field() != static_cast<uint32_t>(EventKind::kBegin)) continue;
    for (wire::Reader fields(message.bytes()); fields.Next();) {
      if (fields.field() == 3) return static_cast<uint32_t>(fields.number());
    }
  }
  return 0;
}

bool IsOf(const SessionDump& dump, const EventSlice& slice, const Event& event) {
  if (event.table == Event::kNoTable) return false;
  const pgc::TableName& table = slice.block->tables()[event.table];
  return table.schema == dump.schema && table.name == dump.table;
}

// Whether an event moves a row of the dump's table to another key without all of its values.
bool LosesValues(const SessionDump& dump, const EventSlice& slice, const Event& event) {
  if (event.kind != EventKind::kChange || !event.key.moved() || !IsOf(dump, slice, event)) {
    return false;
  }
  const ReplyPart part = PartOf(slice.block, event, {});
  const auto change = Summarize(ChangeOf(part.content));
  return !change || change->new_fields < dump.fields || dump.info.columns_size() > 0;
}

}  // namespace

bool UnseenOnly::Note(const Event& event) {
  if (!by_snapshot_) return true;
  if (event.kind == EventKind::kBegin) is_seen_ = snapshot_.Sees(XidOf(event));
  return !is_seen_;
}

// The first byte is none that the data of a store begins with: an embedded store's has 8 bytes, and
// a Pulsar message id is a protobuf message, which has no field 0.
std::optional<DumpInjector::Repeat> DumpInjector::ParseRepeat(std::string_view data) {
  if (data.size() != kRepeatDataBytes || data[0] != '\0') return std::nullopt;
  return Repeat{.serial = ReadNumber(data.substr(1)), .number = ReadNumber(data.substr(5))};
}

absl::StatusOr<DumpInjector::Turn> DumpInjector::Next(const StreamPlace& place, size_t& budget) {
  if (place.next == nullptr) EndTurnOfStream();
  lacks_room_ = false;
  while (true) {
    if (!active_) {
      PGC_ASSIGN_OR_RETURN(const bool begun, Begin(place));
      if (!begun) return IsHolding() ? Turn::kWaits : Turn::kStreams;
    }
    PGC_ASSIGN_OR_RETURN(const Turn turn, NextOfActive(place, budget));
    if (active_) return turn;
    // Another may have been ready all the while.
    seen_changes_ = 0;
  }
}

// Whether a dump is active now.
absl::StatusOr<bool> DumpInjector::Begin(const StreamPlace& place) {
  if (const uint64_t changes = feed_.changes(); changes != seen_changes_) {
    seen_changes_ = changes;
    waiting_ = feed_.FirstReady();
  }
  if (waiting_ == nullptr) return false;
  // What waited for the rows of one dump does not wait for those of all.
  const bool is_due = held_since_ && Clock::now() - *held_since_ > kMaxHold;
  if (is_due && place.next != nullptr && !held_for_) return false;
  return MayGo(place);
}

// Without an active dump behind it, it is done.
absl::StatusOr<DumpInjector::Turn> DumpInjector::NextOfActive(const StreamPlace& place,
                                                              size_t& budget) {
  const bool is_held = active_->repeat_to_end || IsHeld(place);
  if (stream_goes_ && place.next != nullptr && !is_held) return Turn::kStreams;
  if (!active_->repeat_to) {
    Turn turn = Turn::kStreams;
    if (!RowsAreOut(place, is_held, turn)) return turn;
  }
  while (true) {
    PGC_ASSIGN_OR_RETURN(const Turn turn, FindRepeat(budget));
    if (turn == Turn::kDumps) return GoIfRoom(is_held || active_->repeat_to_end);
    if (turn == Turn::kOthers) return turn;
    if (RepeatsMore(place)) continue;
    feed_.Sent(active_->dump->serial, active_->repeated);
    active_.reset();
    return Turn::kStreams;
  }
}

// If not, `turn` says what is to be done.
bool DumpInjector::RowsAreOut(const StreamPlace& place, bool is_held, Turn& turn) {
  Active& active = *active_;
  if (HasRow()) {
    turn = GoIfRoom(is_held);
    return false;
  }
  bool in_hand = feed_.IsInHand(active.dump->serial);
  if (in_hand && !active.complete) {
    // Events that go out now will have to come again.
    turn = is_held ? Turn::kWaits : Turn::kStreams;
    if (!is_held || !HasStalled()) return false;
    feed_.Requeue(active.dump->serial,
                  "its agent stopped sending rows, and the changes do not wait for longer");
    in_hand = false;
  }
  // Rows of a dump that ended early are out as well: what they took back comes again too.
  const bool any = in_hand || active.any_sent;
  active.repeat_to = any ? std::max(place.passed, consumer_.progress().others) : 0;
  active.repeat_to_end = !any;
  return true;
}

// Once all is repeated that was out behind the rows: whether there is more by now. What is repeated
// then, nothing comes in between.
bool DumpInjector::RepeatsMore(const StreamPlace& place) {
  if (std::exchange(active_->repeat_to_end, true)) return false;
  const uint64_t until = std::max(place.passed, consumer_.progress().others);
  return std::exchange(*active_->repeat_to, until) < until;
}

// Whether what is next in the stream cannot come again, and so waits for the rows: without a key it
// would be there twice.
bool DumpInjector::IsHeld(const StreamPlace& place) {
  if (place.next == nullptr) return false;
  const PagesHeader& answer = active_->dump->answer;
  const bool is_held =
      (answer.no_key && IsOfTable(*place.slice, *place.next)) ||
      (answer.sweep_needed && LosesValues(*active_->dump, *place.slice, *place.next));
  if (is_held && !held_since_) held_since_ = Clock::now();
  return is_held;
}

DumpInjector::Turn DumpInjector::GoIfRoom(bool is_held) {
  if (pace_.HasRoom(Clock::now())) return Turn::kDumps;
  lacks_room_ = true;
  feed_.WakeSoon();
  return is_held ? Turn::kWaits : Turn::kStreams;
}

void DumpInjector::EndTurnOfStream() {
  if (std::exchange(stream_goes_, false)) turn_bytes_ = 0;
}

// Whether the stream has come to the place of the dump that waits, which is active then.
absl::StatusOr<bool> DumpInjector::MayGo(const StreamPlace& stream) {
  // It is let go of before the end.
  const std::shared_ptr<const SessionDump> waiting = waiting_;
  const SessionDump& dump = *waiting;
  const auto wait = [&] {
    // The captured position moves without an event.
    if (stream.next == nullptr) feed_.WakeSoon();
    return false;
  };
  const StreamProgress progress = consumer_.progress();
  const Lsn applied = dump.answer.applied;
  // What the snapshot sees has to be out, and what it does not see comes again.
  const Lsn place = dump.answer.by_snapshot ? dump.answer.upper : applied;
  const bool reached =
      (stream.next != nullptr && stream.next->checkpoint.lsn > place) || stream.newest > place ||
      (stream.next == nullptr && progress.captured >= place && progress.handed_out >= progress.end);
  if (!reached) {
    // It is ahead of the stream, as was asked.
    held_for_.reset();
    return wait();
  }
  if (progress.captured < dump.answer.upper) return wait();
  if (IsExact(dump.answer)) {
    const auto loses = LosesAt(dump, std::max(stream.passed, progress.others));
    if (!loses.ok() || *loses > Lsn{}) {
      const uint32_t serial = std::exchange(waiting_, nullptr)->serial;
      if (dump.fetches > 0) {
        held_for_ = serial;
        held_until_ = Clock::now() + kMaxHold;
      }
      seen_changes_ = 0;
      feed_.SetPosition(stream.newest_commit);
      feed_.FetchAgain(serial,
                       !loses.ok() ? std::string(loses.status().message())
                       : dump.answer.sweep_needed
                           ? "rows move to other keys faster than they are read, or than its "
                             "server follows"
                           : "its rows are changed faster than they are read, and have no key");
      return false;
    }
  }
  held_for_.reset();
  auto repeats = consumer_.OpenReader(After(applied));
  if (!repeats.ok()) {
    seen_changes_ = 0;
    feed_.Requeue(std::exchange(waiting_, nullptr)->serial,
                  fmt::format("its server is behind, and the log cannot repeat what came since: {}",
                              std::string(repeats.status().message())));
    return false;
  }
  active_ = std::make_unique<Active>();
  active_->dump = std::exchange(waiting_, nullptr);
  active_->unseen.emplace(active_->dump->answer);
  active_->repeats = *std::move(repeats);
  return true;
}

// The newest event after R, and before `end` or at most at U, that cannot come again: it moves a
// row to another key without all of its values, or may be in the rows of a table without a key
// already. Zero when there is none.
absl::StatusOr<Lsn> DumpInjector::LosesAt(const SessionDump& dump, uint64_t end) const {
  PGC_ASSIGN_OR_RETURN(const auto reader, consumer_.OpenReader(After(dump.answer.applied)));
  const uint64_t log_end = consumer_.progress().end;
  Lsn newest;
  UnseenOnly unseen(dump.answer);
  while (reader->position() < log_end) {
    PGC_ASSIGN_OR_RETURN(const EventSlice slice, reader->Next({}));
    for (SliceCursor cursor(slice); cursor.Next();) {
      const Event& event = cursor.event();
      if (event.checkpoint.lsn > dump.answer.upper && cursor.ordinal() >= end) return newest;
      if (!unseen.Note(event) || event.kind != EventKind::kChange) continue;
      const bool is_twice = dump.answer.no_key && !dump.answer.by_snapshot &&
                            event.checkpoint.lsn <= dump.answer.upper && IsOf(dump, slice, event);
      if (is_twice || LosesValues(dump, slice, event)) newest = event.checkpoint.lsn;
    }
  }
  return newest;
}

bool DumpInjector::IsHolding() {
  if (!held_for_) return false;
  if (!feed_.IsInHand(*held_for_) || Clock::now() >= held_until_) {
    held_for_.reset();
    return false;
  }
  feed_.WakeSoon();
  return true;
}

// Whether its next row does not come.
bool DumpInjector::HasStalled() {
  const auto now = Clock::now();
  if (!active_->stalls_at) active_->stalls_at = now + kMaxStall;
  if (now >= *active_->stalls_at) return true;
  feed_.WakeSoon();
  return false;
}

// Whether a row is here; which row is the last is known when the next is here, or none will come.
bool DumpInjector::HasRow() {
  Active& active = *active_;
  const uint32_t serial = active.dump->serial;
  if (active.rows && active.next_row == active.rows->rows.size()) active.rows.reset();
  if (!active.rows) {
    active.rows = active.next_rows ? std::exchange(active.next_rows, std::nullopt)
                                   : feed_.TakeRows(serial, active.complete);
    active.next_row = 0;
    if (!active.rows) return false;
  }
  if (active.next_row + 1 < active.rows->rows.size()) return true;
  if (!active.next_rows && !active.complete) {
    active.next_rows = feed_.TakeRows(serial, active.complete);
  }
  if (active.next_rows) return true;
  // The last row that is here of a dump that was put back is not its last.
  return active.complete && feed_.IsInHand(serial);
}

// The next event of the table after R; kStreams when there is none up to where they go.
absl::StatusOr<DumpInjector::Turn> DumpInjector::FindRepeat(size_t& budget) {
  Active& active = *active_;
  if (active.repeat_is_found) return Turn::kDumps;
  while (true) {
    while (active.is_to_look || (active.cursor && active.cursor->Next())) {
      active.is_to_look = active.cursor->ordinal() >= *active.repeat_to;
      if (active.is_to_look) return Turn::kStreams;
      const Event& event = active.cursor->event();
      if (!active.unseen->Note(event) || !IsOfTable(*active.slice, event)) continue;
      active.repeat_is_found = true;
      active.data.assign(1, '\0');
      AppendNumber(active.data, active.dump->serial);
      AppendNumber(active.data, active.repeated);
      return Turn::kDumps;
    }
    active.cursor.reset();
    if (active.repeats->position() >= *active.repeat_to) return Turn::kStreams;
    if (budget == 0) return Turn::kOthers;
    // There is a next one, so this does not wait.
    PGC_ASSIGN_OR_RETURN(active.slice, active.repeats->Next({}));
    budget -= std::min(budget, std::max(active.slice->block->bytes().size(), kMinSliceBytes));
    active.cursor.emplace(*active.slice);
  }
}

bool DumpInjector::IsOfTable(const EventSlice& slice, const Event& event) const {
  const SessionDump& dump = *active_->dump;
  if (event.kind == EventKind::kChange) {
    return IsOf(dump, slice, event) && IsWhatItsKindSays(event);
  }
  if (event.kind != EventKind::kTruncate || !extras_) return false;
  pb::Message message;
  if (!message.ParseFromArray(event.message.data(), static_cast<int>(event.message.size()))) {
    return false;
  }
  return std::any_of(message.truncate().relations().begin(), message.truncate().relations().end(),
                     [&dump](const pb::Truncate::Relation& relation) {
                       return relation.schema() == dump.schema && relation.table() == dump.table;
                     });
}

ReplyPart DumpInjector::part() const {
  const Active& active = *active_;
  if (active.repeat_is_found) {
    return PartOf(active.slice->block, active.cursor->event(), active.data);
  }
  return {.checkpoint = {.lsn = {}, .seq = active.dump->id},
          .data = IsLastRow() ? kLastRow : std::string_view(),
          .dump_lsn = active.dump->answer.applied,
          .kind = EventKind::kChange,
          .content = active.rows->rows[active.next_row],
          .owner = active.rows->bytes};
}

void DumpInjector::Sent() {
  Active& active = *active_;
  size_t bytes = 0;
  if (std::exchange(active.repeat_is_found, false)) {
    bytes = active.cursor->event().message.size();
    ++active.repeated;
  } else {
    bytes = active.rows->rows[active.next_row].size();
    if (IsLastRow()) message_.ends = active.dump->id;
    ++active.next_row;
    active.any_sent = true;
    active.stalls_at.reset();
  }
  bytes += kOverheadBytes;
  ++message_.count;
  message_.bytes += bytes;
  if (!stream_goes_) turn_bytes_ += bytes;
}

void DumpInjector::SentOfStream(size_t bytes) {
  held_since_.reset();
  if (!stream_goes_) return;
  turn_bytes_ -= std::min(bytes, turn_bytes_);
  if (turn_bytes_ == 0) EndTurnOfStream();
}

void DumpInjector::EndMessage() {
  if (message_.count == 0) return;
  pace_.Sent(message_.count, message_.bytes, message_.ends, Clock::now());
  message_ = {};
  if (stream_goes_ || turn_bytes_ < kRowsPerTurn) return;
  stream_goes_ = true;
  turn_bytes_ *= kTimesRows;
}

void DumpInjector::AnsweredLast(uint32_t dump) {
  Answered();
  EndAnswers();
  pace_.AnsweredLast(dump, Clock::now());
}

void DumpInjector::EndAnswers() {
  if (answers_ > 0) pace_.Answered(std::exchange(answers_, 0), Clock::now());
}

void DumpInjector::Refuse(std::string_view reason) {
  feed_.Requeue(active_->dump->serial, reason, pb::DumpInfoRequest::IMPOSSIBLE);
  active_->rows.reset();
  active_->next_rows.reset();
  active_->complete = true;
}

std::string DumpInjector::TableName() const {
  return fmt::format("{}.{}", active_->dump->schema, active_->dump->table);
}

}  // namespace pgc
