#include "testing/event_text.h"

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "testing/protobuf_fields.h"

namespace pgc {
namespace {

int64_t BigEndian(std::string_view bytes) {
  uint64_t value = !bytes.empty() && (bytes[0] & 0x80) != 0 ? UINT64_MAX : 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return static_cast<int64_t>(value);
}

std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "''" : std::string(1, c);
  return quoted + "'";
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return hex;
}

std::string ColumnText(std::string_view field) {
  std::string name;
  uint64_t oid = 0;
  const char* type = nullptr;
  std::string value = "null";
  for (ProtobufFields fields(field); fields.Next();) {
    if (fields.number == 1) name = fields.bytes;
    if (fields.number == 2) oid = fields.value;
    switch (oid) {
      case 16:
        type = "boolean";
        break;
      case 17:
        type = "bytea";
        break;
      case 20:
        type = "bigint";
        break;
      case 23:
        type = "integer";
        break;
      case 25:
        type = "text";
        break;
      default:
        break;
    }
    if (fields.number != 3) continue;
    if (oid == 16) value = fields.bytes == std::string_view("\1") ? "true" : "false";
    if (oid == 17) value = "'\\x" + Hex(fields.bytes) + "'";
    if (oid == 20 || oid == 23) value = std::to_string(BigEndian(fields.bytes));
    if (oid == 25) value = Quoted(fields.bytes);
    if (type == nullptr) value = fmt::format("{}:{}", oid, Hex(fields.bytes));
  }
  return fmt::format("{}[{}]:{}", name, type == nullptr ? "?" : type, value);
}

std::string ChangeText(std::string_view change) {
  uint64_t op = 0;
  std::string schema;
  std::string table;
  std::string new_row;
  std::string old_row;
  for (ProtobufFields fields(change); fields.Next();) {
    if (fields.number == 1) op = fields.value;
    if (fields.number == 2) schema = fields.bytes;
    if (fields.number == 3) table = fields.bytes;
    if (fields.number == 4) new_row += " " + ColumnText(fields.bytes);
    if (fields.number == 5) old_row += " " + ColumnText(fields.bytes);
  }
  const std::string name = fmt::format("table {}.{}: ", schema, table);
  if (op == 0) return name + "INSERT:" + new_row;
  if (op == 2) return name + "DELETE:" + old_row;
  if (old_row.empty()) return name + "UPDATE:" + new_row;
  return fmt::format("{}UPDATE: old-key:{} new-tuple:{}", name, old_row, new_row);
}

std::string SequencesText(const Event& event) {
  ProtobufFields message(
      {reinterpret_cast<const char*>(event.message.data()), event.message.size()});
  std::string text = "sequences:";
  if (!message.Next()) return text;
  for (ProtobufFields positions(message.bytes); positions.Next();) {
    std::string name;
    uint64_t value = 0;
    bool called = false;
    for (ProtobufFields fields(positions.bytes); fields.Next();) {
      if (fields.number == 1) name = fields.bytes;
      if (fields.number == 2) name += fmt::format(".{}", fields.bytes);
      if (fields.number == 3) value = fields.value;
      if (fields.number == 4) called = fields.value != 0;
    }
    text += fmt::format(" {}={}{}", name, static_cast<int64_t>(value), called ? "" : " next");
  }
  return text;
}

}  // namespace

std::string ToText(const Event& event) {
  if (event.kind == EventKind::kBegin) return "BEGIN";
  if (event.kind == EventKind::kCommit) return "COMMIT";
  if (event.kind == EventKind::kSequences) return SequencesText(event);
  ProtobufFields message(
      {reinterpret_cast<const char*>(event.message.data()), event.message.size()});
  return message.Next() && event.kind == EventKind::kChange ? ChangeText(message.bytes) : "?";
}

std::vector<std::string> ToText(const std::vector<std::shared_ptr<const Block>>& blocks) {
  std::vector<std::string> lines;
  for (const auto& block : blocks) {
    for (Block::Cursor cursor(*block); cursor.Next();) lines.push_back(ToText(cursor.event()));
  }
  return lines;
}

}  // namespace pgc
