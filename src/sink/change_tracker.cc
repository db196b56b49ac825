#include "sink/change_tracker.h"

#include "absl/hash/hash.h"

namespace pgc {
namespace {

// Of a table there are two: any of its rows, and those changes that may be of all of its rows.
uint64_t AllRowsOf(uint64_t table) { return absl::Hash<uint64_t>{}(table ^ 0x9e3779b97f4a7c15U); }

}  // namespace

void ChangeTracker::Begin(uint64_t unit, uint64_t committed) {
  while (!units_.empty() && units_.front().number <= committed) {
    for (const uint64_t hash : units_.front().touched) {
      const auto found = last_.find(hash);
      if (found != last_.end() && found->second == units_.front().number) last_.erase(found);
    }
    units_.pop_front();
  }
  units_.push_back({.number = unit, .touched = {}});
  waiting_.clear();
  shared_.clear();
}

bool ChangeTracker::Touch(uint64_t hash) {
  Unit& unit = units_.back();
  const auto [last, is_new] = last_.try_emplace(hash, unit.number);
  if (!is_new && last->second == unit.number) return false;
  unit.touched.push_back(hash);
  last->second = unit.number;
  return !is_new;
}

bool ChangeTracker::IsOfOthers(uint64_t hash) const {
  const auto found = last_.find(hash);
  return found != last_.end() && found->second != units_.back().number;
}

bool ChangeTracker::AddRow(uint64_t table, std::span<const uint64_t> keys) {
  const uint64_t all_rows = AllRowsOf(table);
  bool waits = IsOfOthers(all_rows) || waiting_.contains(all_rows);
  for (const uint64_t key : keys) {
    if (Touch(key) || waiting_.contains(key)) waits = true;
  }
  if (Touch(table)) shared_.insert(table);
  if (waits) {
    waiting_.insert(keys.begin(), keys.end());
    waiting_.insert(table);
  }
  return waits;
}

bool ChangeTracker::AddAnyRow(uint64_t table) {
  const uint64_t all_rows = AllRowsOf(table);
  bool waits = waiting_.contains(table) || shared_.contains(table);
  for (const uint64_t hash : {table, all_rows}) {
    if (Touch(hash)) waits = true;
  }
  if (waits) {
    waiting_.insert(table);
    waiting_.insert(all_rows);
  }
  return waits;
}

void ChangeTracker::AddFreeRow(uint64_t table) {
  if (Touch(table)) shared_.insert(table);
}

void ChangeTracker::Clear() {
  units_.clear();
  last_.clear();
  waiting_.clear();
  shared_.clear();
}

}  // namespace pgc
