#include "dump/pending_xids.h"

#include <algorithm>

namespace pgc {

void PendingXids::Add(uint32_t xid, Lsn commit) {
  Entry entry;
  entry.commit = commit;
  entry.xid = xid;
  entries_.push_back(entry);
}

PendingXids::Ticket PendingXids::Enter() {
  active_.insert(next_);
  return next_++;
}

void PendingXids::Leave(Ticket ticket) {
  active_.erase(ticket);
  const Ticket oldest = active_.empty() ? next_ : *active_.begin();
  std::erase_if(entries_, [oldest](const Entry& entry) { return entry.seen_from <= oldest; });
}

Lsn PendingXids::Place(Ticket ticket, const PgSnapshot& snapshot, Lsn newest) {
  Lsn place = newest;
  bool below = false;
  for (Entry& entry : entries_) {
    if (entry.seen_from <= ticket) continue;
    if (snapshot.Sees(entry.xid)) {
      entry.seen_from = std::min(entry.seen_from, next_);
    } else if (!below) {
      place = Lsn{entry.commit.value - 1};
      below = true;
    }
  }
  return place;
}

}  // namespace pgc
