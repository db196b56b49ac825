// What has to come again behind the rows of a dump, and what cannot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/store.h"
#include "gateway/dump_feed.h"
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
// The newest event after R, and before the ordinal `end` or at most at U, that cannot come again:
// it moves a row to another key without all of its values, or may be in the rows of a table without
// a key already. Zero when there is none.
absl::StatusOr<Lsn> LosesAt(const EventConsumer& consumer, const SessionDump& dump, uint64_t end);

// The events of a dump's table after R, once more, for what its rows took back.
//
// Not thread-safe. Errors are those of the log.
class DumpRepeats {
 public:
  // The dump and the consumer outlive it.
  static absl::StatusOr<std::unique_ptr<DumpRepeats>> Open(const EventConsumer& consumer,
                                                           const SessionDump& dump, bool extras);

  enum class Found : uint8_t {
    kEvent,
    kNone,
    kOthers,  // the budget is used up
  };
  // Goes to the next one, unless it is there already. `end` is an ordinal, which does not fall.
  absl::StatusOr<Found> Find(uint64_t end, size_t& budget);
  // Whether that is at one.
  bool IsAtEvent() const { return is_found_; }
  // What is to be sent, valid until the next call of Find.
  ReplyPart part() const { return PartOf(slice_->block, cursor_->event(), data_); }
  void Sent();
  // How many were sent.
  uint32_t count() const { return count_; }

  // Whether a checkpoint is one of these, and of which dump and which number.
  struct Repeat {
    uint32_t serial = 0;
    uint32_t number = 0;
  };
  static std::optional<Repeat> Parse(std::string_view data);

 private:
  DumpRepeats(const SessionDump& dump, bool extras, std::unique_ptr<EventReader> log);

  const SessionDump& dump_;
  const bool extras_;
  const std::unique_ptr<EventReader> log_;  // from R on
  UnseenOnly unseen_;
  std::optional<EventSlice> slice_;
  std::optional<SliceCursor> cursor_;
  bool is_beyond_ = false;  // the cursor is at an event that was not to be looked at yet
  bool is_found_ = false;
  uint32_t count_ = 0;
  std::string data_;  // of the checkpoint of what was found
};

}  // namespace pgc
