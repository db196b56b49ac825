#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "decode/byte_reader.h"
#include "event/encoder.h"

namespace pgc {

// A table as the stream itself described it, as of the changes that follow.
struct Relation {
  TableEncoder encoder;
  uint16_t columns = 0;
  // Its changes are events; false for catalogs and for the sink's own bookkeeping.
  bool emitted = true;
  // Of the log of DDL, which is read here; empty for all others.
  std::vector<std::string> names;

  bool is_ddl_log() const { return !names.empty(); }
};

// The newest description of each table, by OID. Not thread-safe.
class RelationCache {
 public:
  // The server describes a table once and never again, so nothing can be evicted.
  static constexpr size_t kMaxBytes = 64 << 20;

  // Reads the body of a Relation message; a table described again replaces the earlier one.
  // DataLoss when malformed, ResourceExhausted when the cache would outgrow kMaxBytes.
  absl::Status Read(ByteReader& in);

  // nullptr when the stream has not described that table. Valid until the next Read.
  Relation* Find(uint32_t oid);

 private:
  absl::flat_hash_map<uint32_t, std::unique_ptr<Relation>> relations_;
  size_t bytes_ = 0;
  // The last one found: changes of one table tend to follow one another.
  uint32_t last_oid_ = 0;
  Relation* last_ = nullptr;
};

}  // namespace pgc
