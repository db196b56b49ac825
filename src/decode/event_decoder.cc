#include "decode/event_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

// What the event triggers write when they cannot write the row; the content is the command's tag.
constexpr std::string_view kDdlLostPrefix = "pgcapture.ddl_lost";

// A tag as it is, and nothing of what is none: anybody can write such a message.
std::string OnlyTag(std::span<const uint8_t> content) {
  constexpr size_t kLongestTag = 40;
  std::string tag(content.begin(), content.end());
  const bool is_tag = tag.size() <= kLongestTag &&
                      tag.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ ") == std::string::npos;
  return is_tag ? tag : "?";
}

bool IsValue(const FieldValue& value) {
  return value.kind == FieldValue::Kind::kBinary || value.kind == FieldValue::Kind::kText;
}

// An old row holds only what identifies the row: nulls are left out. Where it is all nulls, they
// are what identifies it.
void LeaveOutNulls(std::vector<FieldValue>& row) {
  if (std::none_of(row.begin(), row.end(), IsValue)) return;
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

}  // namespace

absl::Status EventDecoder::Malformed(std::string_view kind, std::string_view what) {
  return absl::DataLossError(
      fmt::format("malformed {} message in the replication stream: {}", kind, what));
}

absl::Status EventDecoder::UnknownKind(std::span<const uint8_t> message) {
  return absl::DataLossError(
      fmt::format("unknown message kind 0x{:02x} of {} bytes in the replication stream",
                  message.empty() ? 0 : message[0], message.size()));
}

absl::Status EventDecoder::BeginTransaction(Lsn final_lsn, PgTimestamp commit_time, uint32_t xid) {
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

absl::Status EventDecoder::CommitTransaction(Lsn commit_lsn, Lsn end_lsn, PgTimestamp commit_time) {
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

absl::StatusOr<Relation*> EventDecoder::FindRelation(uint32_t oid) {
  if (!in_transaction_) return Malformed("change", "outside a transaction");
  Relation* const relation = relations_.Find(oid);
  if (relation == nullptr) {
    return Malformed("change", fmt::format("no Relation message came for table oid {}", oid));
  }
  return relation;
}

absl::Status EventDecoder::EmitInsert(Relation& relation) {
  if (relation.is_ddl_log() && ddl_log_reader_ != nullptr &&
      !ddl_log_reader_->Take(relation.names, new_row_)) {
    return absl::OkStatus();
  }
  return EmitChange(relation, Operation::kInsert, new_row_, {});
}

absl::Status EventDecoder::EmitUpdate(Relation& relation, bool full) {
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
  return EmitChange(relation, Operation::kUpdate, new_row_, old_row_);
}

absl::Status EventDecoder::EmitDelete(Relation& relation) {
  LeaveOutNulls(old_row_);
  return EmitChange(relation, Operation::kDelete, {}, old_row_);
}

absl::Status EventDecoder::EmitChange(Relation& relation, Operation op,
                                      std::span<const FieldValue> new_row,
                                      std::span<const FieldValue> old_row) {
  // A row of the log is a command; its removal is none.
  if (relation.is_ddl_log() && op != Operation::kInsert) return absl::OkStatus();
  EmitBegin();
  if (!relation.emitted || (!HasField(new_row) && !HasField(old_row))) return absl::OkStatus();
  PGC_RETURN_IF_ERROR(NextSeq());
  return relation.encoder.Encode(blocks_, op, new_row, old_row, checkpoint_);
}

absl::Status EventDecoder::EmitTruncate(std::span<const TableName> tables,
                                        TruncateOptions options) {
  EmitBegin();
  PGC_RETURN_IF_ERROR(NextSeq());
  return EncodeTruncate(blocks_, tables, options, checkpoint_);
}

absl::Status EventDecoder::EmitLogicalMessage(std::string_view prefix,
                                              std::span<const uint8_t> content, bool transactional,
                                              Lsn lsn) {
  if (transactional != in_transaction_) {
    return Malformed("Message", transactional ? "outside its transaction" : "in a transaction");
  }
  if (prefix == kHeartbeatPrefix) return absl::OkStatus();
  if (prefix == kSequencesPrefix) return EmitSequences(content, transactional, lsn);
  if (prefix == kSyncSequencesPrefix) {
    if (sync_sequences_) sync_sequences_();
    return absl::OkStatus();
  }
  if (prefix == kDdlLostPrefix) {
    log::Warning(
        "a DDL command of the source could not be written into its log, and is missing here",
        {{"tag", OnlyTag(content)}});
  }
  if (transactional) {
    EmitBegin();
    PGC_RETURN_IF_ERROR(NextSeq());
  } else {
    PGC_RETURN_IF_ERROR(OutsideTransaction(lsn));
  }
  return EncodeLogicalMessage(blocks_, prefix, content, transactional, checkpoint_);
}

// The place of a message that belongs to no transaction.
absl::Status EventDecoder::OutsideTransaction(Lsn lsn) {
  // The server names the end of the message's record, where a commit record can begin.
  const Lsn own{lsn.value == 0 ? 0 : lsn.value - 1};
  if (own <= checkpoint_.lsn) {
    return Malformed("Message", fmt::format("its LSN {} is not after {}", ToString(lsn),
                                            ToString(checkpoint_.lsn)));
  }
  checkpoint_ = {.lsn = own, .seq = 0};
  return absl::OkStatus();
}

absl::Status EventDecoder::EmitSequences(std::span<const uint8_t> content, bool transactional,
                                         Lsn lsn) {
  // Written by somebody else, or by an earlier run: this one writes them all again.
  const std::string_view secret(reinterpret_cast<const char*>(content.data()),
                                std::min(content.size(), kSequencesSecretBytes));
  if (transactional || secret.size() != kSequencesSecretBytes || secret != sequences_secret_) {
    return absl::OkStatus();
  }
  PGC_RETURN_IF_ERROR(OutsideTransaction(lsn));
  return EncodeSequences(blocks_, content.subspan(kSequencesSecretBytes), checkpoint_);
}

void EventDecoder::EmitBegin() {
  if (begin_emitted_) return;
  EncodeBegin(blocks_, checkpoint_.lsn, commit_time_, xid_);
  begin_emitted_ = true;
}

absl::Status EventDecoder::NextSeq() {
  if (checkpoint_.seq == UINT32_MAX) {
    return absl::ResourceExhaustedError(fmt::format(
        "the transaction at {} has more than {} changes", ToString(checkpoint_.lsn), UINT32_MAX));
  }
  ++checkpoint_.seq;
  return absl::OkStatus();
}

}  // namespace pgc
