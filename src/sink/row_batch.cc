#include "sink/row_batch.h"

#include <fmt/format.h>

#include <deque>
#include <utility>

#include "base/big_endian.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

std::string_view View(const FieldValue& value) {
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

bool IsValue(const FieldValue& value) {
  return value.kind == FieldValue::Kind::kBinary || value.kind == FieldValue::Kind::kText;
}

}  // namespace

absl::Status RowBatch::Place(const ChangeField& field, Layout::Place& place) {
  const auto column = table_.Find(field.name);
  if (!column.has_value()) {
    return absl::FailedPreconditionError(
        fmt::format("{} has no column {} on the target: add it as it is on the source",
                    table_.quoted, QuoteIdentifier(field.name)));
  }
  place = {.name = std::string(field.name), .oid = field.oid, .column = *column};
  return absl::OkStatus();
}

bool RowBatch::Fits(const FieldValue& value, const ChangeField& field,
                    const TargetColumn& column) const {
  // Of user-defined types only the target's own OIDs are known: they are taken to be the same type.
  return value.kind != FieldValue::Kind::kText &&
         (field.oid == column.type_oid ||
          (field.oid >= kFirstUserOid && column.type_oid >= kFirstUserOid));
}

absl::Status RowBatch::Fill(const std::vector<ChangeField>& fields, Layout& layout, uint32_t& row) {
  const size_t width = table_.columns.size();
  if (width == 0) {
    Layout::Place none;
    return Place(fields[0], none);
  }
  row = static_cast<uint32_t>(values_.size() / width);
  values_.resize(values_.size() + width);
  FieldValue* const values = values_.data() + size_t{row} * width;
  if (layout.places.size() < fields.size()) layout.places.resize(fields.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    const ChangeField& field = fields[i];
    Layout::Place& place = layout.places[i];
    if (place.oid != field.oid || place.name != field.name) {
      PGC_RETURN_IF_ERROR(Place(field, place));
      source_types_[place.column] = field.oid;
    }
    const TargetColumn& column = table_.columns[place.column];
    values[place.column] = field.value;
    bytes_ += field.value.bytes.size();
    if (!Fits(field.value, field, column)) one_by_one_ = true;
  }
  return absl::OkStatus();
}

absl::Status RowBatch::Add(const Change& change, const Checkpoint& checkpoint) {
  RowChange row{.op = change.op, .checkpoint = checkpoint};
  if (!change.new_row.empty()) {
    PGC_RETURN_IF_ERROR(Fill(change.new_row, new_layout_, row.new_row));
    if (table_.key.empty()) table_.of_source.resize(table_.columns.size());
    if (table_.key.empty()) {
      for (const Layout::Place& place : new_layout_.places) table_.of_source[place.column] = true;
    }
  }
  if (!change.old_row.empty()) {
    PGC_RETURN_IF_ERROR(Fill(change.old_row, old_layout_, row.old_row));
  }
  changes_.push_back(row);
  return absl::OkStatus();
}

void RowBatch::RemoveLast() {
  const RowChange& last = changes_.back();
  const size_t width = table_.columns.size();
  size_t rows = width == 0 ? 0 : values_.size() / width;
  rows -= (last.new_row != RowChange::kNoRow ? 1U : 0U) + (last.old_row != RowChange::kNoRow);
  values_.resize(rows * width);
  changes_.pop_back();
}

std::optional<std::string_view> RowBatch::KeyBytes(uint32_t place, std::string& buffer) const {
  if (table_.key.empty() || !table_.key_is_bytes || place == RowChange::kNoRow) return std::nullopt;
  const auto values = row(place);
  buffer.clear();
  for (const size_t column : table_.key) {
    const bool is_same_type = source_types_[column] == table_.columns[column].type_oid;
    if (values[column].kind != FieldValue::Kind::kBinary || !is_same_type) return std::nullopt;
    const std::string_view value = View(values[column]);
    if (table_.key.size() == 1) return value;
    AppendBigEndian32(buffer, static_cast<uint32_t>(value.size()));
    buffer += value;
  }
  return buffer;
}

bool RowBatch::IsComplete(uint32_t place) const {
  const auto values = row(place);
  for (size_t i = 0; i < values.size(); ++i) {
    if (source_types_[i] != 0 && values[i].kind == FieldValue::Kind::kAbsent) return false;
  }
  return true;
}

uint32_t RowBatch::MergeRows(uint32_t earlier, uint32_t later) {
  const size_t width = table_.columns.size();
  bool complete = true;
  for (const FieldValue& value : row(later)) {
    complete = complete && value.kind != FieldValue::Kind::kAbsent;
  }
  if (complete) return later;
  const auto merged = static_cast<uint32_t>(values_.size() / width);
  values_.resize(values_.size() + width);
  const auto old_values = row(earlier);
  const auto new_values = row(later);
  for (size_t i = 0; i < width; ++i) {
    values_[size_t{merged} * width + i] =
        new_values[i].kind == FieldValue::Kind::kAbsent ? old_values[i] : new_values[i];
  }
  return merged;
}

// Goes through the changes in order. What a later change of the same row makes of an earlier one is
// done here instead of on the target.
class RowBatch::Planner {
 public:
  explicit Planner(RowBatch& batch) : batch_(batch), table_(batch.table_) {}

  std::vector<RowRun> Plan() {
    for (uint32_t i = 0; i < batch_.changes_.size(); ++i) {
      const RowChange change = batch_.changes_[i];
      if (IsSingle(change)) {
        if (runs_.empty() || runs_.back().singles.empty()) NextRun();
        runs_.back().singles.push_back(i);
      } else if (change.op != Operation::kInsert && MovesKey(change)) {
        MoveKey(change);
      } else {
        Merge(change);
      }
    }
    Finish();
    return std::move(runs_);
  }

 private:
  enum class State : uint8_t { kInsert, kUpdate, kDelete, kReplace, kNothing };
  struct Entry {
    State state;
    uint32_t new_row;
    uint32_t old_row;  // has the key
  };

  // Whether the change is found by other than the key, or cannot be sent in a set.
  bool IsSingle(const RowChange& change) const {
    if (batch_.one_by_one_ || table_.one_by_one) return true;
    if (change.op == Operation::kInsert) return false;
    if (table_.key.empty()) return true;
    return !HasKey(change.old_row != RowChange::kNoRow ? change.old_row : change.new_row);
  }
  bool HasKey(uint32_t row) const {
    if (row == RowChange::kNoRow) return false;
    const auto values = batch_.row(row);
    for (const size_t column : table_.key) {
      if (!IsValue(values[column])) return false;
    }
    return true;
  }
  bool MovesKey(const RowChange& change) const {
    if (change.op != Operation::kUpdate || change.old_row == RowChange::kNoRow) return false;
    const auto before = batch_.row(change.old_row);
    const auto after = batch_.row(change.new_row);
    for (const size_t column : table_.key) {
      if (View(before[column]) != View(after[column])) return true;
    }
    return false;
  }

  // The key of a row, valid until the run ends.
  std::string_view KeyOf(uint32_t row) {
    const auto values = batch_.row(row);
    if (table_.key.size() == 1) return View(values[table_.key[0]]);
    std::string key;
    for (const size_t column : table_.key) {
      const std::string_view value = View(values[column]);
      const auto length = static_cast<uint32_t>(value.size());
      key.append(reinterpret_cast<const char*>(&length), sizeof length);
      key += value;
    }
    return keys_.emplace_back(std::move(key));
  }

  void NextRun() {
    Finish();
    runs_.emplace_back();
  }
  // Puts the merged rows into their run.
  void Finish() {
    for (const Entry& entry : entries_) {
      RowRun& run = runs_.back();
      const NetRow row{.new_row = entry.new_row, .old_row = entry.old_row};
      switch (entry.state) {
        case State::kInsert:
          run.inserts.push_back(row);
          break;
        case State::kUpdate:
          run.updates.push_back(row);
          break;
        case State::kDelete:
          run.deletes.push_back(row);
          break;
        case State::kReplace:
          run.deletes.push_back(row);
          run.inserts.push_back(row);
          break;
        case State::kNothing:
          break;
      }
    }
    entries_.clear();
    by_key_.clear();
    keys_.clear();
    open_ = false;
    moving_ = false;
  }
  void Open() {
    if (open_) return;
    NextRun();
    open_ = true;
  }

  void MoveKey(const RowChange& change) {
    const auto taken = [this](std::string_view key) { return by_key_.contains(key); };
    // Both keys must be free of others of the run, so that their order is of no account.
    std::string_view before = KeyOf(change.old_row);
    std::string_view after = KeyOf(change.new_row);
    if (!moving_ || table_.ordered || taken(before) || taken(after)) {
      NextRun();
      moving_ = true;
      before = KeyOf(change.old_row);
      after = KeyOf(change.new_row);
    }
    by_key_[before] = 0;
    by_key_[after] = 0;
    runs_.back().key_updates.push_back({.new_row = change.new_row, .old_row = change.old_row});
  }

  void Merge(const RowChange& change) {
    if (moving_) Finish();
    Open();
    const uint32_t found_by = change.op == Operation::kInsert || change.old_row == RowChange::kNoRow
                                  ? change.new_row
                                  : change.old_row;
    if (table_.key.empty()) {  // inserts only; the others are singles
      entries_.push_back(EntryOf(change, found_by));
      return;
    }
    if (table_.ordered && !entries_.empty() && StateOf(change.op) != entries_.back().state)
      Reopen();
    if (!HasKey(found_by)) {  // an INSERT without the key's values: the target will say
      entries_.push_back(EntryOf(change, found_by));
      return;
    }
    const auto [place, is_new] =
        by_key_.try_emplace(KeyOf(found_by), static_cast<uint32_t>(entries_.size()));
    if (is_new) {
      entries_.push_back(EntryOf(change, found_by));
      return;
    }
    if (!table_.ordered && Combine(entries_[place->second], change)) return;
    Reopen();
    by_key_[KeyOf(found_by)] = 0;
    entries_.push_back(EntryOf(change, found_by));
  }
  void Reopen() {
    Finish();
    Open();
  }

  static State StateOf(Operation op) {
    return op == Operation::kInsert   ? State::kInsert
           : op == Operation::kUpdate ? State::kUpdate
                                      : State::kDelete;
  }
  static Entry EntryOf(const RowChange& change, uint32_t found_by) {
    return {.state = StateOf(change.op), .new_row = change.new_row, .old_row = found_by};
  }

  // What an entry is after one more change of its row; false when they cannot follow one another.
  bool Combine(Entry& entry, const RowChange& change) {
    const bool is_there = entry.state != State::kDelete && entry.state != State::kNothing;
    if ((change.op == Operation::kInsert) == is_there) return false;
    switch (change.op) {
      case Operation::kInsert:
        entry.state = entry.state == State::kDelete ? State::kReplace : State::kInsert;
        entry.new_row = change.new_row;
        return true;
      case Operation::kUpdate:
        entry.new_row = batch_.MergeRows(entry.new_row, change.new_row);
        return true;
      case Operation::kDelete:
        entry.state = entry.state == State::kInsert ? State::kNothing : State::kDelete;
        return true;
    }
    return false;
  }

  RowBatch& batch_;
  const TargetTable& table_;
  std::vector<RowRun> runs_;
  // Of the run that is being made.
  bool open_ = false;
  bool moving_ = false;  // it has changes of keys
  std::vector<Entry> entries_;
  absl::flat_hash_map<std::string_view, uint32_t> by_key_;
  std::deque<std::string> keys_;  // those of several columns
};

// Of a table without a key. Rows that are the same in all cannot be told apart, so that only their
// numbers count: an UPDATE is a DELETE of one and an INSERT of another, and a row that was made
// here can be the one that is deleted.
class RowBatch::ImagePlanner {
 public:
  explicit ImagePlanner(RowBatch& batch) : batch_(batch), table_(batch.table_) {}

  // Nothing where the changes are to be made one by one.
  std::optional<RowRun> Plan() {
    if (!table_.key.empty() || table_.has_triggers || table_.one_by_one || batch_.one_by_one_) {
      return std::nullopt;
    }
    bool only_inserts = true;
    bool updates = false;
    for (const RowChange& change : batch_.changes_) {
      only_inserts = only_inserts && change.op == Operation::kInsert;
      updates = updates || change.op == Operation::kUpdate;
    }
    if (only_inserts || (updates && !IsOfSourceOnly())) return std::nullopt;
    for (size_t i = 0; i < batch_.changes_.size(); ++i) {
      const RowChange change = batch_.changes_[i];
      if (change.op != Operation::kInsert && !Delete(change.old_row)) return std::nullopt;
      if (change.op == Operation::kInsert) Insert(change.new_row);
      if (change.op == Operation::kUpdate) {
        const uint32_t row = batch_.MergeRows(change.old_row, change.new_row);
        if (!batch_.IsComplete(row)) return std::nullopt;
        Insert(row);
      }
    }
    return Finish();
  }

 private:
  // What only the target has stays as it is in an UPDATE.
  bool IsOfSourceOnly() const {
    for (size_t i = 0; i < table_.columns.size(); ++i) {
      if (!table_.columns[i].generated && batch_.source_types_[i] == 0) return false;
    }
    return true;
  }
  std::string_view ImageOf(uint32_t row) {
    std::string image;
    for (const FieldValue& value : batch_.row(row)) {
      const bool is_null = !IsValue(value);
      AppendBigEndian32(image, is_null ? UINT32_MAX : static_cast<uint32_t>(value.bytes.size()));
      if (!is_null) image += View(value);
    }
    const auto known = rows_.find(image);
    return known != rows_.end() ? known->first : std::string_view(images_.emplace_back(image));
  }
  void Insert(uint32_t row) { rows_[ImageOf(row)].made.push_back(row); }
  // False when the row cannot be found by one of its values.
  bool Delete(uint32_t row) {
    if (row == RowChange::kNoRow) return false;
    bool can_be_found = false;
    const auto values = batch_.row(row);
    for (size_t i = 0; i < values.size(); ++i) {
      can_be_found = can_be_found || (IsValue(values[i]) && !table_.columns[i].hash_equals.empty());
    }
    if (!can_be_found) return false;
    Rows& rows = rows_[ImageOf(row)];
    if (rows.made.empty()) {
      rows.deleted.push_back(row);
    } else {
      rows.made.pop_back();
    }
    return true;
  }
  RowRun Finish() const {
    RowRun run;
    for (const std::string& image : images_) {
      const Rows& rows = rows_.at(image);
      for (const uint32_t row : rows.deleted) run.image_deletes.push_back({.old_row = row});
      for (const uint32_t row : rows.made) run.inserts.push_back({.new_row = row});
    }
    return run;
  }

  struct Rows {
    std::vector<uint32_t> made;     // that the target does not have yet
    std::vector<uint32_t> deleted;  // that it has
  };

  RowBatch& batch_;
  const TargetTable& table_;
  std::deque<std::string> images_;  // in the order of their first change
  absl::flat_hash_map<std::string_view, Rows> rows_;
};

std::vector<RowRun> RowBatch::Plan() {
  if (auto run = ImagePlanner(*this).Plan(); run.has_value()) return {*std::move(run)};
  return Planner(*this).Plan();
}

}  // namespace pgc
