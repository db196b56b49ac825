#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "e2e/dump/order_copy.h"

namespace pgc {
namespace {

constexpr size_t kShownDifferences = 4;
constexpr uint32_t kInt4 = 23;
constexpr uint32_t kInt8 = 20;
constexpr uint32_t kBytea = 17;
// Of a large value.
constexpr size_t kShownBytes = 16;

std::string ValueOf(const pb::Field& field) {
  if (field.value_case() == pb::Field::VALUE_NOT_SET) return "NULL";
  if (field.value_case() == pb::Field::kText) return field.text();
  const std::string& bytes = field.binary();
  if (field.oid() == kInt4 || field.oid() == kInt8) {
    uint64_t number = 0;
    for (const char c : bytes) number = number << 8 | static_cast<uint8_t>(c);
    return field.oid() == kInt4 ? std::to_string(static_cast<int32_t>(number))
                                : std::to_string(static_cast<int64_t>(number));
  }
  if (field.oid() != kBytea) return bytes;
  std::string text;
  for (const char c : bytes.substr(0, kShownBytes)) {
    text += fmt::format("{:02x}", static_cast<uint8_t>(c));
  }
  return fmt::format("{}:{}", text, bytes.size());
}

OrderRow RowOf(const google::protobuf::RepeatedPtrField<pb::Field>& fields) {
  OrderRow row;
  for (const pb::Field& field : fields) row[field.name()] = ValueOf(field);
  return row;
}

class CopyByArrival final : public OrderCopy {
 public:
  explicit CopyByArrival(const OrderTable& table) : table_(table) {}

  void Apply(const pb::CaptureMessage& message) override {
    const pb::Change& change = message.change();
    const OrderRow row = RowOf(change.new_());
    const std::string& key = table_.columns.front();
    if (IsRowOfDump(message) || change.op() == pb::Change::INSERT) {
      rows_[row.at(key)] = row;
      return;
    }
    const OrderRow old = RowOf(change.old());
    const auto before = rows_.find(old.empty() ? row.at(key) : old.at(key));
    OrderRow now;
    if (before != rows_.end()) {
      now = std::move(before->second);
      rows_.erase(before);
    }
    if (change.op() == pb::Change::DELETE) return;
    for (const auto& [name, value] : row) now[name] = value;
    rows_[row.at(key)] = std::move(now);
  }
  void Clear() override { rows_.clear(); }
  OrderRows rows() const override {
    OrderRows rows;
    for (const auto& [key, row] : rows_) rows.insert(ToText(table_, row));
    return rows;
  }

 private:
  const OrderTable& table_;
  std::map<std::string, OrderRow> rows_;
};

// Of a table without a key: its dump, which is one, takes the place of all that was there before.
class CopyOfLoose final : public OrderCopy {
 public:
  explicit CopyOfLoose(const OrderTable& table) : table_(table) {}

  void Apply(const pb::CaptureMessage& message) override {
    const pb::Change& change = message.change();
    if (IsRowOfDump(message)) {
      if (!in_dump_) rows_.clear();
      in_dump_ = message.checkpoint().data().empty();
    }
    if (change.old_size() > 0) {
      const auto old = rows_.find(ToText(table_, RowOf(change.old())));
      if (old != rows_.end()) rows_.erase(old);
    }
    if (change.op() != pb::Change::DELETE) rows_.insert(ToText(table_, RowOf(change.new_())));
  }
  void Clear() override { rows_.clear(); }
  OrderRows rows() const override { return rows_; }

 private:
  const OrderTable& table_;
  OrderRows rows_;
  bool in_dump_ = false;
};

class CopyByVersion final : public OrderCopy {
 public:
  explicit CopyByVersion(const OrderTable& table) : table_(table) {}

  void Apply(const pb::CaptureMessage& message) override {
    const pb::Change& change = message.change();
    const OrderRow row = RowOf(change.new_());
    const OrderRow old = RowOf(change.old());
    const std::string& key = table_.columns.front();
    // A row shows all commits at or below its place.
    const Version version = IsRowOfDump(message)
                                ? Version{message.dump_lsn(), std::numeric_limits<uint32_t>::max()}
                                : Version{message.checkpoint().lsn(), message.checkpoint().seq()};
    if (!old.empty() && (row.empty() || old.at(key) != row.at(key))) {
      Entry& gone = entries_[old.at(key)];
      if (version > gone.version) {
        gone.version = version;
        gone.exists = false;
      }
    }
    if (row.empty()) return;
    Entry& entry = entries_[row.at(key)];
    if (version > entry.version) {
      entry.version = version;
      entry.exists = true;
    }
    for (const auto& [name, value] : row) {
      auto& [newest, known] = entry.columns[name];
      if (version <= newest) continue;
      newest = version;
      known = value;
    }
  }
  void Clear() override { entries_.clear(); }
  OrderRows rows() const override {
    OrderRows rows;
    for (const auto& [key, entry] : entries_) {
      if (!entry.exists) continue;
      OrderRow row;
      for (const auto& [name, column] : entry.columns) row[name] = column.second;
      rows.insert(ToText(table_, row));
    }
    return rows;
  }

 private:
  using Version = std::pair<uint64_t, uint32_t>;
  struct Entry {
    Version version;  // of whether it exists
    bool exists = false;
    std::map<std::string, std::pair<Version, std::string>> columns;
  };

  const OrderTable& table_;
  std::map<std::string, Entry> entries_;
};

}  // namespace

std::string ToText(const OrderTable& table, const OrderRow& row) {
  std::string text;
  for (const std::string& column : table.columns) {
    const auto value = row.find(column);
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", column,
                        value == row.end() ? "(unknown)" : value->second);
  }
  // Generated columns and others that a change of the table does not have.
  if (row.size() > table.columns.size()) text += " and more columns";
  return text;
}

std::string DifferenceOf(const OrderTable& table, const OrderRows& expected,
                         const OrderRows& actual) {
  OrderRows missing;
  OrderRows wrong;
  std::set_difference(expected.begin(), expected.end(), actual.begin(), actual.end(),
                      std::inserter(missing, missing.end()));
  std::set_difference(actual.begin(), actual.end(), expected.begin(), expected.end(),
                      std::inserter(wrong, wrong.end()));
  if (missing.empty() && wrong.empty()) return {};
  std::string text = fmt::format("{}: of {} rows {} are not there, and {} others are\n", table.name,
                                 expected.size(), missing.size(), wrong.size());
  size_t shown = 0;
  for (const std::string& row : missing) {
    if (++shown <= kShownDifferences) text += "  is in the table:  " + row + "\n";
  }
  shown = 0;
  for (const std::string& row : wrong) {
    if (++shown <= kShownDifferences) text += "  the consumer has: " + row + "\n";
  }
  return text;
}

std::string SelectOrderRows(const std::string& schema, const OrderTable& table) {
  std::string row;
  for (const std::string& column : table.columns) {
    const std::string value =
        column == "big"
            ? fmt::format("encode(substr(big, 1, {}), 'hex') || ':' || length(big)", kShownBytes)
            : column + "::text";
    row += fmt::format("{}'{}=' || coalesce({}, 'NULL')", row.empty() ? "" : " || ' ' || ", column,
                       value);
  }
  return fmt::format("SELECT {} FROM {}.{}", row, schema, table.name);
}

bool IsRowOfDump(const pb::CaptureMessage& message) { return message.checkpoint().lsn() == 0; }

bool IsRepeat(const pb::CaptureMessage& message) {
  const std::string& data = message.checkpoint().data();
  return data.size() == 9 && data.front() == '\0';
}

std::unique_ptr<OrderCopy> NewCopyByArrival(const OrderTable& table) {
  if (table.has_key) return std::make_unique<CopyByArrival>(table);
  return std::make_unique<CopyOfLoose>(table);
}
std::unique_ptr<OrderCopy> NewCopyByVersion(const OrderTable& table) {
  return std::make_unique<CopyByVersion>(table);
}

}  // namespace pgc
