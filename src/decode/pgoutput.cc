#include "decode/pgoutput.h"

#include <vector>

#include "base/status_macros.h"

namespace pgc {
namespace {

// docs/extension.md has the content.
constexpr std::string_view kTruncatePrefix = "pgcapture.truncate";

// Reads a tuple of `columns` values into `row`; false when it is not one.
bool ReadTuple(ByteReader& in, uint16_t columns, std::vector<FieldValue>& row) {
  if (in.U16() != columns) return false;
  row.resize(columns);
  for (FieldValue& value : row) {
    switch (in.U8()) {
      case 'n':
        value = {.kind = FieldValue::Kind::kNull, .bytes = {}};
        break;
      case 'u':
        value = {.kind = FieldValue::Kind::kAbsent, .bytes = {}};
        break;
      case 't':
        value = {.kind = FieldValue::Kind::kText, .bytes = in.Bytes(in.U32())};
        break;
      case 'b':
        value = {.kind = FieldValue::Kind::kBinary, .bytes = in.Bytes(in.U32())};
        break;
      default:
        return false;
    }
  }
  return in.ok();
}

bool ReadOrigin(ByteReader& in) {
  (void)in.U64();
  (void)in.CString();
  return in.done();
}

bool ReadType(ByteReader& in) {
  (void)in.U32();
  (void)in.CString();
  (void)in.CString();
  return in.done();
}

bool ReadStreamAbort(ByteReader& in) {
  (void)in.U32();
  (void)in.U32();
  return in.done();
}

}  // namespace

absl::Status PgOutputDecoder::Decode(std::span<const uint8_t> message) {
  ByteReader in(message);
  switch (in.U8()) {
    case 'B':
      return Begin(in);
    case 'C':
      return Commit(in);
    case 'I':
      return Insert(in);
    case 'U':
      return Update(in);
    case 'D':
      return Delete(in);
    case 'T':
      return Truncate(in);
    case 'R':
      return ReadRelation(in);
    case 'Y':
      return ReadType(in) ? absl::OkStatus() : Malformed("Type");
    case 'O':
      return ReadOrigin(in) ? absl::OkStatus() : Malformed("Origin");
    case 'M':
      return LogicalMessage(in);
    case 'A':
      // PostgreSQL 18 sends it also for transactions of which it has sent nothing.
      return ReadStreamAbort(in) ? absl::OkStatus() : Malformed("Stream Abort");
    default:
      return UnknownKind(message);
  }
}

absl::Status PgOutputDecoder::Begin(ByteReader& in) {
  const Lsn final_lsn{in.U64()};
  const PgTimestamp commit_time{in.I64()};
  const uint32_t xid = in.U32();
  return in.done() ? BeginTransaction(final_lsn, commit_time, xid) : Malformed("Begin");
}

absl::Status PgOutputDecoder::Commit(ByteReader& in) {
  (void)in.U8();
  const Lsn commit_lsn{in.U64()};
  const Lsn end_lsn{in.U64()};
  const PgTimestamp commit_time{in.I64()};
  return in.done() ? CommitTransaction(commit_lsn, end_lsn, commit_time) : Malformed("Commit");
}

absl::Status PgOutputDecoder::ReadRelation(ByteReader& in) {
  const uint32_t oid = in.U32();
  TableName table;
  table.schema = in.CString();
  table.name = in.CString();
  // Under FULL all columns are marked as the key's, and the whole table is one.
  const bool has_key = in.U8() != 'f';
  const uint16_t count = in.U16();
  std::vector<TableEncoder::Column> columns;
  for (uint16_t i = 0; i < count && in.ok(); ++i) {
    TableEncoder::Column column;
    column.is_key = (in.U8() & 1) != 0 && has_key;
    column.name = in.CString();
    column.type_oid = in.U32();
    (void)in.U32();  // type modifier
    columns.push_back(column);
  }
  return in.done() ? relations().Put(oid, table, columns) : Malformed("Relation");
}

absl::Status PgOutputDecoder::Insert(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, FindRelation(in.U32()));
  if (in.U8() != 'N' || !ReadTuple(in, relation->columns, new_row()) || !in.done()) {
    return Malformed("Insert");
  }
  return EmitInsert(*relation);
}

absl::Status PgOutputDecoder::Update(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, FindRelation(in.U32()));
  uint8_t mark = in.U8();
  bool full = false;
  old_row().clear();
  if (mark == 'K' || mark == 'O') {
    full = mark == 'O';
    if (!ReadTuple(in, relation->columns, old_row())) return Malformed("Update");
    mark = in.U8();
  }
  if (mark != 'N' || !ReadTuple(in, relation->columns, new_row()) || !in.done()) {
    return Malformed("Update");
  }
  return EmitUpdate(*relation, full);
}

absl::Status PgOutputDecoder::Delete(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, FindRelation(in.U32()));
  const uint8_t mark = in.U8();
  if ((mark != 'K' && mark != 'O') || !ReadTuple(in, relation->columns, old_row()) || !in.done()) {
    return Malformed("Delete");
  }
  return EmitDelete(*relation);
}

absl::Status PgOutputDecoder::Truncate(ByteReader& in) {
  const uint32_t count = in.U32();
  const uint8_t options = in.U8();
  std::vector<TableName> tables;
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const uint32_t oid = in.U32();
    if (!in.ok()) break;
    PGC_ASSIGN_OR_RETURN(const Relation* const relation, FindRelation(oid));
    if (relation->emitted) tables.push_back(relation->encoder.table());
  }
  if (!in.done()) return Malformed("Truncate");
  if (tables.empty()) return absl::OkStatus();
  return EmitTruncate(tables,
                      {.cascade = (options & 1) != 0, .restart_identity = (options & 2) != 0});
}

absl::Status PgOutputDecoder::LogicalMessage(ByteReader& in) {
  const bool transactional = (in.U8() & 1) != 0;
  const Lsn lsn{in.U64()};
  const std::string_view prefix = in.CString();
  const std::span<const uint8_t> content = in.Bytes(in.U32());
  if (!in.done()) return Malformed("Message");
  if (prefix == kTruncatePrefix && transactional && in_transaction()) {
    PGC_ASSIGN_OR_RETURN(const bool taken, TruncateOfPartition(content));
    if (taken) return absl::OkStatus();
  }
  return EmitLogicalMessage(prefix, content, transactional, lsn);
}

// False when it is none: whoever may write messages can use the prefix.
absl::StatusOr<bool> PgOutputDecoder::TruncateOfPartition(std::span<const uint8_t> content) {
  ByteReader in(content);
  const std::string_view publication = in.CString();
  const uint32_t count = in.U32();
  const uint8_t options = in.U8();
  std::vector<TableName> tables;
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    TableName table;
    table.schema = in.CString();
    table.name = in.CString();
    tables.push_back(table);
  }
  if (!in.done() || tables.empty()) return false;
  if (publication != publication_) return true;  // of another one, which shows it otherwise
  PGC_RETURN_IF_ERROR(EmitTruncate(
      tables, {.cascade = (options & 1) != 0, .restart_identity = (options & 2) != 0}));
  return true;
}

}  // namespace pgc
