#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace pgc {

// Which changes have to wait for units of the log that are not committed yet, because they touch
// the same rows. Rows and tables are hashes: two that are the same wait without need.
//
// Units come in the log's order, each with all of its changes in order. Not thread-safe. It holds
// some bytes a row of the units that are not committed.
class ChangeTracker {
 public:
  // A unit whose changes come next; those up to `committed` are done with. From here on until the
  // next Begin an answer holds: a change that may go does so before all of those that wait.
  void Begin(uint64_t unit, uint64_t committed);

  // Notes a change, and says whether it has to wait: for another unit, or for a change of this one
  // that waits. `keys`: of the row before and after.
  bool AddRow(uint64_t table, std::span<const uint64_t> keys);
  // One that may be of any row of the table.
  bool AddAnyRow(uint64_t table);
  // One that takes nothing from others, but on which later ones may depend: a row of a table
  // without unique indexes.
  void AddFreeRow(uint64_t table);

  void Clear();
  size_t size() const { return last_.size(); }

 private:
  struct Unit {
    uint64_t number = 0;
    std::vector<uint64_t> touched;
  };

  // Makes this unit the last one to touch it; whether an earlier one had.
  bool Touch(uint64_t hash);
  bool IsOfOthers(uint64_t hash) const;

  std::deque<Unit> units_;
  absl::flat_hash_map<uint64_t, uint64_t> last_;  // the last unit that touched it
  // Of the unit that is being noted: what waits, and tables that earlier units touch too.
  absl::flat_hash_set<uint64_t> waiting_;
  absl::flat_hash_set<uint64_t> shared_;
};

}  // namespace pgc
