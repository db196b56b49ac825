// pgoutput, protocol version 1, decoded straight into blocks of encoded events.
//
// The grammar (PostgreSQL's documentation, "Logical Replication Message Formats"; integers are
// big-endian, text ends in NUL):
//
//   B  Begin     u64 final lsn, i64 commit time, u32 xid
//   C  Commit    u8 flags (0), u64 commit lsn, u64 end lsn, i64 commit time
//   O  Origin    u64 lsn, text name
//   R  Relation  u32 oid, text schema, text name, u8 replica identity, u16 n,
//                n x (u8 flags, text name, u32 type oid, u32 type modifier)
//   Y  Type      u32 oid, text schema, text name
//   I  Insert    u32 relation, 'N' tuple
//   U  Update    u32 relation, ['K' tuple | 'O' tuple], 'N' tuple
//   D  Delete    u32 relation, 'K' tuple | 'O' tuple
//   T  Truncate  u32 n, u8 options (1 cascade, 2 restart identity), n x u32 relation
//   M  Message   u8 flags (1 transactional), u64 lsn, text prefix, u32 length, bytes
//   tuple        u16 n, n x ('n' null | 'u' unchanged TOAST | 't' u32 length, text |
//                'b' u32 length, binary)
//
// B opens a transaction and C ends it; R, Y, I, U, D, T come only inside one, and M when it is
// transactional. The lsn of M is where its record ends.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "decode/byte_reader.h"
#include "decode/ddl_log.h"
#include "decode/relation_cache.h"
#include "event/encoder.h"

namespace pgc {

// Decodes one stream from its start. Not thread-safe.
//
// A transaction without a change, a TRUNCATE or a logical message leaves no event: from PostgreSQL
// 15 the server leaves such transactions out itself. Heartbeats leave none either.
class PgOutputDecoder {
 public:
  // Of the logical messages by which capture itself moves an idle database's slot.
  static constexpr std::string_view kHeartbeatPrefix = "pgcapture.heartbeat";

  // `reader`, which outlives this, sees each row inserted into the log of DDL before it is an
  // event; without one they are as they came. Later changes of those rows are no events.
  void set_ddl_log_reader(DdlLogReader* reader) { ddl_log_reader_ = reader; }

  // Decodes one message. DataLoss, naming the kind of message, when it is malformed or out of
  // place: the stream cannot be continued then. ResourceExhausted for a change or a set of tables
  // beyond the limits.
  absl::Status Decode(std::span<const uint8_t> message);
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

 private:
  absl::Status Begin(ByteReader& in);
  absl::Status Commit(ByteReader& in);
  absl::Status Insert(ByteReader& in);
  absl::Status Update(ByteReader& in);
  absl::Status Delete(ByteReader& in);
  absl::Status Truncate(ByteReader& in);
  absl::Status LogicalMessage(ByteReader& in);

  // DataLoss when it is unknown.
  absl::StatusOr<Relation*> FindRelation(uint32_t oid);
  // The relation of a change, after emitting a Begin held back.
  absl::StatusOr<Relation*> ChangedRelation(uint32_t oid);
  absl::Status Emit(Relation& relation, Operation op, std::span<const FieldValue> new_row,
                    std::span<const FieldValue> old_row);
  void EmitBegin();
  absl::Status NextSeq();

  BlockStream blocks_;
  DdlLogReader* ddl_log_reader_ = nullptr;
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
