// Where the OIDs of types lie inside binary values. Arrays, rows and ranges carry them; those of
// user-defined types are another server's, and mean nothing on the target.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pg/connection.h"

namespace pgc {

// Types below are PostgreSQL's own, the same on every server.
constexpr uint32_t kFirstUserOid = 16'384;

// A type whose binary values have OIDs of user-defined types in them.
struct TypeShape {
  enum class Kind : uint8_t { kArray, kComposite, kRange, kMultirange };
  struct Member {
    uint32_t oid = 0;
    const TypeShape* shape = nullptr;  // nullptr: nothing in it
  };
  Kind kind = Kind::kArray;
  std::vector<Member> members;  // the element, the bounds' type, or the attributes
};

// Puts the target's OIDs into `value`. False when it is no binary value of that shape; then some
// of it may be changed.
bool TranslateOids(const TypeShape& shape, std::span<uint8_t> value);

// Asks the target what its types are. Not thread-safe.
class TypeShapes {
 public:
  explicit TypeShapes(Connection& connection) : connection_(connection) {}

  // The shape of a type; nullptr when there is nothing to translate. Valid until Forget.
  absl::StatusOr<const TypeShape*> Get(uint32_t oid, const std::stop_token& stop);
  void Forget() {
    known_.clear();
    shapes_.clear();
  }

 private:
  absl::StatusOr<const TypeShape*> Read(uint32_t oid, int depth, const std::stop_token& stop);

  Connection& connection_;
  std::vector<std::unique_ptr<TypeShape>> shapes_;
  absl::flat_hash_map<uint32_t, const TypeShape*> known_;
};

}  // namespace pgc
