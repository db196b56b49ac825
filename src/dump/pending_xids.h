#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "event/lsn.h"
#include "event/pg_snapshot.h"

namespace pgc {

// The captured transactions that a snapshot of their source may not see, in the order of the log:
// a commit is in the log before others see it.
//
// One is forgotten once a snapshot has shown it visible and all snapshots that may be older are
// done with. So who takes a snapshot enters before that, and leaves when its place is known.
// Not thread-safe.
class PendingXids {
 public:
  using Ticket = uint64_t;

  // In the order of the log.
  void Add(uint32_t xid, Lsn commit);

  Ticket Enter();
  void Leave(Ticket ticket);

  // Where a snapshot that was taken since Enter stands: just below the first transaction that it
  // does not see; `newest`, which is the newest added or later, when it sees them all.
  Lsn Place(Ticket ticket, const PgSnapshot& snapshot, Lsn newest);

  bool idle() const { return active_.empty(); }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Lsn commit;
    // Tickets from this one on are of snapshots that see it.
    Ticket seen_from = std::numeric_limits<Ticket>::max();
    uint32_t xid = 0;
  };

  std::vector<Entry> entries_;
  std::set<Ticket> active_;
  Ticket next_ = 0;
};

}  // namespace pgc
