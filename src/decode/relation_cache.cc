#include "decode/relation_cache.h"

#include <fmt/format.h>

#include <utility>

#include "decode/ddl_log.h"

namespace pgc {
namespace {

// What a relation costs beside its names.
constexpr size_t kRelationOverheadBytes = 256;
constexpr size_t kColumnOverheadBytes = 16;

bool IsEmitted(TableName table) {
  // The server writes pg_catalog as an empty name.
  return !table.schema.empty() && table.schema != "pg_catalog" &&
         table.schema != "information_schema" && table.schema != "pglogical" &&
         !table.schema.starts_with("pg_toast") &&
         table != TableName{.schema = "pgcapture", .name = "sources"};
}

size_t Cost(const Relation& relation) {
  return kRelationOverheadBytes + relation.columns * kColumnOverheadBytes +
         relation.encoder.bytes();
}

}  // namespace

absl::Status RelationCache::Read(ByteReader& in) {
  const uint32_t oid = in.U32();
  TableName table;
  table.schema = in.CString();
  table.name = in.CString();
  // Under FULL all columns are marked as the key's, and the whole table is one.
  const bool has_key = in.U8() != 'f';
  const uint16_t count = in.U16();
  std::vector<TableEncoder::Column> columns;
  for (uint16_t i = 0; i < count && in.ok(); ++i) {
    TableEncoder::Column column;
    column.is_key = (in.U8() & 1) != 0 && has_key;
    column.name = in.CString();
    column.type_oid = in.U32();
    (void)in.U32();  // type modifier
    columns.push_back(column);
  }
  if (!in.done()) return absl::DataLossError("malformed Relation message");

  auto relation = std::make_unique<Relation>(Relation{.encoder = TableEncoder(table, columns),
                                                      .columns = count,
                                                      .emitted = IsEmitted(table),
                                                      .names = {}});
  if (table == kDdlLog) {
    for (const TableEncoder::Column& column : columns) relation->names.emplace_back(column.name);
  }
  const auto before = relations_.find(oid);
  const size_t freed = before == relations_.end() ? 0 : Cost(*before->second);
  const size_t cost = Cost(*relation);
  if (bytes_ - freed + cost > kMaxBytes) {
    return absl::ResourceExhaustedError(
        fmt::format("the descriptions of {} tables take more than {} bytes; capture fewer tables "
                    "in one stream (--tables)",
                    relations_.size(), kMaxBytes));
  }
  bytes_ += cost - freed;
  relations_[oid] = std::move(relation);
  last_ = nullptr;
  return absl::OkStatus();
}

Relation* RelationCache::Find(uint32_t oid) {
  if (last_ != nullptr && last_oid_ == oid) return last_;
  const auto found = relations_.find(oid);
  if (found == relations_.end()) return nullptr;
  last_oid_ = oid;
  last_ = found->second.get();
  return last_;
}

}  // namespace pgc
