#include "source/stream_decoder.h"

#include <fmt/format.h>

#include <cassert>

#include "base/status_macros.h"

namespace pgc {
namespace {

absl::Status Malformed(std::string_view kind, std::string_view what = "cut off or too long") {
  return absl::DataLossError(
      fmt::format("malformed {} message in the replication stream: {}", kind, what));
}

}  // namespace

absl::Status StreamDecoder::Decode(std::span<const uint8_t> message) {
  assert(!replaying());
  if (spool_ == nullptr) return events_->Decode(message);
  ByteReader in(message);
  switch (in.U8()) {
    case 'S':
      return StreamStart(in);
    case 'E':
      return StreamStop(in);
    case 'c':
      return StreamCommit(in);
    case 'A':
      return StreamAbort(in);
    default:
      return in_piece() ? Spool(message) : events_->Decode(message);
  }
}

absl::Status StreamDecoder::StreamStart(ByteReader& in) {
  const uint32_t xid = in.U32();
  const bool first = in.U8() == 1;
  if (!in.done()) return Malformed("Stream Start");
  if (events_->in_transaction()) return Malformed("Stream Start", "inside a transaction");
  return spool_->Start(xid, first);
}

absl::Status StreamDecoder::StreamStop(ByteReader& in) {
  return in.done() ? spool_->Stop() : Malformed("Stream Stop");
}

absl::Status StreamDecoder::StreamAbort(ByteReader& in) {
  const uint32_t xid = in.U32();
  const uint32_t subxid = in.U32();
  if (!in.done()) return Malformed("Stream Abort");
  // PostgreSQL 18 sends it also for transactions of which it has sent nothing. One that was lost
  // would be missed at its commit.
  if (!in_piece() && !spool_->has(xid)) return absl::OkStatus();
  return spool_->Abort(xid, subxid);
}

absl::Status StreamDecoder::StreamCommit(ByteReader& in) {
  const uint32_t xid = in.U32();
  (void)in.U8();
  Ending ending;
  ending.commit_lsn = Lsn{in.U64()};
  ending.end_lsn = Lsn{in.U64()};
  ending.commit_time = {in.I64()};
  if (!in.done()) return Malformed("Stream Commit");
  PGC_ASSIGN_OR_RETURN(replay_, spool_->Commit(xid));
  ending_ = ending;
  return events_->BeginTransaction(ending.commit_lsn, ending.commit_time, xid);
}

absl::Status StreamDecoder::Spool(std::span<const uint8_t> message) {
  const uint8_t kind = message.empty() ? 0 : message[0];
  switch (kind) {
    case 'R':
    case 'Y':
    case 'I':
    case 'U':
    case 'D':
    case 'T':
    case 'M': {
      ByteReader in(message.subspan(1));
      const uint32_t subxid = in.U32();
      if (!in.ok()) return Malformed(fmt::format("'{}'", static_cast<char>(kind)));
      return spool_->Append(subxid, kind, message.subspan(1 + sizeof subxid));
    }
    case 'O':
      // Without an xid: of the transaction itself.
      return spool_->Append(spool_->started(), kind, message.subspan(1));
    default:
      return Malformed(fmt::format("0x{:02x}", kind), "inside a piece of a transaction");
  }
}

absl::Status StreamDecoder::Replay(size_t bytes) {
  if (events_->waiting()) return events_->Resume();
  for (size_t read = 0; read < bytes;) {
    PGC_ASSIGN_OR_RETURN(const auto message, replay_->Next());
    if (!message.has_value()) {
      replay_.reset();
      return events_->CommitTransaction(ending_.commit_lsn, ending_.end_lsn, ending_.commit_time);
    }
    PGC_RETURN_IF_ERROR(events_->Decode(*message));
    read += message->size();
  }
  return absl::OkStatus();
}

}  // namespace pgc
