// pgoutput, protocol version 2: what decode/pgoutput.h describes, and transactions that arrive in
// pieces while they are still in progress (PostgreSQL 14 and later, with `streaming 'on'`):
//
//   S  Stream Start   u32 xid, u8 first piece (1)
//   E  Stream Stop
//   c  Stream Commit  u32 xid, u8 flags (0), u64 commit lsn, u64 end lsn, i64 commit time
//   A  Stream Abort   u32 xid, u32 subxid (xid itself: all of it)
//
// Between S and E the messages R, Y, I, U, D, T and M have, after their kind, the u32 xid of the
// (sub)transaction that they belong to. c comes in commit order with the Commits of the others.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "decode/pgoutput.h"
#include "source/ddl_rows.h"
#include "source/transaction_spool.h"

namespace pgc {

// Puts transactions in pieces together in a spool, and decodes them at their commit; also the way
// of any other plugin's messages, which are all of whole transactions. Not thread-safe.
class StreamDecoder {
 public:
  // Without a spool, a transaction in pieces is DataLoss: it was not asked for.
  explicit StreamDecoder(
      std::unique_ptr<TransactionSpool> spool,
      std::unique_ptr<EventDecoder> decoder = std::make_unique<PgOutputDecoder>())
      : spool_(std::move(spool)), events_(std::move(decoder)) {
    events_->set_ddl_log_reader(&ddl_rows_);
  }
  bool takes_pieces() const { return spool_ != nullptr; }

  // Takes one message; not while replaying(). Errors as EventDecoder::Decode and of the spool.
  absl::Status Decode(std::span<const uint8_t> message);

  // A transaction that came in pieces has been committed and is not decoded to its end yet, or the
  // last message waits for what the server has to be asked for.
  bool replaying() const { return replay_ != nullptr || events_->waiting(); }
  // Decodes more of it: until its end, or until `bytes` of its messages were read. Or asks.
  absl::Status Replay(size_t bytes);

  // Neither inside a transaction nor inside a piece of one.
  bool between_transactions() const { return !events_->in_transaction() && !in_piece(); }

  // The blocks, and how far they reach.
  EventDecoder& events() { return *events_; }

 private:
  struct Ending {
    Lsn commit_lsn;
    Lsn end_lsn;
    PgTimestamp commit_time;
  };

  bool in_piece() const { return spool_ != nullptr && spool_->started() != 0; }
  absl::Status StreamStart(ByteReader& in);
  absl::Status StreamStop(ByteReader& in);
  absl::Status StreamCommit(ByteReader& in);
  absl::Status StreamAbort(ByteReader& in);
  absl::Status Spool(std::span<const uint8_t> message);

  const std::unique_ptr<TransactionSpool> spool_;
  DdlRows ddl_rows_;
  const std::unique_ptr<EventDecoder> events_;
  std::unique_ptr<SpooledTransaction> replay_;
  Ending ending_;  // of the transaction in replay_
};

}  // namespace pgc
