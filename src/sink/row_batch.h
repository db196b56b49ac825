// The changes of one table that are on their way to the target, and their net effect.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "event/checkpoint.h"
#include "event/encoder.h"
#include "sink/change.h"
#include "sink/target_table.h"

namespace pgc {

// One change in terms of the target's columns: values are places in RowBatch, a row each.
struct RowChange {
  static constexpr uint32_t kNoRow = UINT32_MAX;

  Operation op = Operation::kInsert;
  uint32_t new_row = kNoRow;
  uint32_t old_row = kNoRow;
  Checkpoint checkpoint;
};

// Rows that become statements of one kind; what is done to each.
struct NetRow {
  uint32_t new_row = RowChange::kNoRow;  // the values to write
  uint32_t old_row = RowChange::kNoRow;  // the values by which the row is found
};

// Some changes of the table, to be made after all earlier runs. Rows of one run are all different:
// deletes go first, then updates, then inserts.
struct RowRun {
  std::vector<NetRow> deletes;
  // Rows without a key, found by all of their values; those that are the same follow one another.
  std::vector<NetRow> image_deletes;
  std::vector<NetRow> updates;      // the key stays
  std::vector<NetRow> key_updates;  // alone in their run, or with none of their kind
  std::vector<NetRow> inserts;
  std::vector<uint32_t> singles;  // alone in their run: numbers of changes, in order
};

// Collects changes of one table. The values stay where they are, in the events of the log, which
// must outlive it. Not thread-safe.
class RowBatch {
 public:
  explicit RowBatch(const TargetTable& table)
      : table_(table), source_types_(table.columns.size()) {}

  // FailedPrecondition when the target's table has not the columns.
  absl::Status Add(const Change& change, const Checkpoint& checkpoint);
  // Takes back what was added last.
  void RemoveLast();

  const TargetTable& table() const { return table_; }
  const std::vector<RowChange>& changes() const { return changes_; }
  size_t bytes() const { return bytes_; }  // of all values
  // A value for each column of the table.
  std::span<const FieldValue> row(uint32_t place) const {
    return {values_.data() + size_t{place} * table_.columns.size(), table_.columns.size()};
  }
  // The type that a column has on the source, as of the newest change; 0: the source has it not.
  uint32_t source_type(size_t column) const { return source_types_[column]; }
  // Whether a row has a value for each column of the source.
  bool IsComplete(uint32_t place) const;

  // The key of a row as bytes; nothing where it is not known, or equal keys can differ in them.
  std::optional<std::string_view> KeyBytes(uint32_t place, std::string& buffer) const;

  // The net effect of all changes. With merged rows it adds rows of its own.
  std::vector<RowRun> Plan();

 private:
  class Planner;
  class ImagePlanner;

  // How the columns of the events before lie in the table; changes seldom.
  struct Layout {
    struct Place {
      std::string name;
      uint32_t oid = 0;
      size_t column = 0;
    };
    std::vector<Place> places;
  };

  absl::Status Fill(const std::vector<ChangeField>& fields, Layout& layout, uint32_t& row);
  absl::Status Place(const ChangeField& field, Layout::Place& place);
  // Of `later`, with the values that it does not have from `earlier`.
  uint32_t MergeRows(uint32_t earlier, uint32_t later);
  // Whether rows can be sent as values of the table's row type.
  bool Fits(const FieldValue& value, const ChangeField& field, const TargetColumn& column) const;

  const TargetTable& table_;
  std::vector<RowChange> changes_;
  std::vector<FieldValue> values_;
  std::vector<uint32_t> source_types_;
  Layout new_layout_;
  Layout old_layout_;
  size_t bytes_ = 0;
  // A change has a value that a row of the table's type cannot have; all are sent one by one.
  bool one_by_one_ = false;
};

}  // namespace pgc
