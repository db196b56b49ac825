// Writes events, as the bytes of a protobuf `Message`, into blocks: each is encoded once, here,
// and spliced from then on (docs/contract.md, section 1 has the fields).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "event/block.h"
#include "event/checkpoint.h"
#include "event/pg_timestamp.h"

namespace pgc {

// The values are those of the protobuf enum `Change.Operation`.
enum class Operation : uint8_t { kInsert = 0, kUpdate = 1, kDelete = 2 };

// One column of a row, its bytes owned by someone else.
struct FieldValue {
  enum class Kind : uint8_t {
    kAbsent,  // not sent: no field at all
    kNull,    // a field without a value
    kBinary,
    kText,
  };
  Kind kind = Kind::kAbsent;
  std::span<const uint8_t> bytes;
};

// Finished blocks and the one being filled. Not thread-safe.
class BlockStream {
 public:
  // Where `length` bytes of an event are to be written. Finishes the current block first if it is
  // full, so a table's place must be looked up after it: see TableEncoder.
  void MakeRoom(size_t length);
  BlockBuilder& builder() { return builder_; }

  // Blocks finished because they were full, oldest first; each is handed out once.
  std::vector<std::shared_ptr<const Block>> TakeFull();
  // The block being filled, or nullptr when it has no event. TakeFull() comes before.
  std::shared_ptr<const Block> Flush();
  size_t pending_bytes() const { return builder_.bytes(); }

 private:
  BlockBuilder builder_;
  std::vector<std::shared_ptr<const Block>> full_;
};

void EncodeBegin(BlockStream& out, Lsn final_lsn, PgTimestamp commit_time, uint32_t xid);
void EncodeCommit(BlockStream& out, const Checkpoint& checkpoint, Lsn end_lsn,
                  PgTimestamp commit_time);

struct TruncateOptions {
  bool cascade = false;
  bool restart_identity = false;
};
// ResourceExhausted, here and below, when the event would be larger than a block can hold.
absl::Status EncodeTruncate(BlockStream& out, std::span<const TableName> tables,
                            TruncateOptions options, const Checkpoint& checkpoint);
absl::Status EncodeLogicalMessage(BlockStream& out, std::string_view prefix,
                                  std::span<const uint8_t> content, bool transactional,
                                  const Checkpoint& checkpoint);

// Where a sequence stands: its columns.
struct SequencePosition {
  std::string_view schema;
  std::string_view name;
  int64_t last_value = 0;
  bool is_called = false;  // whether last_value was handed out, or is the next to be
};
// Appends one to the bytes of a protobuf `Sequences`, which are nothing but those of its members.
void AppendSequence(std::string& sequences, const SequencePosition& position);
absl::Status EncodeSequences(BlockStream& out, std::span<const uint8_t> sequences,
                             const Checkpoint& checkpoint);

// Encodes the changes of one table; made again when its columns change. Not thread-safe.
class TableEncoder {
 public:
  struct Column {
    std::string_view name;
    uint32_t type_oid = 0;
    bool is_key = false;  // its value is part of what identifies a row
  };

  TableEncoder(TableName table, std::span<const Column> columns);

  // Appends a change. `new_row` and `old_row` have a value for each column, or are empty.
  absl::Status Encode(BlockStream& out, Operation op, std::span<const FieldValue> new_row,
                      std::span<const FieldValue> old_row, const Checkpoint& checkpoint);

  // A change as the bytes of a protobuf `Change`, for what is no event: how many they are, and
  // writing them at `out`, whose end is returned.
  size_t ChangeBytes(Operation op, std::span<const FieldValue> new_row,
                     std::span<const FieldValue> old_row) const;
  uint8_t* WriteChange(uint8_t* out, Operation op, std::span<const FieldValue> new_row,
                       std::span<const FieldValue> old_row) const;

  TableName table() const { return {.schema = schema_, .name = name_}; }
  size_t bytes() const { return schema_.size() + name_.size() + prefixes_.size(); }

 private:
  struct Prefix {
    uint32_t begin = 0;
    uint32_t length = 0;
  };

  // The hash of a row's key; where `row` has no value for a column, `otherwise` has it.
  uint32_t KeyHash(std::span<const FieldValue> row, std::span<const FieldValue> otherwise) const;

  size_t FieldBytes(size_t column, const FieldValue& value) const;
  size_t RowBytes(std::span<const FieldValue> row) const;
  uint8_t* WriteRow(uint8_t* out, uint8_t tag, std::span<const FieldValue> row) const;

  const std::string schema_;
  const std::string name_;
  std::string table_;     // schema and table as fields of `Change`
  std::string prefixes_;  // name and oid of each column as fields of `Field`
  std::vector<Prefix> columns_;
  std::vector<size_t> key_columns_;
  const uint32_t table_hash_;
  uint64_t generation_ = 0;  // of the block whose dictionary has the table at place_
  uint32_t place_ = 0;
};

}  // namespace pgc
