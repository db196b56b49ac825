#include "sink/type_shape.h"

#include <fmt/format.h>

#include <cstring>
#include <string>

#include "base/status_macros.h"

namespace pgc {
namespace {

// Types in types in types: PostgreSQL has no limit of its own.
constexpr int kMaxDepth = 32;

// kind a (array), c (composite), d (domain), r, m (range, multirange) or nothing of these, and the
// type inside; of a composite its attributes' types, in order.
constexpr char kTypeSql[] = R"(
SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid) THEN 'a'
         ELSE t.typtype::text END,
  CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid) THEN t.typelem
    WHEN t.typtype = 'd' THEN t.typbasetype
    ELSE coalesce((SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid), 0) END,
  ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a
    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum)
FROM pg_catalog.pg_type t WHERE t.oid = $1::oid)";

constexpr char kMultirangeSql[] =
    "SELECT rngtypid FROM pg_catalog.pg_range WHERE rngmultitypid = $1::oid";

// Big-endian numbers of a value, read and replaced.
class Patcher {
 public:
  explicit Patcher(std::span<uint8_t> bytes) : bytes_(bytes) {}

  bool Number(uint32_t& number) {
    if (bytes_.size() < 4) return false;
    number = uint32_t{bytes_[0]} << 24 | uint32_t{bytes_[1]} << 16 | uint32_t{bytes_[2]} << 8 |
             bytes_[3];
    bytes_ = bytes_.subspan(4);
    return true;
  }
  bool Replace(uint32_t number) {
    if (bytes_.size() < 4) return false;
    for (int i = 0; i < 4; ++i)
      bytes_[static_cast<size_t>(i)] = static_cast<uint8_t>(number >> (24 - 8 * i));
    bytes_ = bytes_.subspan(4);
    return true;
  }
  bool Byte(uint8_t& byte) {
    if (bytes_.empty()) return false;
    byte = bytes_[0];
    bytes_ = bytes_.subspan(1);
    return true;
  }
  bool Skip(uint64_t count) {
    if (count > bytes_.size()) return false;
    bytes_ = bytes_.subspan(static_cast<size_t>(count));
    return true;
  }
  // A value after its length; -1 is NULL.
  bool Value(const TypeShape* shape) {
    uint32_t length = 0;
    if (!Number(length)) return false;
    if (length == UINT32_MAX) return true;
    if (length > bytes_.size()) return false;
    if (shape != nullptr && !TranslateOids(*shape, bytes_.first(length))) return false;
    return Skip(length);
  }
  bool AtEnd() const { return bytes_.empty(); }

 private:
  std::span<uint8_t> bytes_;
};

bool TranslateArray(const TypeShape::Member& element, Patcher in) {
  uint32_t dimensions = 0;
  if (!in.Number(dimensions) || !in.Skip(4) || !in.Replace(element.oid) ||
      !in.Skip(uint64_t{dimensions} * 8)) {
    return false;
  }
  while (element.shape != nullptr && !in.AtEnd()) {
    if (!in.Value(element.shape)) return false;
  }
  return true;
}

bool TranslateComposite(const std::vector<TypeShape::Member>& attributes, Patcher in) {
  uint32_t count = 0;
  if (!in.Number(count) || count != attributes.size()) return false;
  for (const TypeShape::Member& attribute : attributes) {
    if (!in.Replace(attribute.oid) || !in.Value(attribute.shape)) return false;
  }
  return in.AtEnd();
}

bool TranslateRange(const TypeShape* bound, Patcher in) {
  constexpr uint8_t kEmpty = 0x01;
  constexpr uint8_t kNoLower = 0x08;
  constexpr uint8_t kNoUpper = 0x10;
  uint8_t flags = 0;
  if (!in.Byte(flags)) return false;
  if ((flags & kEmpty) != 0) return in.AtEnd();
  if ((flags & kNoLower) == 0 && !in.Value(bound)) return false;
  if ((flags & kNoUpper) == 0 && !in.Value(bound)) return false;
  return in.AtEnd();
}

std::vector<uint32_t> ReadOids(std::string_view array) {
  std::vector<uint32_t> oids;
  for (const char c : array) {
    if (c == '{' || c == ',') oids.push_back(0);
    if (c >= '0' && c <= '9') oids.back() = oids.back() * 10 + static_cast<uint32_t>(c - '0');
  }
  if (array == "{}") oids.clear();
  return oids;
}

}  // namespace

bool TranslateOids(const TypeShape& shape, std::span<uint8_t> value) {
  switch (shape.kind) {
    case TypeShape::Kind::kArray:
      return TranslateArray(shape.members[0], Patcher(value));
    case TypeShape::Kind::kComposite:
      return TranslateComposite(shape.members, Patcher(value));
    case TypeShape::Kind::kRange:
      return TranslateRange(shape.members[0].shape, Patcher(value));
    case TypeShape::Kind::kMultirange: {
      Patcher in(value);
      uint32_t count = 0;
      if (!in.Number(count)) return false;
      while (!in.AtEnd()) {
        if (!in.Value(shape.members[0].shape)) return false;
      }
      return true;
    }
  }
  return false;
}

absl::StatusOr<const TypeShape*> TypeShapes::Get(uint32_t oid, const std::stop_token& stop) {
  return Read(oid, 0, stop);
}

absl::StatusOr<const TypeShape*> TypeShapes::Read(uint32_t oid, int depth,
                                                  const std::stop_token& stop) {
  if (oid < kFirstUserOid) return nullptr;
  if (const auto known = known_.find(oid); known != known_.end()) return known->second;
  if (depth > kMaxDepth) {
    return absl::FailedPreconditionError(
        fmt::format("a type of the target has types in it more than {} deep", kMaxDepth));
  }
  const Connection::Parameter parameter = std::to_string(oid);
  PGC_ASSIGN_OR_RETURN(const Result row, connection_.Query(kTypeSql, {&parameter, 1}, stop));
  if (row.rows() != 1) return absl::UnavailableError("a type of the target is gone");
  const char kind = row.Text(0, 0).empty() ? 'b' : row.Text(0, 0)[0];
  const auto inner = static_cast<uint32_t>(row.Int(0, 1));

  const TypeShape* shape = nullptr;
  TypeShape made;
  bool needed = false;
  if (kind == 'd') {
    PGC_ASSIGN_OR_RETURN(shape, Read(inner, depth + 1, stop));
  } else if (kind == 'a' || kind == 'r') {
    made.kind = kind == 'a' ? TypeShape::Kind::kArray : TypeShape::Kind::kRange;
    PGC_ASSIGN_OR_RETURN(const TypeShape* const element, Read(inner, depth + 1, stop));
    made.members.push_back({.oid = inner, .shape = element});
    // A range has no OID of its own in it.
    needed = element != nullptr || (kind == 'a' && inner >= kFirstUserOid);
  } else if (kind == 'm') {
    PGC_ASSIGN_OR_RETURN(const Result range,
                         connection_.Query(kMultirangeSql, {&parameter, 1}, stop));
    made.kind = TypeShape::Kind::kMultirange;
    const auto of = static_cast<uint32_t>(range.rows() == 1 ? range.Int(0, 0) : 0);
    PGC_ASSIGN_OR_RETURN(const TypeShape* const element, Read(of, depth + 1, stop));
    made.members.push_back({.oid = of, .shape = element});
    needed = element != nullptr;
  } else if (kind == 'c') {
    made.kind = TypeShape::Kind::kComposite;
    for (const uint32_t attribute : ReadOids(row.Text(0, 2))) {
      PGC_ASSIGN_OR_RETURN(const TypeShape* const element, Read(attribute, depth + 1, stop));
      made.members.push_back({.oid = attribute, .shape = element});
      needed = needed || attribute >= kFirstUserOid || element != nullptr;
    }
  }
  if (needed) shape = shapes_.emplace_back(std::make_unique<TypeShape>(std::move(made))).get();
  known_[oid] = shape;
  return shape;
}

}  // namespace pgc
