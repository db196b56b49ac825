#include "decode/relation_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "decode/ddl_log.h"

namespace pgc {
namespace {

// What a relation costs beside its names.
constexpr size_t kRelationOverheadBytes = 256;
constexpr size_t kColumnOverheadBytes = 16;

size_t Cost(const Relation& relation) {
  return kRelationOverheadBytes + relation.columns * kColumnOverheadBytes +
         relation.encoder.bytes();
}

}  // namespace

bool RelationCache::IsEmitted(TableName table) {
  // pgoutput writes pg_catalog as an empty name.
  return !table.schema.empty() && table.schema != "pg_catalog" &&
         table.schema != "information_schema" && table.schema != "pglogical" &&
         !table.schema.starts_with("pg_toast") &&
         table != TableName{.schema = "pgcapture", .name = "sources"};
}

absl::Status RelationCache::Put(uint32_t oid, TableName table,
                                std::span<const TableEncoder::Column> columns) {
  const bool has_key =
      std::any_of(columns.begin(), columns.end(), [](const auto& column) { return column.is_key; });
  auto relation =
      std::make_unique<Relation>(Relation{.encoder = TableEncoder(table, columns),
                                          .columns = static_cast<uint16_t>(columns.size()),
                                          .emitted = IsEmitted(table),
                                          .has_key = has_key,
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
