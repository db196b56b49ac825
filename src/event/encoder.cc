#include "event/encoder.h"

#include <fmt/format.h>

#include <cassert>
#include <cstring>
#include <utility>

#include "event/wire.h"

namespace pgc {
namespace {

using wire::Type;
using wire::VarintSize;

constexpr uint8_t kMessageBegin = wire::Tag(1, Type::kBytes);
constexpr uint8_t kMessageCommit = wire::Tag(2, Type::kBytes);
constexpr uint8_t kMessageChange = wire::Tag(3, Type::kBytes);
constexpr uint8_t kChangeOp = wire::Tag(1, Type::kVarint);
constexpr uint8_t kChangeSchema = wire::Tag(2, Type::kBytes);
constexpr uint8_t kChangeTable = wire::Tag(3, Type::kBytes);
constexpr uint8_t kChangeNew = wire::Tag(4, Type::kBytes);
constexpr uint8_t kChangeOld = wire::Tag(5, Type::kBytes);
constexpr uint8_t kFieldName = wire::Tag(1, Type::kBytes);
constexpr uint8_t kFieldOid = wire::Tag(2, Type::kVarint);
constexpr uint8_t kFieldBinary = wire::Tag(3, Type::kBytes);
constexpr uint8_t kFieldText = wire::Tag(4, Type::kBytes);

// Zero is left out, as proto3 does.
size_t NumberBytes(uint64_t value) { return value == 0 ? 0 : 1 + VarintSize(value); }

uint8_t* WriteNumber(uint8_t* out, uint32_t field, uint64_t value) {
  if (value == 0) return out;
  *out++ = wire::Tag(field, Type::kVarint);
  return wire::WriteVarint(out, value);
}

uint8_t* WriteBytes(uint8_t* out, std::string_view bytes) {
  std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

void AppendBytesField(std::string& out, uint8_t tag, std::string_view bytes) {
  out += static_cast<char>(tag);
  wire::AppendVarint(out, bytes.size());
  out += bytes;
}

// An event of three numbers, fields 1 to 3.
void EncodeNumbers(BlockStream& out, EventKind kind, uint8_t tag, const Checkpoint& checkpoint,
                   uint64_t first, uint64_t second, uint64_t third) {
  const size_t body = NumberBytes(first) + NumberBytes(second) + NumberBytes(third);
  const size_t length = 1 + VarintSize(body) + body;
  out.MakeRoom(length);
  uint8_t* to = out.builder().Add(kind, Event::kNoTable, checkpoint, length);
  *to++ = tag;
  to = wire::WriteVarint(to, body);
  to = WriteNumber(to, 1, first);
  to = WriteNumber(to, 2, second);
  WriteNumber(to, 3, third);
}

bool HasValue(const FieldValue& value) {
  return value.kind == FieldValue::Kind::kBinary || value.kind == FieldValue::Kind::kText;
}

}  // namespace

void BlockStream::MakeRoom(size_t length) {
  if (builder_.full(length)) full_.push_back(builder_.Finish());
}

std::vector<std::shared_ptr<const Block>> BlockStream::TakeFull() {
  return std::exchange(full_, {});
}

std::shared_ptr<const Block> BlockStream::Flush() {
  assert(full_.empty());
  return builder_.empty() ? nullptr : builder_.Finish();
}

void EncodeBegin(BlockStream& out, Lsn final_lsn, PgTimestamp commit_time, uint32_t xid) {
  EncodeNumbers(out, EventKind::kBegin, kMessageBegin, {.lsn = final_lsn, .seq = 0},
                final_lsn.value, static_cast<uint64_t>(commit_time.us), xid);
}

void EncodeCommit(BlockStream& out, const Checkpoint& checkpoint, Lsn end_lsn,
                  PgTimestamp commit_time) {
  EncodeNumbers(out, EventKind::kCommit, kMessageCommit, checkpoint, checkpoint.lsn.value,
                end_lsn.value, static_cast<uint64_t>(commit_time.us));
}

TableEncoder::TableEncoder(TableName table, std::span<const Column> columns)
    : schema_(table.schema), name_(table.name) {
  AppendBytesField(table_, kChangeSchema, schema_);
  AppendBytesField(table_, kChangeTable, name_);
  columns_.reserve(columns.size());
  for (const Column& column : columns) {
    const size_t begin = prefixes_.size();
    AppendBytesField(prefixes_, kFieldName, column.name);
    if (column.type_oid != 0) {
      prefixes_ += static_cast<char>(kFieldOid);
      wire::AppendVarint(prefixes_, column.type_oid);
    }
    columns_.push_back({.begin = static_cast<uint32_t>(begin),
                        .length = static_cast<uint32_t>(prefixes_.size() - begin)});
  }
}

size_t TableEncoder::FieldBytes(size_t column, const FieldValue& value) const {
  const size_t length = value.bytes.size();
  return columns_[column].length + (HasValue(value) ? 1 + VarintSize(length) + length : 0);
}

size_t TableEncoder::RowBytes(std::span<const FieldValue> row) const {
  size_t total = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i].kind == FieldValue::Kind::kAbsent) continue;
    const size_t field = FieldBytes(i, row[i]);
    total += 1 + VarintSize(field) + field;
  }
  return total;
}

uint8_t* TableEncoder::WriteRow(uint8_t* out, uint8_t tag, std::span<const FieldValue> row) const {
  for (size_t i = 0; i < row.size(); ++i) {
    const FieldValue& value = row[i];
    if (value.kind == FieldValue::Kind::kAbsent) continue;
    *out++ = tag;
    out = wire::WriteVarint(out, FieldBytes(i, value));
    out = WriteBytes(out, {prefixes_.data() + columns_[i].begin, columns_[i].length});
    if (!HasValue(value)) continue;
    *out++ = value.kind == FieldValue::Kind::kBinary ? kFieldBinary : kFieldText;
    out = wire::WriteVarint(out, value.bytes.size());
    out = WriteBytes(out, {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()});
  }
  return out;
}

absl::Status TableEncoder::Encode(BlockStream& out, Operation op,
                                  std::span<const FieldValue> new_row,
                                  std::span<const FieldValue> old_row,
                                  const Checkpoint& checkpoint) {
  assert(new_row.empty() || new_row.size() == columns_.size());
  assert(old_row.empty() || old_row.size() == columns_.size());
  const size_t op_bytes = op == Operation::kInsert ? 0 : 2;
  const size_t body = op_bytes + table_.size() + RowBytes(new_row) + RowBytes(old_row);
  const size_t length = 1 + VarintSize(body) + body;
  // Room for the block's header, its dictionary and one index entry.
  if (length > Block::kMaxBytes - 4096 - table_.size()) {
    return absl::ResourceExhaustedError(
        fmt::format("a change of table {}.{} at {} takes {} bytes; an event can have at most {}",
                    schema_, name_, ToString(checkpoint.lsn), length, Block::kMaxBytes));
  }
  out.MakeRoom(length);
  BlockBuilder& builder = out.builder();
  if (generation_ != builder.generation()) {
    place_ = builder.AddTable(table());
    generation_ = builder.generation();
  }
  uint8_t* to = builder.Add(EventKind::kChange, place_, checkpoint, length);
  *to++ = kMessageChange;
  to = wire::WriteVarint(to, body);
  if (op_bytes != 0) {
    *to++ = kChangeOp;
    *to++ = static_cast<uint8_t>(op);
  }
  to = WriteBytes(to, table_);
  to = WriteRow(to, kChangeNew, new_row);
  WriteRow(to, kChangeOld, old_row);
  return absl::OkStatus();
}

}  // namespace pgc
