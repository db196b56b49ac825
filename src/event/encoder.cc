#include "event/encoder.h"

#include <fmt/format.h>
#include <zlib.h>

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
constexpr uint32_t kMessageTruncate = wire::LongTag(20, Type::kBytes);
constexpr uint32_t kMessageLogicalMessage = wire::LongTag(21, Type::kBytes);
constexpr uint32_t kMessageSequences = wire::LongTag(22, Type::kBytes);
constexpr uint8_t kChangeOp = wire::Tag(1, Type::kVarint);
constexpr uint8_t kChangeSchema = wire::Tag(2, Type::kBytes);
constexpr uint8_t kChangeTable = wire::Tag(3, Type::kBytes);
constexpr uint8_t kChangeNew = wire::Tag(4, Type::kBytes);
constexpr uint8_t kChangeOld = wire::Tag(5, Type::kBytes);
constexpr uint8_t kFieldName = wire::Tag(1, Type::kBytes);
constexpr uint8_t kFieldOid = wire::Tag(2, Type::kVarint);
constexpr uint8_t kFieldBinary = wire::Tag(3, Type::kBytes);
constexpr uint8_t kFieldText = wire::Tag(4, Type::kBytes);

// CRC-32 (IEEE) over what came before and `bytes` with their length, four bytes, big-endian.
uint32_t AddToHash(uint32_t hash, std::span<const uint8_t> bytes) {
  const auto length = static_cast<uint32_t>(bytes.size());
  const uint8_t prefix[] = {static_cast<uint8_t>(length >> 24), static_cast<uint8_t>(length >> 16),
                            static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  uLong crc = crc32_z(hash, prefix, sizeof prefix);
  // zlib takes a null pointer, which an empty value may have, for a new beginning.
  if (length != 0) crc = crc32_z(crc, bytes.data(), length);
  return static_cast<uint32_t>(crc);
}

uint32_t TableHash(std::string_view schema, std::string_view name) {
  uint32_t hash = 0;
  for (const std::string_view text : {schema, name}) {
    hash = AddToHash(hash, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  return hash;
}

// Zero is left out, as proto3 does.
size_t NumberBytes(uint64_t value) { return value == 0 ? 0 : 1 + VarintSize(value); }

uint8_t* WriteNumber(uint8_t* out, uint32_t field, uint64_t value) {
  if (value == 0) return out;
  *out++ = wire::Tag(field, Type::kVarint);
  return wire::WriteVarint(out, value);
}

uint8_t* WriteBytes(uint8_t* out, std::string_view bytes) {
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
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

void AppendNumberField(std::string& out, uint32_t field, uint64_t value) {
  if (value == 0) return;
  out += static_cast<char>(wire::Tag(field, Type::kVarint));
  wire::AppendVarint(out, value);
}

// Room for the block's header and an index entry beside an event and its table's name.
constexpr size_t kBlockOverheadBytes = 4096;

// An event of the rare kinds; its message is `head`, `content` and `tail`.
absl::Status EncodeRare(BlockStream& out, EventKind kind, uint32_t tag, std::string_view head,
                        std::span<const uint8_t> content, std::string_view tail,
                        const Checkpoint& checkpoint) {
  const size_t all = head.size() + content.size() + tail.size();
  const size_t length = VarintSize(tag) + VarintSize(all) + all;
  if (length > Block::kMaxBytes - kBlockOverheadBytes) {
    return absl::ResourceExhaustedError(
        fmt::format("an event at {} takes {} bytes; it can have at most {}",
                    ToString(checkpoint.lsn), length, Block::kMaxBytes));
  }
  out.MakeRoom(length);
  uint8_t* to = out.builder().Add(kind, Event::kNoTable, checkpoint, length);
  to = wire::WriteVarint(to, tag);
  to = wire::WriteVarint(to, all);
  to = WriteBytes(to, head);
  to = WriteBytes(to, {reinterpret_cast<const char*>(content.data()), content.size()});
  WriteBytes(to, tail);
  return absl::OkStatus();
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

absl::Status EncodeTruncate(BlockStream& out, std::span<const TableName> tables,
                            TruncateOptions options, const Checkpoint& checkpoint) {
  std::string body;
  for (const TableName& table : tables) {
    std::string relation;
    AppendBytesField(relation, wire::Tag(1, Type::kBytes), table.schema);
    AppendBytesField(relation, wire::Tag(2, Type::kBytes), table.name);
    AppendBytesField(body, wire::Tag(1, Type::kBytes), relation);
  }
  AppendNumberField(body, 2, options.cascade ? 1 : 0);
  AppendNumberField(body, 3, options.restart_identity ? 1 : 0);
  return EncodeRare(out, EventKind::kTruncate, kMessageTruncate, body, {}, {}, checkpoint);
}

absl::Status EncodeLogicalMessage(BlockStream& out, std::string_view prefix,
                                  std::span<const uint8_t> content, bool transactional,
                                  const Checkpoint& checkpoint) {
  std::string head;
  if (!prefix.empty()) AppendBytesField(head, wire::Tag(1, Type::kBytes), prefix);
  if (!content.empty()) {
    head += static_cast<char>(wire::Tag(2, Type::kBytes));
    wire::AppendVarint(head, content.size());
  }
  std::string tail;
  AppendNumberField(tail, 3, transactional ? 1 : 0);
  return EncodeRare(out, EventKind::kLogicalMessage, kMessageLogicalMessage, head, content, tail,
                    checkpoint);
}

void AppendSequence(std::string& sequences, const SequencePosition& position) {
  std::string one;
  AppendBytesField(one, wire::Tag(1, Type::kBytes), position.schema);
  AppendBytesField(one, wire::Tag(2, Type::kBytes), position.name);
  AppendNumberField(one, 3, static_cast<uint64_t>(position.last_value));
  AppendNumberField(one, 4, position.is_called ? 1 : 0);
  AppendBytesField(sequences, wire::Tag(1, Type::kBytes), one);
}

absl::Status EncodeSequences(BlockStream& out, std::span<const uint8_t> sequences,
                             const Checkpoint& checkpoint) {
  return EncodeRare(out, EventKind::kSequences, kMessageSequences, {}, sequences, {}, checkpoint);
}

TableEncoder::TableEncoder(TableName table, std::span<const Column> columns)
    : schema_(table.schema), name_(table.name), table_hash_(TableHash(schema_, name_)) {
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
    if (column.is_key) key_columns_.push_back(columns_.size() - 1);
  }
}

uint32_t TableEncoder::KeyHash(std::span<const FieldValue> row,
                               std::span<const FieldValue> otherwise) const {
  uint32_t hash = table_hash_;
  for (const size_t column : key_columns_) {
    std::span<const uint8_t> bytes;
    if (!row.empty() && row[column].kind != FieldValue::Kind::kAbsent) {
      bytes = row[column].bytes;
    } else if (!otherwise.empty()) {
      bytes = otherwise[column].bytes;
    }
    hash = AddToHash(hash, bytes);
  }
  return hash;
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

size_t TableEncoder::ChangeBytes(Operation op, std::span<const FieldValue> new_row,
                                 std::span<const FieldValue> old_row) const {
  assert(new_row.empty() || new_row.size() == columns_.size());
  assert(old_row.empty() || old_row.size() == columns_.size());
  const size_t op_bytes = op == Operation::kInsert ? 0 : 2;
  return op_bytes + table_.size() + RowBytes(new_row) + RowBytes(old_row);
}

uint8_t* TableEncoder::WriteChange(uint8_t* out, Operation op, std::span<const FieldValue> new_row,
                                   std::span<const FieldValue> old_row) const {
  if (op != Operation::kInsert) {
    *out++ = kChangeOp;
    *out++ = static_cast<uint8_t>(op);
  }
  out = WriteBytes(out, table_);
  out = WriteRow(out, kChangeNew, new_row);
  return WriteRow(out, kChangeOld, old_row);
}

absl::Status TableEncoder::Encode(BlockStream& out, Operation op,
                                  std::span<const FieldValue> new_row,
                                  std::span<const FieldValue> old_row,
                                  const Checkpoint& checkpoint) {
  const size_t body = ChangeBytes(op, new_row, old_row);
  const size_t length = 1 + VarintSize(body) + body;
  if (length > Block::kMaxBytes - kBlockOverheadBytes - table_.size()) {
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
  EventKey key;
  key.hash = key.before = new_row.empty() ? KeyHash(old_row, {}) : KeyHash(new_row, old_row);
  if (!new_row.empty() && !old_row.empty()) key.before = KeyHash(old_row, new_row);
  uint8_t* to = builder.Add(EventKind::kChange, place_, checkpoint, length, key);
  *to++ = kMessageChange;
  to = wire::WriteVarint(to, body);
  WriteChange(to, op, new_row, old_row);
  return absl::OkStatus();
}

}  // namespace pgc
