// pglogical_output, protocol version 1 in its native format, decoded straight into blocks of
// encoded events.
//
// The grammar (integers are big-endian; a name is followed by NUL, which its length counts; flags
// are 0 unless said):
//
//   S  Startup   u8 format (1), then until the end: text key, text value (each ends in NUL)
//   B  Begin     u8 flags, u64 final lsn, i64 commit time, u32 xid
//   C  Commit    u8 flags, u64 commit lsn, u64 end lsn, i64 commit time
//   O  Origin    u8 flags, u64 lsn, u8 length, name
//   R  Relation  u8 flags, u32 oid, u8 length, schema, u8 length, name, 'A' u16 n,
//                n x ('C' u8 flags (1 part of the key), 'N' u16 length, name)
//   I  Insert    u8 flags, u32 relation, 'N' tuple
//   U  Update    u8 flags, u32 relation, ['K' tuple], 'N' tuple
//   D  Delete    u8 flags, u32 relation, 'K' tuple
//   tuple        'T' u16 n, n x ('n' null | 'u' unchanged TOAST | 't' u32 length, text, NUL (the
//                length counts it) | 'b' u32 length, binary)
//
// S comes first and once. B opens a transaction and C ends it, also one without a change; the rest
// comes only inside one.
//
// R has no types: they are asked of the server's catalog, which may have changed since. Nor does it
// say whether the replica identity is FULL, but only then is there an old tuple without a key.
//
// TRUNCATE has no message of its own: pglogical's trigger writes a row for each table into its
// table `queue`, whose inserts are sent like any other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/byte_reader.h"
#include "decode/event_decoder.h"
#include "decode/recent_xids.h"

namespace pgc {

// A table as the server's catalog has it now.
struct CatalogTable {
  struct Column {
    uint32_t type_oid = 0;
    // The transaction that last altered it since its table was made; 0 when that is certain to lie
    // before all that is still to be decoded, or it never was altered.
    uint32_t altered_by = 0;
  };
  absl::flat_hash_map<std::string, Column> columns;  // by name; none: the table is gone
};

// See EventDecoder.
//
// A value whose type the catalog no longer tells, because its table or column was dropped or
// renamed since, is passed on with type OID 0. A warning names the table, then and where an
// altered column may have had another type.
class PglogicalDecoder final : public EventDecoder {
 public:
  // The table with that OID, of which changes of the transaction `xid` are to be decoded. What
  // fails it fails Resume().
  using ReadCatalog = std::function<absl::StatusOr<CatalogTable>(uint32_t oid, uint32_t xid)>;

  explicit PglogicalDecoder(ReadCatalog read_catalog) : read_catalog_(std::move(read_catalog)) {}

  // FailedPrecondition for a server that speaks another version of the protocol.
  absl::Status Decode(std::span<const uint8_t> message) override;
  // After a Relation message: its types are to be read from the catalog.
  bool waiting() const override { return described_.has_value(); }
  absl::Status Resume() override;

 private:
  // A Relation message, without what the catalog adds.
  struct Described {
    struct Column {
      std::string name;
      bool is_key = false;
    };
    uint32_t oid = 0;
    std::string schema;
    std::string name;
    std::vector<Column> columns;

    TableName table() const { return {.schema = schema, .name = name}; }
  };
  // Where inserts into pglogical's queue have what is needed of them.
  struct Queue {
    uint32_t oid = 0;
    size_t type = 0;  // places of columns
    size_t message = 0;
  };
  struct TruncatedTable {
    std::string schema;
    std::string name;
  };

  absl::Status Startup(ByteReader& in);
  absl::Status Begin(ByteReader& in);
  absl::Status Commit(ByteReader& in);
  absl::Status ReadRelation(ByteReader& in);
  absl::Status Insert(ByteReader& in);
  absl::Status Update(ByteReader& in);
  absl::Status Delete(ByteReader& in);

  absl::StatusOr<Relation*> ReadChanged(ByteReader& in);
  absl::Status Put(const Described& described, const CatalogTable* catalog);
  absl::Status FindQueue(const Described& described);
  absl::Status TakeQueued();
  absl::Status EmitTruncated();
  void Warn(const Described& described, const CatalogTable& catalog);

  const ReadCatalog read_catalog_;
  bool started_ = false;
  std::optional<Described> described_;
  std::optional<Queue> queue_;
  // By one TRUNCATE or by several in a row, which have the same effect as one.
  std::vector<TruncatedTable> truncated_;
  size_t truncated_bytes_ = 0;
  RecentXids begun_;
  absl::flat_hash_map<uint32_t, std::string> warned_;  // by table: the last warning
};

}  // namespace pgc
