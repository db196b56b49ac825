#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "event/checkpoint.h"
#include "pulsar/message_id.h"

namespace pgc {

// Where some of a topic's events lie, so that one between them is found by reading on from the one
// before: of each entry one, and the further back, the fewer, so that what is read in vain is a
// fraction of what has come since. Not thread-safe.
class PlaceMarks {
 public:
  // Of an event; one that is not newer than the last is not kept.
  void Add(const Checkpoint& checkpoint, const pulsar::MessageId& id);
  // Of one that may be far ahead; takes the place of an earlier one.
  void SetAhead(const Checkpoint& checkpoint, const pulsar::MessageId& id);
  // The place of the newest that is known up to this one, if any is.
  std::optional<pulsar::MessageId> NewestUpTo(const Checkpoint& checkpoint) const;

 private:
  // Of those that a level has no room for, the next keeps one of two.
  static constexpr size_t kPerLevel = 128;
  static constexpr size_t kMaxLevels = 40;
  struct Mark {
    Checkpoint checkpoint;
    pulsar::MessageId id;
  };

  std::vector<std::deque<Mark>> levels_;  // the newest first, each with its newest at the back
  std::optional<Mark> oldest_;
  std::optional<Mark> ahead_;
};

}  // namespace pgc
