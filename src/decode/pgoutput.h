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
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/byte_reader.h"
#include "decode/event_decoder.h"

namespace pgc {

// See EventDecoder.
class PgOutputDecoder final : public EventDecoder {
 public:
  // `publication` is the one that is decoded. PostgreSQL leaves the TRUNCATE of a single partition
  // out of it; the extension's message of that, for this publication, becomes a TRUNCATE.
  explicit PgOutputDecoder(std::string publication = {}) : publication_(std::move(publication)) {}

  absl::Status Decode(std::span<const uint8_t> message) override;

 private:
  absl::Status Begin(ByteReader& in);
  absl::Status Commit(ByteReader& in);
  absl::Status ReadRelation(ByteReader& in);
  absl::Status Insert(ByteReader& in);
  absl::Status Update(ByteReader& in);
  absl::Status Delete(ByteReader& in);
  absl::Status Truncate(ByteReader& in);
  absl::Status LogicalMessage(ByteReader& in);
  absl::StatusOr<bool> TruncateOfPartition(std::span<const uint8_t> content);

  const std::string publication_;
};

}  // namespace pgc
