#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/byte_reader.h"
#include "decode/ddl_log.h"
#include "decode/relation_cache.h"
#include "event/encoder.h"

namespace pgc {

// What the decoders of all output plugins have in common: transactions and their order, and how
// changes become events in blocks. Decodes one stream from its start. Not thread-safe.
//
// A transaction without a change, a TRUNCATE or a logical message leaves no event: from PostgreSQL
// 15 the server leaves such transactions out itself. Heartbeats leave none either.
class EventDecoder {
 public:
  // Of the logical messages by which capture itself moves an idle database's slot.
  static constexpr std::string_view kHeartbeatPrefix = "pgcapture.heartbeat";
  // Of the positions of sequences that capture itself writes: a secret, then a `Sequences`.
  static constexpr std::string_view kSequencesPrefix = "pgcapture.sequences";
  // Of what anybody may write to have them written now.
  static constexpr std::string_view kSyncSequencesPrefix = "pgcapture.sync_sequences";
  static constexpr size_t kSequencesSecretBytes = 16;

  virtual ~EventDecoder() = default;

  // `reader`, which outlives this, sees each row inserted into the log of DDL before it is an
  // event; without one they are as they came. Later changes of those rows are no events.
  void set_ddl_log_reader(DdlLogReader* reader) { ddl_log_reader_ = reader; }

  // Any role may write a message with any prefix, and a sink acts on positions of sequences: so
  // only those that begin with `secret`, of kSequencesSecretBytes, become events, and without one
  // none do. `sync` is called, by Decode, for each wish to have them written. A wish is no event,
  // nor are positions without the secret.
  void set_sequences(std::string secret, std::function<void()> sync) {
    sequences_secret_ = std::move(secret);
    sync_sequences_ = std::move(sync);
  }

  // Decodes one message. DataLoss, naming the kind of message, when it is malformed or out of
  // place: the stream cannot be continued then. ResourceExhausted for a change or a set of tables
  // beyond the limits.
  virtual absl::Status Decode(std::span<const uint8_t> message) = 0;

  // The last message needs something of the server before the next can be decoded. Resume() gets
  // it, and may take as long as a query.
  virtual bool waiting() const { return false; }
  virtual absl::Status Resume() { return absl::OkStatus(); }

  // What a Begin and a Commit message do, for a transaction that came without them.
  absl::Status BeginTransaction(Lsn final_lsn, PgTimestamp commit_time, uint32_t xid);
  absl::Status CommitTransaction(Lsn commit_lsn, Lsn end_lsn, PgTimestamp commit_time);

  // Blocks finished because they were full, oldest first.
  std::vector<std::shared_ptr<const Block>> TakeFull() { return blocks_.TakeFull(); }
  // The events after those, or nullptr when there are none. TakeFull() comes before.
  std::shared_ptr<const Block> Flush() { return blocks_.Flush(); }
  size_t pending_bytes() const { return blocks_.pending_bytes(); }

  // Begin has been seen and its Commit has not.
  bool in_transaction() const { return in_transaction_; }
  // End of the last transaction decoded whole; zero before the first.
  Lsn end_lsn() const { return end_lsn_; }

 protected:
  EventDecoder() = default;
  EventDecoder(const EventDecoder&) = delete;
  EventDecoder& operator=(const EventDecoder&) = delete;

  static absl::Status Malformed(std::string_view kind,
                                std::string_view what = "cut off or too long");
  static absl::Status UnknownKind(std::span<const uint8_t> message);

  RelationCache& relations() { return relations_; }
  uint32_t xid() const { return xid_; }
  Lsn lsn() const { return checkpoint_.lsn; }  // of the transaction, or of the last before it

  // DataLoss when it is unknown, or outside a transaction.
  absl::StatusOr<Relation*> FindRelation(uint32_t oid);

  // The rows of a change, to be filled before it is emitted.
  std::vector<FieldValue>& new_row() { return new_row_; }
  std::vector<FieldValue>& old_row() { return old_row_; }
  absl::Status EmitInsert(Relation& relation);
  // `full`: the old row is the whole one, of REPLICA IDENTITY FULL; without one it is empty.
  absl::Status EmitUpdate(Relation& relation, bool full);
  absl::Status EmitDelete(Relation& relation);
  absl::Status EmitTruncate(std::span<const TableName> tables, TruncateOptions options);
  absl::Status EmitLogicalMessage(std::string_view prefix, std::span<const uint8_t> content,
                                  bool transactional, Lsn lsn);

 private:
  absl::Status EmitChange(Relation& relation, Operation op, std::span<const FieldValue> new_row,
                          std::span<const FieldValue> old_row);
  void EmitBegin();
  absl::Status NextSeq();
  absl::Status OutsideTransaction(Lsn lsn);
  absl::Status EmitSequences(std::span<const uint8_t> content, bool transactional, Lsn lsn);

  BlockStream blocks_;
  DdlLogReader* ddl_log_reader_ = nullptr;
  std::string sequences_secret_;
  std::function<void()> sync_sequences_;
  RelationCache relations_;
  std::vector<FieldValue> new_row_;
  std::vector<FieldValue> old_row_;

  bool in_transaction_ = false;
  bool begin_emitted_ = false;
  Checkpoint checkpoint_;  // of the newest event of the transaction
  PgTimestamp commit_time_;
  uint32_t xid_ = 0;
  Lsn end_lsn_;
};

}  // namespace pgc
