#include "value/value_json.h"

#include <fmt/format.h>

#include <iterator>
#include <optional>
#include <span>

#include "value/json_text.h"
#include "value/scalar_text.h"

namespace pgc {
namespace {

constexpr size_t kMaxDimensions = 6;
constexpr size_t kMaxArrayJsonBytes = size_t{64} << 20;

// How the text of a type stands in JSON.
enum class Shape {
  kBool,
  kNumber,  // a string, where it is no number in JSON
  kString,
  kJson,
};

struct Type {
  bool (*append)(std::string& out, ByteReader& in);
  Shape shape;
};

// PostgreSQL's own types, by their fixed OIDs.
std::optional<Type> FindType(uint32_t oid) {
  switch (oid) {
    case 16:  // bool
      return Type{AppendBool, Shape::kBool};
    case 21:  // int2
      return Type{AppendInt2, Shape::kNumber};
    case 23:  // int4
      return Type{AppendInt4, Shape::kNumber};
    case 20:  // int8
      return Type{AppendInt8, Shape::kNumber};
    case 26:  // oid
    case 28:  // xid
    case 29:  // cid
      return Type{AppendUint32, Shape::kNumber};
    case 5069:  // xid8
      return Type{AppendUint64, Shape::kNumber};
    case 700:  // float4
      return Type{AppendFloat4, Shape::kNumber};
    case 701:  // float8
      return Type{AppendFloat8, Shape::kNumber};
    case 1700:  // numeric
      return Type{AppendNumeric, Shape::kString};
    case 1082:  // date
      return Type{AppendDate, Shape::kString};
    case 1083:  // time
      return Type{AppendTime, Shape::kString};
    case 1266:  // timetz
      return Type{AppendTimeTz, Shape::kString};
    case 1114:  // timestamp
      return Type{AppendTimestamp, Shape::kString};
    case 1184:  // timestamptz
      return Type{AppendTimestampTz, Shape::kString};
    case 1186:  // interval
      return Type{AppendInterval, Shape::kString};
    case 19:    // name
    case 25:    // text
    case 142:   // xml
    case 705:   // unknown
    case 1042:  // bpchar
    case 1043:  // varchar
      return Type{AppendText, Shape::kString};
    case 114:  // json
      return Type{AppendText, Shape::kJson};
    case 3802:  // jsonb
      return Type{AppendVersioned, Shape::kJson};
    case 4072:  // jsonpath
      return Type{AppendVersioned, Shape::kString};
    case 18:  // "char"
      return Type{AppendChar, Shape::kString};
    case 17:  // bytea
      return Type{AppendBytea, Shape::kString};
    case 1560:  // bit
    case 1562:  // varbit
      return Type{AppendBits, Shape::kString};
    case 2950:  // uuid
      return Type{AppendUuid, Shape::kString};
    case 650:  // cidr
    case 869:  // inet
      return Type{AppendInet, Shape::kString};
    case 829:  // macaddr
      return Type{AppendMacaddr, Shape::kString};
    case 774:  // macaddr8
      return Type{AppendMacaddr8, Shape::kString};
    case 3220:  // pg_lsn
      return Type{AppendLsn, Shape::kString};
    case 27:  // tid
      return Type{AppendTid, Shape::kString};
    case 600:  // point
      return Type{AppendPoint, Shape::kString};
    default:
      return std::nullopt;
  }
}

struct ArrayType {
  uint32_t oid;
  uint32_t element;
};

constexpr ArrayType kArrays[] = {
    {22, 21},     {30, 26},  // int2vector, oidvector
    {143, 142},   {199, 114},   {271, 5069},  {651, 650},   {775, 774},   {1000, 16},
    {1001, 17},   {1002, 18},   {1003, 19},   {1005, 21},   {1007, 23},   {1009, 25},
    {1010, 27},   {1011, 28},   {1012, 29},   {1014, 1042}, {1015, 1043}, {1016, 20},
    {1017, 600},  {1021, 700},  {1022, 701},  {1028, 26},   {1040, 829},  {1041, 869},
    {1115, 1114}, {1182, 1082}, {1183, 1083}, {1185, 1184}, {1187, 1186}, {1231, 1700},
    {1270, 1266}, {1561, 1560}, {1563, 1562}, {2951, 2950}, {3221, 3220}, {3807, 3802},
    {4073, 4072},
};

uint32_t ElementOf(uint32_t oid) {
  for (const ArrayType& array : kArrays) {
    if (array.oid == oid) return array.element;
  }
  return 0;
}

std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void AppendShaped(std::string& out, Shape shape, std::string_view text) {
  switch (shape) {
    case Shape::kBool:
      if (text == "t" || text == "f") text = text == "t" ? "true" : "false";
      if (text == "true" || text == "false") {
        out += text;
        return;
      }
      break;
    case Shape::kNumber:
      if (IsJsonNumber(text)) {
        out += text;
        return;
      }
      break;
    case Shape::kJson:
      if (AppendJsonText(out, text)) return;
      break;
    case Shape::kString:
      break;
  }
  AppendJsonString(out, text);
}

bool AppendScalar(std::string& out, const Type& type, std::span<const uint8_t> bytes) {
  ByteReader in(bytes);
  std::string text;
  if (!type.append(text, in) || !in.done()) return false;
  AppendShaped(out, type.shape, text);
  return true;
}

// An array's binary form: the number of dimensions, whether there are NULLs, the element's type,
// per dimension its length and lower bound, then per element its length (-1: NULL) and bytes.
class ArrayJson {
 public:
  ArrayJson(std::string& out, uint32_t element_oid, std::span<const uint8_t> bytes)
      : out_(out), start_(out.size()), in_(bytes), element_oid_(element_oid) {}

  bool Append() {
    dimensions_ = in_.U32();
    in_.U32();
    if (in_.U32() != element_oid_ || dimensions_ > kMaxDimensions) return false;
    element_ = *FindType(element_oid_);
    uint64_t elements = 1;
    for (size_t i = 0; i < dimensions_; ++i) {
      lengths_[i] = in_.U32();
      in_.U32();
      // Each element takes four bytes at least.
      if (lengths_[i] == 0 || lengths_[i] > in_.remaining() / 4) return false;
      elements *= lengths_[i];
      if (elements > in_.remaining() / 4) return false;
    }
    if (dimensions_ == 0) {
      out_ += "[]";
    } else if (!Dimension(0)) {
      return false;
    }
    return in_.done();
  }

 private:
  // As deep as there are dimensions, no deeper.
  bool Dimension(size_t number) {
    out_ += '[';
    for (uint32_t i = 0; i < lengths_[number]; ++i) {
      if (i != 0) out_ += ',';
      if (number + 1 < dimensions_ ? !Dimension(number + 1) : !Element()) return false;
    }
    out_ += ']';
    return true;
  }

  bool Element() {
    const uint32_t length = in_.U32();
    if (length == UINT32_MAX) {
      out_ += "null";
      return in_.ok();
    }
    const std::span<const uint8_t> bytes = in_.Bytes(length);
    return in_.ok() && AppendScalar(out_, element_, bytes) &&
           out_.size() - start_ <= kMaxArrayJsonBytes;
  }

  std::string& out_;
  const size_t start_;
  ByteReader in_;
  const uint32_t element_oid_;
  Type element_{};
  size_t dimensions_ = 0;
  uint32_t lengths_[kMaxDimensions] = {};
};

void AppendBase64(std::string& out, std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<uint8_t>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) out += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
}

}  // namespace

void AppendValueJson(std::string& out, uint32_t type_oid, ValueFormat format,
                     std::string_view bytes) {
  const std::optional<Type> type = FindType(type_oid);
  if (format == ValueFormat::kText) {
    AppendShaped(out, type.has_value() ? type->shape : Shape::kString, bytes);
    return;
  }
  const size_t start = out.size();
  if (type.has_value() && AppendScalar(out, *type, AsBytes(bytes))) return;
  const uint32_t element = ElementOf(type_oid);
  if (element != 0 && ArrayJson(out, element, AsBytes(bytes)).Append()) return;
  out.resize(start);
  fmt::format_to(std::back_inserter(out), R"({{"$oid":{},"$binary":")", type_oid);
  AppendBase64(out, bytes);
  out += "\"}";
}

}  // namespace pgc
