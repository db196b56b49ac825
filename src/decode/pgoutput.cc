#include "decode/pgoutput.h"

#include <fmt/format.h>

#include "base/status_macros.h"

namespace pgc {
namespace {

absl::Status Malformed(std::string_view kind, std::string_view what = "cut off or too long") {
  return absl::DataLossError(
      fmt::format("malformed {} message in the replication stream: {}", kind, what));
}

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

// An old row holds only what identifies the row: nulls are left out.
void LeaveOutNulls(std::vector<FieldValue>& row) {
  for (FieldValue& value : row) {
    if (value.kind == FieldValue::Kind::kNull) value.kind = FieldValue::Kind::kAbsent;
  }
}

bool HasField(std::span<const FieldValue> row) {
  for (const FieldValue& value : row) {
    if (value.kind != FieldValue::Kind::kAbsent) return true;
  }
  return false;
}

absl::Status ReadOrigin(ByteReader& in) {
  (void)in.U64();
  (void)in.CString();
  return in.done() ? absl::OkStatus() : Malformed("Origin");
}

absl::Status ReadType(ByteReader& in) {
  (void)in.U32();
  (void)in.CString();
  (void)in.CString();
  return in.done() ? absl::OkStatus() : Malformed("Type");
}

}  // namespace

absl::Status PgOutputDecoder::Decode(std::span<const uint8_t> message) {
  ByteReader in(message);
  switch (const uint8_t kind = in.U8(); kind) {
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
      return relations_.Read(in);
    case 'Y':
      return ReadType(in);
    case 'O':
      return ReadOrigin(in);
    case 'M':
      return LogicalMessage(in);
    default:
      return absl::DataLossError(
          fmt::format("unknown message kind 0x{:02x} of {} bytes in the replication stream", kind,
                      message.size()));
  }
}

absl::Status PgOutputDecoder::Begin(ByteReader& in) {
  const Lsn final_lsn{in.U64()};
  const PgTimestamp commit_time{in.I64()};
  const uint32_t xid = in.U32();
  return in.done() ? BeginTransaction(final_lsn, commit_time, xid) : Malformed("Begin");
}

absl::Status PgOutputDecoder::BeginTransaction(Lsn final_lsn, PgTimestamp commit_time,
                                               uint32_t xid) {
  if (in_transaction_) return Malformed("Begin", "inside a transaction");
  // The end of a transaction is past its commit record, so one that goes back was sent before.
  if (final_lsn <= checkpoint_.lsn) {
    return Malformed("Begin", fmt::format("its final LSN {} is not after {}", ToString(final_lsn),
                                          ToString(checkpoint_.lsn)));
  }
  in_transaction_ = true;
  begin_emitted_ = false;
  checkpoint_ = {.lsn = final_lsn, .seq = 0};
  commit_time_ = commit_time;
  xid_ = xid;
  return absl::OkStatus();
}

absl::Status PgOutputDecoder::Commit(ByteReader& in) {
  (void)in.U8();
  const Lsn commit_lsn{in.U64()};
  const Lsn end_lsn{in.U64()};
  const PgTimestamp commit_time{in.I64()};
  return in.done() ? CommitTransaction(commit_lsn, end_lsn, commit_time) : Malformed("Commit");
}

absl::Status PgOutputDecoder::CommitTransaction(Lsn commit_lsn, Lsn end_lsn,
                                                PgTimestamp commit_time) {
  if (!in_transaction_) return Malformed("Commit", "outside a transaction");
  if (commit_lsn != checkpoint_.lsn) {
    return Malformed("Commit", fmt::format("its LSN {} is not the {} of its Begin",
                                           ToString(commit_lsn), ToString(checkpoint_.lsn)));
  }
  if (begin_emitted_) {
    PGC_RETURN_IF_ERROR(NextSeq());
    EncodeCommit(blocks_, checkpoint_, end_lsn, commit_time);
  }
  in_transaction_ = false;
  end_lsn_ = end_lsn;
  return absl::OkStatus();
}

absl::Status PgOutputDecoder::Insert(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, ChangedRelation(in.U32()));
  if (in.U8() != 'N' || !ReadTuple(in, relation->columns, new_row_) || !in.done()) {
    return Malformed("Insert");
  }
  if (relation->is_ddl_log() && ddl_log_reader_ != nullptr &&
      !ddl_log_reader_->Take(relation->names, new_row_)) {
    return absl::OkStatus();
  }
  return Emit(*relation, Operation::kInsert, new_row_, {});
}

absl::Status PgOutputDecoder::Update(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, ChangedRelation(in.U32()));
  uint8_t mark = in.U8();
  bool full = false;
  old_row_.clear();
  if (mark == 'K' || mark == 'O') {
    full = mark == 'O';
    if (!ReadTuple(in, relation->columns, old_row_)) return Malformed("Update");
    mark = in.U8();
  }
  if (mark != 'N' || !ReadTuple(in, relation->columns, new_row_) || !in.done()) {
    return Malformed("Update");
  }
  if (full) {
    // Under REPLICA IDENTITY FULL the old row has what an unchanged TOAST value is. It is never
    // null: a null there comes from a partition that logs only its key under a root that is FULL.
    for (size_t i = 0; i < new_row_.size(); ++i) {
      if (new_row_[i].kind == FieldValue::Kind::kAbsent &&
          old_row_[i].kind != FieldValue::Kind::kNull) {
        new_row_[i] = old_row_[i];
      }
    }
  }
  LeaveOutNulls(old_row_);
  return Emit(*relation, Operation::kUpdate, new_row_, old_row_);
}

absl::Status PgOutputDecoder::Delete(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, ChangedRelation(in.U32()));
  const uint8_t mark = in.U8();
  if ((mark != 'K' && mark != 'O') || !ReadTuple(in, relation->columns, old_row_) || !in.done()) {
    return Malformed("Delete");
  }
  LeaveOutNulls(old_row_);
  return Emit(*relation, Operation::kDelete, {}, old_row_);
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
  EmitBegin();
  PGC_RETURN_IF_ERROR(NextSeq());
  return EncodeTruncate(blocks_, tables,
                        {.cascade = (options & 1) != 0, .restart_identity = (options & 2) != 0},
                        checkpoint_);
}

absl::Status PgOutputDecoder::LogicalMessage(ByteReader& in) {
  const bool transactional = (in.U8() & 1) != 0;
  const Lsn lsn{in.U64()};
  const std::string_view prefix = in.CString();
  const std::span<const uint8_t> content = in.Bytes(in.U32());
  if (!in.done()) return Malformed("Message");
  if (transactional != in_transaction_) {
    return Malformed("Message", transactional ? "outside its transaction" : "in a transaction");
  }
  if (prefix == kHeartbeatPrefix) return absl::OkStatus();
  if (transactional) {
    EmitBegin();
    PGC_RETURN_IF_ERROR(NextSeq());
  } else {
    // The server names the end of the message's record, where a commit record can begin.
    const Lsn own{lsn.value == 0 ? 0 : lsn.value - 1};
    if (own <= checkpoint_.lsn) {
      return Malformed("Message", fmt::format("its LSN {} is not after {}", ToString(lsn),
                                              ToString(checkpoint_.lsn)));
    }
    checkpoint_ = {.lsn = own, .seq = 0};
  }
  return EncodeLogicalMessage(blocks_, prefix, content, transactional, checkpoint_);
}

absl::StatusOr<Relation*> PgOutputDecoder::FindRelation(uint32_t oid) {
  if (!in_transaction_) return Malformed("change", "outside a transaction");
  Relation* const relation = relations_.Find(oid);
  if (relation == nullptr) {
    return Malformed("change", fmt::format("no Relation message came for table oid {}", oid));
  }
  return relation;
}

absl::StatusOr<Relation*> PgOutputDecoder::ChangedRelation(uint32_t oid) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, FindRelation(oid));
  EmitBegin();
  return relation;
}

absl::Status PgOutputDecoder::Emit(Relation& relation, Operation op,
                                   std::span<const FieldValue> new_row,
                                   std::span<const FieldValue> old_row) {
  if (!relation.emitted || (!HasField(new_row) && !HasField(old_row))) return absl::OkStatus();
  // A row of the log is a command; its removal is none.
  if (relation.is_ddl_log() && op != Operation::kInsert) return absl::OkStatus();
  PGC_RETURN_IF_ERROR(NextSeq());
  return relation.encoder.Encode(blocks_, op, new_row, old_row, checkpoint_);
}

void PgOutputDecoder::EmitBegin() {
  if (begin_emitted_) return;
  EncodeBegin(blocks_, checkpoint_.lsn, commit_time_, xid_);
  begin_emitted_ = true;
}

absl::Status PgOutputDecoder::NextSeq() {
  if (checkpoint_.seq == UINT32_MAX) {
    return absl::ResourceExhaustedError(fmt::format(
        "the transaction at {} has more than {} changes", ToString(checkpoint_.lsn), UINT32_MAX));
  }
  ++checkpoint_.seq;
  return absl::OkStatus();
}

}  // namespace pgc
