#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "pulsar/message_id.h"

namespace pgc {

// Which message of a topic the event with an ordinal came in, kept as runs of events that follow
// one another in one entry. Not thread-safe.
class MessagePlaces {
 public:
  // Of an ordinal above all that were added. Whether it begins a run.
  bool Add(uint64_t ordinal, const pulsar::MessageId& id);
  // Nothing for an ordinal that is not known, or not any more.
  std::optional<pulsar::MessageId> Find(uint64_t ordinal) const;

  // Forgets the run that begins with this ordinal.
  void Erase(uint64_t ordinal) { runs_.erase(ordinal); }
  // Forgets the runs that end before the ordinal, but for the event right before it.
  void EraseBefore(uint64_t ordinal);
  // Forgets the oldest runs until there are so many.
  void Shorten(size_t runs);

 private:
  struct Run {
    pulsar::MessageId first;
    uint64_t count = 0;
  };

  std::map<uint64_t, Run> runs_;  // by the ordinal of the first event
};

}  // namespace pgc
