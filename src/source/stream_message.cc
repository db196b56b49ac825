#include "source/stream_message.h"

#include <fmt/format.h>

#include "base/byte_reader.h"

namespace pgc {
namespace {

absl::Status Malformed(std::string_view what, size_t bytes) {
  return absl::DataLossError(
      fmt::format("malformed message in the replication stream: {} of {} bytes", what, bytes));
}

uint8_t* WriteBig(uint8_t* out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) *out++ = static_cast<uint8_t>(value >> shift);
  return out;
}

}  // namespace

absl::StatusOr<StreamMessage> ParseStreamMessage(std::span<const uint8_t> bytes) {
  ByteReader in(bytes);
  StreamMessage message;
  switch (const uint8_t kind = in.U8(); kind) {
    case 'w':
      (void)in.U64();
      (void)in.U64();
      (void)in.I64();
      message.data = in.Bytes(in.remaining());
      if (!in.ok() || message.data.empty()) return Malformed("XLogData", bytes.size());
      return message;
    case 'k':
      message.kind = StreamMessage::Kind::kKeepalive;
      message.wal_end = Lsn{in.U64()};
      (void)in.I64();
      message.reply_requested = in.U8() != 0;
      if (!in.done()) return Malformed("Keepalive", bytes.size());
      return message;
    default:
      return Malformed(fmt::format("unknown kind 0x{:02x}", kind), bytes.size());
  }
}

StatusUpdate MakeStatusUpdate(Lsn flushed, int64_t now_us, bool reply_requested) {
  StatusUpdate update;
  uint8_t* out = update.data();
  *out++ = 'r';
  for (int i = 0; i < 3; ++i) out = WriteBig(out, flushed.value);
  out = WriteBig(out, static_cast<uint64_t>(now_us));
  *out = reply_requested ? 1 : 0;
  return update;
}

}  // namespace pgc
