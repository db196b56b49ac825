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
  CheckLate(place);
  while (true) {
    if (!active_) {
      PGC_ASSIGN_OR_RETURN(const bool begun, Begin(place, budget));
      const bool is_held = losses_ && IsHeld(*waiting_, place);
      if (is_held) feed_.WakeSoon();
      if (!begun) return is_held || IsHolding() ? Turn::kWaits : Turn::kStreams;
    }
    PGC_ASSIGN_OR_RETURN(const Turn turn, NextOfActive(place, budget));
    if (active_) return turn;
    // Another may have been ready all the while.
    seen_changes_ = 0;
  }
}

// Whether a dump is active now.
absl::StatusOr<bool> DumpInjector::Begin(const StreamPlace& place, size_t& budget) {
  if (const uint64_t changes = feed_.changes(); changes != seen_changes_) {
    seen_changes_ = changes;
    SetWaiting(feed_.FirstReady());
  }
  if (waiting_ == nullptr) return false;
  // What waited for the rows of one dump does not wait for those of all.
  const bool is_due = held_since_ && Clock::now() - *held_since_ > kMaxHold;
  if (is_due && place.next != nullptr && !held_for_) {
    if (losses_) FetchAgain(place, "its log is read too slowly to know what its rows would lose");
    return false;
  }
  return MayGo(place, budget);
}

void DumpInjector::SetWaiting(std::shared_ptr<const SessionDump> dump) {
  if (dump != nullptr && waiting_ != nullptr && dump->serial == waiting_->serial &&
      dump->answers == waiting_->answers) {
    return;
  }
  losses_.reset();
  repeats_.reset();
  waiting_ = std::move(dump);
}

// Without an active dump behind it, it is done.
absl::StatusOr<DumpInjector::Turn> DumpInjector::NextOfActive(const StreamPlace& place,
                                                              size_t& budget) {
  const bool is_held =
      active_->is_ending || (!active_->is_given_back && IsHeld(*active_->dump, place));
  if (has_turns_ && left_bytes_ == 0 && place.next != nullptr && !is_held) return Turn::kStreams;
  const auto waits = [&] {
    return !active_->is_given_back && (is_held || active_->is_ending || !has_turns_);
  };
  if (!active_->repeat_to) {
    Turn turn = Turn::kStreams;
    PGC_ASSIGN_OR_RETURN(const bool are_out, RowsAreOut(place, is_held, waits(), turn));
    if (!are_out) return turn;
  }
  using Found = DumpRepeats::Found;
  bool more = true;
  while (more) {
    const Checkpoint read = active_->repeats->read();
    const auto found = active_->repeats->Find(*active_->repeat_to, budget);
    if (!found.ok()) {
      CannotRepeat(*active_->dump, found.status());
      break;
    }
    if (active_->repeats->read() > read) active_->stalls_at.reset();
    if (*found == Found::kEvent) return GoIfRoom(waits());
    if (*found == Found::kOthers) return Turn::kOthers;
    if (*found == Found::kLater) {
      if (!active_->is_given_back && HasStalled()) {
        GiveBack("the log does not come, and the changes do not wait for longer");
      }
      return waits() ? Turn::kWaits : Turn::kStreams;
    }
    PGC_ASSIGN_OR_RETURN(more, RepeatsMore(place));
  }
  feed_.Sent(active_->dump->serial);
  has_turns_ = !RepeatsTooMuch();
  active_.reset();
  return Turn::kStreams;
}

// If not, `turn` says what is to be done.
absl::StatusOr<bool> DumpInjector::RowsAreOut(const StreamPlace& place, bool is_held, bool waits,
                                              Turn& turn) {
  Active& active = *active_;
  if (HasRow()) {
    turn = GoIfRoom(waits);
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
  const bool any = in_hand || active.sent_rows > 0;
  active.repeat_to.emplace();
  if (any) {
    PGC_ASSIGN_OR_RETURN(active.repeat_to, HandedOut(place));
  }
  active.is_ending = !any;
  return true;
}

// Once all is repeated that was out behind the rows: whether there is more by now. What is repeated
// then, nothing comes in between.
absl::StatusOr<bool> DumpInjector::RepeatsMore(const StreamPlace& place) {
  if (active_->is_given_back || std::exchange(active_->is_ending, true)) return false;
  PGC_ASSIGN_OR_RETURN(const Checkpoint until, HandedOut(place));
  return std::exchange(*active_->repeat_to, until) < until;
}

// The newest event that this consumer or another one has.
absl::StatusOr<Checkpoint> DumpInjector::HandedOut(const StreamPlace& place) const {
  PGC_ASSIGN_OR_RETURN(const Checkpoint others, consumer_.HandedToOthers());
  return std::max(place.passed, others);
}

// Rows may be read anew, and then show more; what is owed stays what it is.
void DumpInjector::CannotRepeat(const SessionDump& dump, const absl::Status& why) {
  const bool is_owed = dump.info.has_owed();
  const bool is_gone = is_owed && absl::IsDataLoss(why);
  feed_.Requeue(
      dump.serial,
      fmt::format("{}: {}",
                  is_gone ? "a consumer that went away may have had older rows, and the log has "
                            "not any more what came since: rows that were deleted may be back, so "
                            "empty what is kept of the table, and dump all of it"
                  : is_owed
                      ? "the log cannot repeat what came since rows of a consumer that went away"
                      : "its server is behind, and the log cannot repeat what came since",
                  std::string(why.message())),
      is_gone ? pb::DumpInfoRequest::IMPOSSIBLE : pb::DumpInfoRequest::TRY_AGAIN,
      DumpFeed::When::kNowOwing);
}

// Rows are out and what they took back is not: it still comes, as soon as it can, and the stream
// goes on meanwhile. Right it will be when the dump is made anew.
void DumpInjector::GiveBack(std::string_view reason) {
  feed_.Requeue(active_->dump->serial, reason, pb::DumpInfoRequest::TRY_AGAIN,
                DumpFeed::When::kNowOwing);
  active_->is_given_back = true;
  active_->is_ending = false;
  has_turns_ = true;
}

// Whether what is next in the stream cannot come again, and so waits for the rows: without a key it
// would be there twice.
bool DumpInjector::IsHeld(const SessionDump& dump, const StreamPlace& place) {
  if (place.next == nullptr) return false;
  const bool is_held =
      (dump.answer.no_key && IsOfTable(dump, extras_, *place.slice, *place.next)) ||
      (dump.answer.sweep_needed && LosesValues(dump, *place.slice, *place.next));
  if (is_held && !held_since_) held_since_ = Clock::now();
  return is_held;
}

DumpInjector::Turn DumpInjector::GoIfRoom(bool is_held) {
  if (pace_.HasRoomAt(Clock::now())) return Turn::kDumps;
  lacks_room_ = true;
  feed_.WakeSoon();
  return is_held ? Turn::kWaits : Turn::kStreams;
}

// Whether the server of a dump without rows shows all that came before the stream.
void DumpInjector::LookForCommit(size_t& budget) {
  const auto newest = losses_->Find(budget);
  if (newest.ok() && !newest->has_value()) {
    if (budget == 0) feed_.Wake();
    return;
  }
  const uint32_t serial = waiting_->serial;
  seen_changes_ = 0;
  SetWaiting(nullptr);
  if (newest.ok()) {
    feed_.NewestCommitIs(serial, **newest);
  } else {
    feed_.Requeue(serial, fmt::format("whether its server shows all that is not known: {}",
                                      std::string(newest.status().message())));
  }
}

// Whether the stream has come to the place of the dump that waits, which is active then.
absl::StatusOr<bool> DumpInjector::MayGo(const StreamPlace& stream, size_t& budget) {
  const auto wake = [feed = feed_.weak_from_this()] {
    if (const auto alive = feed.lock()) alive->Wake();
  };
  if (waiting_->looks_up_to) {
    // Another machine's log has no index: it would be read from its beginning, if that is there.
    if (consumer_.IsRemote() && waiting_->answer.store_position.empty()) {
      const uint32_t serial = waiting_->serial;
      seen_changes_ = 0;
      SetWaiting(nullptr);
      feed_.Requeue(serial, "whether its server shows all that came before is not known");
      return false;
    }
    if (!losses_) {
      losses_.emplace(consumer_, background_, *waiting_,
                      Checkpoint{.lsn = *waiting_->looks_up_to, .seq = 0}, wake);
    }
    LookForCommit(budget);
    return false;
  }
  if (!IsAtPlace(stream)) {
    // What is next may be what it waits for.
    losses_.reset();
    return false;
  }
  if (repeats_ == nullptr) {
    repeats_ = std::make_unique<DumpRepeats>(consumer_, background_, *waiting_, extras_, wake);
  }
  if (IsExact(waiting_->answer) && !losses_) {
    PGC_ASSIGN_OR_RETURN(const Checkpoint until, HandedOut(stream));
    losses_.emplace(consumer_, background_, *waiting_, until, wake);
  }
  PGC_ASSIGN_OR_RETURN(const bool loses_nothing, LosesNothing(stream, budget));
  if (!loses_nothing) return false;
  held_for_.reset();
  const auto is_open = repeats_->IsOpen();
  if (!is_open.ok()) {
    seen_changes_ = 0;
    CannotRepeat(*waiting_, is_open.status());
    SetWaiting(nullptr);
    return false;
  }
  if (!*is_open) return false;
  active_ = std::make_unique<Active>();
  active_->dump = waiting_;
  active_->repeats = std::move(repeats_);
  std::erase_if(by_silence_, [this](const auto& dump) { return !feed_.IsInHand(dump->serial); });
  if (stream.next == nullptr && consumer_.progress().rest == StreamProgress::Rest::kProbably &&
      IsExact(waiting_->answer)) {
    by_silence_.push_back(waiting_);
  }
  SetWaiting(nullptr);
  return true;
}

// Whether all that the rows show is out; what they may not show comes again.
bool DumpInjector::IsAtPlace(const StreamPlace& stream) {
  const PagesHeader& answer = waiting_->answer;
  const Lsn place = answer.by_snapshot ? answer.upper : answer.applied;
  const StreamProgress progress = consumer_.progress();
  const auto all_is_out = [&] {
    switch (progress.rest) {
      case StreamProgress::Rest::kMore:
        return false;
      case StreamProgress::Rest::kProbably:
        return true;
      case StreamProgress::Rest::kNone:
        return progress.captured >= place;
    }
    return false;
  };
  const bool is_quiet = stream.next == nullptr && all_is_out();
  // What is repeated and comes all the same would be there twice.
  const bool may_come_twice =
      answer.no_key && !is_quiet && progress.may_come_still && stream.own < stream.passed;
  const bool is_there = ((stream.next != nullptr && stream.next->checkpoint.lsn > place) ||
                         stream.own.lsn > place || is_quiet) &&
                        !may_come_twice;
  // It is ahead of the stream, as was asked.
  if (!is_there) held_for_.reset();
  if (is_there && progress.captured >= answer.upper) return true;
  // The captured position moves without an event.
  if (stream.next == nullptr) feed_.WakeSoon();
  return false;
}

// Where it loses something the dump is read again; where it is not known yet, it waits.
absl::StatusOr<bool> DumpInjector::LosesNothing(const StreamPlace& stream, size_t& budget) {
  if (!losses_) return true;
  const auto loses = losses_->Find(budget);
  if (loses.ok() && !loses->has_value()) {
    if (budget == 0) feed_.Wake();
    return false;
  }
  if (loses.ok() && **loses == Lsn{}) return true;
  FetchAgain(stream, !loses.ok() ? std::string(loses.status().message())
                     : waiting_->answer.sweep_needed
                         ? "rows move to other keys faster than they are read, or than its "
                           "server follows"
                         : "its rows are changed faster than they are read, and have no key");
  return false;
}

// The second time the stream waits for it.
void DumpInjector::FetchAgain(const StreamPlace& stream, const std::string& reason) {
  if (waiting_->fetches > 0) {
    held_for_ = waiting_->serial;
    held_until_ = Clock::now() + kMaxHold;
  }
  seen_changes_ = 0;
  feed_.SetPosition(stream.newest_commit);
  feed_.FetchAgain(waiting_->serial, reason);
  SetWaiting(nullptr);
}

// Gives back dumps that went in too early: what is next is older than their rows, and no requeue.
void DumpInjector::CheckLate(const StreamPlace& stream) {
  if (by_silence_.empty() || stream.next == nullptr) return;
  const Checkpoint& next = stream.next->checkpoint;
  std::erase_if(by_silence_, [&](const std::shared_ptr<const SessionDump>& dump) {
    if (!feed_.IsInHand(dump->serial)) return true;
    if (next <= stream.own || next.lsn > dump->answer.applied ||
        !IsOfTable(*dump, extras_, *stream.slice, *stream.next)) {
      return false;
    }
    feed_.Requeue(dump->serial,
                  "an event that its rows show came after them: the store was slow, and seemed to "
                  "have no more");
    return true;
  });
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

// Whether its next row, or what is to be repeated, does not come.
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
    const bool loses = active.dump->info.has_owed() && active.repeats->IsLoss();
    active.repeats->Sent();
    feed_.RepeatSent(active.dump->serial, loses);
    has_turns_ = has_turns_ && !RepeatsTooMuch();
  } else {
    bytes = active.rows->rows[active.next_row].size();
    const bool is_last = active.IsAtLastRow();
    if (is_last) message_ends_ = active.dump->id;
    if (is_last || active.sent_rows == 0) feed_.RowSent(active.dump->serial, is_last);
    ++active.next_row;
    ++active.sent_rows;
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
