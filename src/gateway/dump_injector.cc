#include "gateway/dump_injector.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kLastRow{"\x01", 1};

}  // namespace

absl::StatusOr<DumpInjector::Turn> DumpInjector::Next(const StreamPlace& place, size_t& budget) {
  if (place.next == nullptr) left_bytes_ = kBytesPerTurn;
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
  const bool is_held = active_->is_ending || IsHeld(place);
  if (left_bytes_ == 0 && place.next != nullptr && !is_held) return Turn::kStreams;
  if (!active_->repeat_to) {
    Turn turn = Turn::kStreams;
    if (!RowsAreOut(place, is_held, turn)) return turn;
  }
  do {
    PGC_ASSIGN_OR_RETURN(const auto found, active_->repeats->Find(*active_->repeat_to, budget));
    if (found == DumpRepeats::Found::kEvent) return GoIfRoom(is_held || active_->is_ending);
    if (found == DumpRepeats::Found::kOthers) return Turn::kOthers;
  } while (RepeatsMore(place));
  feed_.Sent(active_->dump->serial, active_->repeats->count());
  active_.reset();
  return Turn::kStreams;
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
  active.is_ending = !any;
  return true;
}

// Once all is repeated that was out behind the rows: whether there is more by now. What is repeated
// then, nothing comes in between.
bool DumpInjector::RepeatsMore(const StreamPlace& place) {
  if (std::exchange(active_->is_ending, true)) return false;
  const uint64_t until = std::max(place.passed, consumer_.progress().others);
  return std::exchange(*active_->repeat_to, until) < until;
}

// Whether what is next in the stream cannot come again, and so waits for the rows: without a key it
// would be there twice.
bool DumpInjector::IsHeld(const StreamPlace& place) {
  if (place.next == nullptr) return false;
  const PagesHeader& answer = active_->dump->answer;
  const bool is_held =
      (answer.no_key && IsOfTable(*active_->dump, extras_, *place.slice, *place.next)) ||
      (answer.sweep_needed && LosesValues(*active_->dump, *place.slice, *place.next));
  if (is_held && !held_since_) held_since_ = Clock::now();
  return is_held;
}

DumpInjector::Turn DumpInjector::GoIfRoom(bool is_held) {
  if (pace_.HasRoomAt(Clock::now())) return Turn::kDumps;
  lacks_room_ = true;
  feed_.WakeSoon();
  return is_held ? Turn::kWaits : Turn::kStreams;
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
    const auto loses = LosesAt(consumer_, dump, std::max(stream.passed, progress.others));
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
  auto repeats = DumpRepeats::Open(consumer_, dump, extras_);
  if (!repeats.ok()) {
    seen_changes_ = 0;
    feed_.Requeue(std::exchange(waiting_, nullptr)->serial,
                  fmt::format("its server is behind, and the log cannot repeat what came since: {}",
                              std::string(repeats.status().message())));
    return false;
  }
  active_ = std::make_unique<Active>();
  active_->dump = std::exchange(waiting_, nullptr);
  active_->repeats = *std::move(repeats);
  return true;
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

ReplyPart DumpInjector::part() const {
  const Active& active = *active_;
  if (active.repeats->IsAtEvent()) return active.repeats->part();
  return {.checkpoint = {.lsn = {}, .seq = active.dump->id},
          .data = active.IsAtLastRow() ? kLastRow : std::string_view(),
          .dump_lsn = active.dump->answer.applied,
          .kind = EventKind::kChange,
          .content = active.rows->rows[active.next_row],
          .owner = active.rows->bytes};
}

void DumpInjector::Sent() {
  Active& active = *active_;
  size_t bytes = 0;
  if (active.repeats->IsAtEvent()) {
    bytes = active.repeats->part().content.size();
    active.repeats->Sent();
  } else {
    bytes = active.rows->rows[active.next_row].size();
    if (active.IsAtLastRow()) message_ends_ = active.dump->id;
    ++active.next_row;
    active.any_sent = true;
    active.stalls_at.reset();
  }
  left_bytes_ -= std::min(bytes, left_bytes_);
  ++message_rows_;
}

void DumpInjector::SentOfStream(size_t bytes) {
  held_since_.reset();
  left_bytes_ = std::min(left_bytes_ + bytes / kRowsShare + 1, kBytesPerTurn);
}

void DumpInjector::EndMessage() {
  if (message_rows_ == 0) return;
  pace_.Sent(std::exchange(message_rows_, 0), std::exchange(message_ends_, std::nullopt),
             Clock::now());
}

void DumpInjector::AnsweredLast(uint32_t dump) {
  ++answers_;
  (void)EndAnswers();
  pace_.AnsweredLast(dump, Clock::now());
}

bool DumpInjector::EndAnswers() {
  if (answers_ > 0) pace_.Answered(std::exchange(answers_, 0), Clock::now());
  return lacks_room_ && pace_.HasRoom();
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
