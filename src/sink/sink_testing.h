// Transactions of a made-up source, as events of a log.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "event/encoder.h"
#include "sink/log_units.h"

namespace pgc {

// A value of a column in a test: nothing is absent, "" of `is_null` NULL.
struct TestValue {
  std::string bytes = {};
  FieldValue::Kind kind = FieldValue::Kind::kBinary;
};
inline TestValue Int(int32_t number) {
  std::string bytes(4, '\0');
  for (size_t i = 0; i < 4; ++i) {
    bytes[i] = static_cast<char>(static_cast<uint32_t>(number) >> (24 - 8 * i));
  }
  return {.bytes = bytes};
}
inline TestValue Text(std::string text) { return {.bytes = std::move(text)}; }
inline TestValue Null() { return {.kind = FieldValue::Kind::kNull}; }
inline TestValue Absent() { return {.kind = FieldValue::Kind::kAbsent}; }
using TestRow = std::vector<TestValue>;

inline constexpr uint32_t kInt4Oid = 23;
inline constexpr uint32_t kTextOid = 25;

// Makes transactions of tables (id int4, note text, …) and gives them as units.
class TestLog {
 public:
  explicit TestLog(
      std::vector<TableEncoder::Column> columns = {{.name = "id", .type_oid = kInt4Oid},
                                                   {.name = "note", .type_oid = kTextOid}})
      : columns_(std::move(columns)) {}

  void Begin() {
    checkpoint_ = {.lsn = Lsn{checkpoint_.lsn.value + 0x100}, .seq = 0};
    EncodeBegin(stream_, checkpoint_.lsn, PgTimestamp{1}, 7);
  }
  void Change(std::string_view table, Operation op, const TestRow& new_row,
              const TestRow& old_row = {}) {
    TableEncoder encoder({.schema = "public", .name = table}, columns_);
    ++checkpoint_.seq;
    const absl::Status status =
        encoder.Encode(stream_, op, Values(new_row), Values(old_row), checkpoint_);
    ASSERT_TRUE(status.ok()) << status;
  }
  void Insert(std::string_view table, const TestRow& row) {
    Change(table, Operation::kInsert, row);
  }
  void Update(std::string_view table, const TestRow& row, const TestRow& old_row = {}) {
    Change(table, Operation::kUpdate, row, old_row);
  }
  void Delete(std::string_view table, const TestRow& old_row) {
    Change(table, Operation::kDelete, {}, old_row);
  }
  // A row of pgcapture.ddl_logs, as version 0.2 writes it.
  void Ddl(const std::string& query, const std::string& tag) {
    static const std::vector<TableEncoder::Column> kColumns{
        {.name = "query", .type_oid = kTextOid},
        {.name = "tags", .type_oid = 1009},
        {.name = "search_path", .type_oid = kTextOid},
        {.name = "exact", .type_oid = 16}};
    TableEncoder encoder({.schema = "pgcapture", .name = "ddl_logs"}, kColumns);
    const std::string tags = Int(1).bytes + Int(0).bytes + Int(kTextOid).bytes + Int(1).bytes +
                             Int(1).bytes + Int(static_cast<int32_t>(tag.size())).bytes + tag;
    const TestRow row{Text(query), Text(tags), Text("public"), Text("\1")};
    ++checkpoint_.seq;
    const absl::Status status =
        encoder.Encode(stream_, Operation::kInsert, Values(row), {}, checkpoint_);
    ASSERT_TRUE(status.ok()) << status;
  }
  void Commit() {
    ++checkpoint_.seq;
    EncodeCommit(stream_, checkpoint_, checkpoint_.lsn, PgTimestamp{1});
  }
  const Checkpoint& checkpoint() const { return checkpoint_; }

  // All since the last call, as one slice.
  EventSlice TakeSlice() {
    auto blocks = stream_.TakeFull();
    EXPECT_TRUE(blocks.empty()) << "more than a block";
    auto block = stream_.Flush();
    const uint32_t size = block->size();
    ordinal_ += size;
    return {.block = std::move(block), .begin = 0, .end = size, .ordinal = ordinal_ - size};
  }
  LogUnit TakeUnit() {
    std::vector<LogUnit> units;
    UnitCutter cutter;
    const absl::Status status = cutter.Add(TakeSlice(), units);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(units.size(), 1U);
    return units.at(0);
  }

 private:
  static std::vector<FieldValue> Values(const TestRow& row) {
    std::vector<FieldValue> values;
    for (const TestValue& value : row) {
      values.push_back(
          {.kind = value.kind,
           .bytes = {reinterpret_cast<const uint8_t*>(value.bytes.data()), value.bytes.size()}});
    }
    return values;
  }

  const std::vector<TableEncoder::Column> columns_;
  BlockStream stream_;
  Checkpoint checkpoint_{.lsn = Lsn{0x1000}};
  uint64_t ordinal_ = 0;
};

}  // namespace pgc
