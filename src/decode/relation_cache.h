#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "event/encoder.h"

namespace pgc {

// A table as the stream itself described it, as of the changes that follow.
struct Relation {
  TableEncoder encoder;
  uint16_t columns = 0;
  // Its changes are events; false for catalogs and for the sink's own bookkeeping.
  bool emitted = true;
  // Less than the whole row identifies a row.
  bool has_key = false;
  // Of the log of DDL, which is read here; empty for all others.
  std::vector<std::string> names;

  bool is_ddl_log() const { return !names.empty(); }
};

// The newest description of each table, by OID. Not thread-safe.
class RelationCache {
 public:
  // The server describes a table once and never again, so nothing can be evicted.
  static constexpr size_t kMaxBytes = 64 << 20;

  // Whether changes of the table are events (docs/contract.md, section 3).
  static bool IsEmitted(TableName table);

  // A table described again replaces the earlier one. At most 65,535 columns. ResourceExhausted
  // when the cache would outgrow kMaxBytes.
  absl::Status Put(uint32_t oid, TableName table, std::span<const TableEncoder::Column> columns);

  // nullptr when the stream has not described that table. Valid until the next Put.
  Relation* Find(uint32_t oid);

 private:
  absl::flat_hash_map<uint32_t, std::unique_ptr<Relation>> relations_;
  size_t bytes_ = 0;
  // The last one found: changes of one table tend to follow one another.
  uint32_t last_oid_ = 0;
  Relation* last_ = nullptr;
};

}  // namespace pgc
