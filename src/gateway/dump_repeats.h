// What has to come again behind the rows of a dump, and what cannot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/background.h"
#include "event/store.h"
#include "gateway/dump_feed.h"
#include "gateway/log_ahead.h"
#include "gateway/splice.h"

namespace pgc {

// Of a log's events after R, those of transactions that the rows of a dump do not show: all, but
// where the rows are known to show what their snapshot does.
class UnseenOnly {
 public:
  explicit UnseenOnly(const PagesHeader& answer)
      : by_snapshot_(answer.by_snapshot), snapshot_(answer.snapshot) {}

  // Called with each event after R, in order. Whether it is one.
  bool Note(const Event& event);

 private:
  const bool by_snapshot_;
  const PgSnapshot snapshot_;
  bool is_seen_ = false;
};

// Whether not every event of the table may come again behind its rows.
bool IsExact(const PagesHeader& answer);
// Whether an event is one of the dump's table; its TRUNCATE is one for consumers that get `extras`.
bool IsOfTable(const SessionDump& dump, bool extras, const EventSlice& slice, const Event& event);
// Whether it moves a row of that table to another key without all of its values.
bool LosesValues(const SessionDump& dump, const EventSlice& slice, const Event& event);

// Whether something cannot come again behind the rows of a dump. Not thread-safe.
class LossSearch {
 public:
  // Among the events after R, and up to `end` or at U at most. The dump, the consumer and
  // `background` outlive it; `ready` is as LogAhead's.
  LossSearch(const EventConsumer& consumer, Background& background, const SessionDump& dump,
             const Checkpoint& end, std::function<void()> ready);

  // The newest event that moves a row to another key without all of its values, or may be in the
  // rows of a table without a key already; of a dump that `looks_up_to` something, the newest
  // commit before. Zero when there is none; nothing when that is not known yet, because it is not
  // read or the budget is used up. Errors are those of the log.
  absl::StatusOr<std::optional<Lsn>> Find(size_t& budget);

 private:
  bool IsLoss(const EventSlice& slice, const Event& event) const;

  const SessionDump& dump_;
  const Checkpoint end_;
  const Checkpoint log_end_;
  UnseenOnly unseen_;
  Checkpoint read_;
  Lsn newest_;
  LogAhead log_;
};

// The events of a dump's table after R, once more, for what its rows took back.
//
// Not thread-safe. Errors are those of the log.
class DumpRepeats {
 public:
  // The dump, the consumer and `background` outlive it; `ready` is as LogAhead's.
  DumpRepeats(const EventConsumer& consumer, Background& background, const SessionDump& dump,
              bool extras, std::function<void()> ready);
  // Whether the log has its place.
  absl::StatusOr<bool> IsOpen() { return log_.IsOpen(); }

  enum class Found : uint8_t {
    kEvent,
    kNone,
    kOthers,  // the budget is used up
    kLater,   // it is not read yet
  };
  // Goes to the next one up to `end`, which does not fall and is an event that is stored, unless it
  // is there already.
  absl::StatusOr<Found> Find(const Checkpoint& end, size_t& budget);
  // Whether that is at one.
  bool IsAtEvent() const { return is_found_; }
  // Whether that moves a row to another key without all of its values.
  bool IsLoss() const { return LosesValues(dump_, *slice_, cursor_->event()); }
  // What is to be sent, valid until the next call of Find.
  ReplyPart part() const { return PartOf(slice_->block, cursor_->event(), data_); }
  void Sent();
  // The newest event that was looked at.
  const Checkpoint& read() const { return read_; }
  // How many were sent.
  uint32_t count() const { return count_; }

  // Whether a checkpoint is one of these, and of which dump and which number.
  struct Repeat {
    uint32_t serial = 0;
    uint32_t number = 0;
  };
  static std::optional<Repeat> Parse(std::string_view data);

 private:
  const SessionDump& dump_;
  const bool extras_;
  UnseenOnly unseen_;
  Checkpoint read_;
  std::optional<EventSlice> slice_;
  std::optional<SliceCursor> cursor_;
  bool is_beyond_ = false;  // the cursor is at an event that was not to be looked at yet
  bool is_found_ = false;
  uint32_t count_ = 0;
  std::string data_;  // of the checkpoint of what was found
  LogAhead log_;      // from R on
};

}  // namespace pgc
