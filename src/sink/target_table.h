// The target's tables as its catalog describes them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/block.h"
#include "pg/connection.h"
#include "sink/type_shape.h"

namespace pgc {

struct TargetColumn {
  std::string name;
  uint32_t type_oid = 0;
  std::string type;  // its name, as SQL
  bool generated = false;
  bool identity_always = false;
  std::string equals = {};  // the operator by which the key, or an index, finds it; empty: neither
  // Of a table without a key: the operator of its equality that can be hashed; empty: none is
  // known.
  std::string hash_equals = {};
  // How user-defined types lie in its values; nullptr when they do not.
  const TypeShape* shape = nullptr;
};

// A table that rows are applied to. Valid until the catalog is forgotten.
struct TargetTable {
  std::string schema;
  std::string name;
  std::string quoted;  // "schema"."name"
  uint32_t row_type_oid = 0;
  bool partitioned = false;
  // There are unique or exclusion constraints beside the key: rows are in each other's way, and
  // their order matters.
  bool ordered = false;
  // It has triggers or rules that act on applied rows too, and may see other tables.
  bool has_triggers = false;
  bool has_identity_always = false;
  // A row of it cannot be sent as a whole with NULLs in the place of what is not needed: a domain
  // checks them, or a type has no binary form.
  bool one_by_one = false;
  std::vector<TargetColumn> columns;
  // What identifies a row: places in `columns`; empty when the table has no key.
  std::vector<size_t> key;
  // Keys are equal only where their bytes are.
  bool key_is_bytes = false;
  // Leading columns of indexes, for tables without a key.
  std::vector<size_t> indexed;

  // The place of a column by its name.
  std::optional<size_t> Find(std::string_view column) const;

  absl::flat_hash_map<std::string, size_t> places;

  // Columns that the source has, as its new rows show; empty as long as none was seen.
  mutable std::vector<bool> of_source;
  bool MayBeOfSource(size_t column) const { return of_source.empty() || of_source[column]; }
};

// NotFound, with the way out.
absl::Status NoSuchTable(TableName name);

// Reads tables when they are first asked for. Not thread-safe.
class TargetCatalog {
 public:
  // Asks the target over this connection; it must not be in pipeline mode then.
  explicit TargetCatalog(Connection& connection) : connection_(connection) {}

  // nullptr when it has not been read yet.
  const TargetTable* Find(TableName name) const;
  // NotFound when the target has no such table; FailedPrecondition when it takes no rows.
  absl::StatusOr<const TargetTable*> Read(TableName name, const std::stop_token& stop);

  // Whether there is such a table and an extension has made it.
  absl::StatusOr<bool> IsOfExtension(TableName name, const std::stop_token& stop);

  // Tables are read anew; pointers are void.
  void Forget();

 private:
  absl::Status ReadColumns(TargetTable& table, const std::string& oid, const std::stop_token& stop);
  absl::Status ReadIndexes(TargetTable& table, const std::string& oid, const std::stop_token& stop);

  Connection& connection_;
  TypeShapes shapes_{connection_};
  absl::flat_hash_map<std::string, std::unique_ptr<TargetTable>> tables_;  // by schema, NUL, name
  mutable std::string key_;
};

}  // namespace pgc
