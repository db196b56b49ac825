#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/background.h"
#include "event/store.h"
#include "gateway/dump_feed.h"
#include "gateway/dump_pace.h"
#include "gateway/dump_repeats.h"
#include "gateway/splice.h"

namespace pgc {

// Where a session is in its stream.
struct StreamPlace {
  // The event that it would send next, if there is one, and where that is from.
  const Event* next = nullptr;
  const EventSlice* slice = nullptr;
  // The newest of all that it sent or passed over, and of what other consumers may have had.
  Checkpoint passed;
  // Of the former alone.
  Checkpoint own;
  Lsn newest_commit;  // of the transactions among it
};

// Puts the rows of dumps into the stream, at their place (docs/decisions/dump-place.md):
//
// Rows that show every commit up to R go after the last event at or below R, and before the next.
// When the stream is past R already, or goes on while rows are still to be sent, the events of the
// table after R are sent once more behind them, with nothing in between at the end, so that
// whatever the rows took back comes again.
//
// The stream goes on between the rows: after each kBytesPerTurn of them its events go first, as
// many as there are; but a byte of rows may go for kRowsShare bytes of a stream that always has
// more. And no more rows are ahead of it than a DumpPace allows.
// All that goes out of the table meanwhile has to come again. Where that is more than
// kMostRepeats for each row, it only grows with the stream going on, and so the stream waits until
// dumps need less.
//
// What cannot come again is an UPDATE that moves a row to another key without its unchanged values:
// they are taken from where the row was, and by now something else may be there. So where one lies
// after R the rows are read again, and the second time the stream waits for them, up to kMaxHold.
// Of a table without a key nothing may come again that its rows show already, so there it is any
// event between R and U. For the same reason such an event, or any of a table without a key, waits
// while the rows go out, but no longer than kMaxStall for the next of them.
//
// Not thread-safe: the session's, under its lock.
class DumpInjector {
 public:
  // All outlive this. `extras`: the consumer gets TRUNCATEs; `batched`: a message has many rows.
  DumpInjector(DumpFeed& feed, EventConsumer& consumer, Background& background, bool extras,
               bool batched)
      : feed_(feed),
        consumer_(consumer),
        background_(background),
        extras_(extras),
        pace_(batched ? DumpPace::kMostQueueBatched : DumpPace::kMostQueue) {}

  static constexpr std::chrono::milliseconds kMaxHold{2'000};
  static constexpr std::chrono::milliseconds kMaxStall{5'000};
  static constexpr size_t kBytesPerTurn = size_t{16} << 10;
  static constexpr size_t kRowsShare = 4;
  static constexpr uint64_t kMostRepeats = 2;
  static constexpr uint64_t kFreeRepeats = 50;  // of a dump, however small

  enum class Turn : uint8_t {
    kStreams,  // the stream goes on
    kDumps,    // part() is to be sent before anything of the stream
    kWaits,    // nothing may go before rows that are not here, or may not go yet
    kOthers,   // this turn has looked through enough
  };
  absl::StatusOr<Turn> Next(const StreamPlace& place, size_t& budget);
  // Whether Next would say kDumps because of a row, wherever the session is by now.
  bool IsAtRow() {
    return active_ && !active_->repeat_to && (left_bytes_ > 0 || !has_turns_) && pace_.HasRoom() &&
           HasRow();
  }
  // The same, whatever happens meanwhile.
  bool IsSurelyAtRow() { return IsAtRow() && active_->next_row + 1 < active_->rows->rows.size(); }

  // What is to be sent, valid until the next call of Next or Sent.
  ReplyPart part() const;
  void Sent();
  // Something of the stream was.
  void SentOfStream(size_t bytes);
  // What was sent since the last call is one message.
  void EndMessage();
  // The consumer answered for a row or a repeat; or for the last row of the dump with this id.
  void Answered() { ++answers_; }
  void AnsweredLast(uint32_t dump);
  // It put one back, and its dump with it.
  void Requeued() { pace_.Forget(); }
  // That was all for now. Whether what Next did not let go for want of room may go by now.
  bool EndAnswers();
  // What is to be sent cannot be: its dump goes back with this reason.
  void Refuse(std::string_view reason);
  // Of what is to be sent, for messages.
  std::string TableName() const;

 private:
  // The dump that is being sent.
  struct Active {
    std::shared_ptr<const SessionDump> dump;
    std::unique_ptr<DumpRepeats> repeats;
    std::optional<PagesRows> rows;
    size_t next_row = 0;
    std::optional<PagesRows> next_rows;  // behind them: known to be there
    bool complete = false;               // nothing comes behind these
    uint64_t sent_rows = 0;
    // While the next row, or what is to be repeated, does not come.
    std::optional<std::chrono::steady_clock::time_point> stalls_at;
    std::optional<Checkpoint> repeat_to;  // once the rows are out
    bool is_ending = false;               // the stream does not go on any more before that
    bool is_given_back = false;           // what is repeated is no more than the best that there is

    bool IsAtLastRow() const { return next_row + 1 == rows->rows.size() && !next_rows; }
  };

  absl::StatusOr<bool> Begin(const StreamPlace& place, size_t& budget);
  absl::StatusOr<Turn> NextOfActive(const StreamPlace& place, size_t& budget);
  absl::StatusOr<bool> RowsAreOut(const StreamPlace& place, bool is_held, bool waits, Turn& turn);
  absl::StatusOr<bool> RepeatsMore(const StreamPlace& place);
  bool IsHeld(const SessionDump& dump, const StreamPlace& place);
  Turn GoIfRoom(bool is_held);
  bool HasStalled();
  bool HasRow();
  void SetWaiting(std::shared_ptr<const SessionDump> dump);
  absl::StatusOr<bool> MayGo(const StreamPlace& stream, size_t& budget);
  void LookForCommit(size_t& budget);
  bool IsAtPlace(const StreamPlace& stream);
  absl::StatusOr<bool> LosesNothing(const StreamPlace& stream, size_t& budget);
  void FetchAgain(const StreamPlace& stream, const std::string& reason);
  void CheckLate(const StreamPlace& stream);
  absl::StatusOr<Checkpoint> HandedOut(const StreamPlace& place) const;
  bool IsHolding();
  void CannotRepeat(const SessionDump& dump, const absl::Status& why);
  void GiveBack(std::string_view reason);
  bool RepeatsTooMuch() const {
    return active_->repeats->count() > kMostRepeats * active_->sent_rows + kFreeRepeats;
  }

  DumpFeed& feed_;
  EventConsumer& consumer_;
  Background& background_;
  const bool extras_;
  uint64_t seen_changes_ = 0;  // of the feed; 0: to be looked at again
  // The next dump, and what is read of the log for it.
  std::shared_ptr<const SessionDump> waiting_;
  std::optional<LossSearch> losses_;
  std::unique_ptr<DumpRepeats> repeats_;
  // The stream is held until this one is here, but not for long.
  std::optional<uint32_t> held_for_;
  std::chrono::steady_clock::time_point held_until_;
  std::unique_ptr<Active> active_;
  // Dumps for whose place it was taken that nothing had come for a while.
  std::vector<std::shared_ptr<const SessionDump>> by_silence_;
  // Since when an event of the stream waits for the rows of its table.
  std::optional<std::chrono::steady_clock::time_point> held_since_;
  bool has_turns_ = true;              // the stream, between rows
  size_t left_bytes_ = kBytesPerTurn;  // of rows before it has one
  // What the message has of dumps that is being made, and a dump that it ends.
  uint64_t message_rows_ = 0;
  std::optional<uint32_t> message_ends_;
  uint64_t answers_ = 0;  // that the pace is not told of yet
  DumpPace pace_;
  bool lacks_room_ = false;
};

}  // namespace pgc
