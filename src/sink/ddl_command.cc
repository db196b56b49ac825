#include "sink/ddl_command.h"

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/byte_reader.h"

namespace pgc {
namespace {

using Kind = FieldValue::Kind;

std::string TextOf(const FieldValue& value) {
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

// text[]: dimensions, flags, type of the elements; for each dimension its length and first index;
// for each element its length, -1 for NULL, and its bytes.
std::optional<std::vector<std::string>> BinaryArray(std::span<const uint8_t> bytes) {
  ByteReader in(bytes);
  std::vector<std::string> texts;
  const uint32_t dimensions = in.U32();
  (void)in.U64();
  if (dimensions == 0) return in.ok() ? std::optional(texts) : std::nullopt;
  if (dimensions != 1) return std::nullopt;
  const auto count = static_cast<int32_t>(in.U32());
  (void)in.U32();
  for (int32_t i = 0; i < count && in.ok(); ++i) {
    const auto size = static_cast<int32_t>(in.U32());
    if (size < 0) continue;
    const std::span<const uint8_t> text = in.Bytes(static_cast<size_t>(size));
    texts.emplace_back(reinterpret_cast<const char*>(text.data()), text.size());
  }
  if (!in.done() || count < 0) return std::nullopt;
  return texts;
}

// `{SELECT,"CREATE TABLE"}`
std::optional<std::vector<std::string>> TextArray(std::string_view text) {
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::vector<std::string> texts;
  if (text.empty()) return texts;
  texts.emplace_back();
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      texts.emplace_back();
    } else if (c == '\\' && i + 1 < text.size()) {
      texts.back() += text[++i];
    } else {
      texts.back() += c;
    }
  }
  if (quoted) return std::nullopt;
  return texts;
}

std::optional<std::string> JsonOf(const FieldValue& value) {
  if (value.kind == Kind::kText) return TextOf(value);
  constexpr uint8_t kVersion = 1;
  if (value.bytes.empty() || value.bytes[0] != kVersion) return std::nullopt;
  return TextOf(value).substr(1);
}

std::optional<bool> BoolOf(const FieldValue& value) {
  if (value.bytes.size() != 1) return std::nullopt;
  if (value.kind == Kind::kText) return value.bytes[0] == 't';
  return value.bytes[0] != 0;
}

// False when the value is none of its column.
bool ReadField(const ChangeField& field, DdlCommand& command) {
  const FieldValue& value = field.value;
  if (value.kind != Kind::kBinary && value.kind != Kind::kText) return true;
  const auto take = [](auto read, auto& out) {
    if (!read.has_value()) return false;
    out = *std::move(read);
    return true;
  };
  if (field.name == "query") command.query = TextOf(value);
  if (field.name == "search_path") command.search_path = TextOf(value);
  if (field.name == "role") command.role = TextOf(value);
  if (field.name == "tags") {
    return take(value.kind == Kind::kText ? TextArray(TextOf(value)) : BinaryArray(value.bytes),
                command.tags);
  }
  if (field.name == "objects") return take(JsonOf(value), command.objects);
  if (field.name == "exact") return take(BoolOf(value), command.exact);
  return true;
}

std::string Member(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

absl::StatusOr<DdlCommand> ParseDdlCommand(const Change& change, const Checkpoint& checkpoint) {
  const auto none = [&checkpoint](std::string_view what) {
    return absl::DataLossError(
        fmt::format("the event {} is no row of pgcapture.ddl_logs: {}", ToKey(checkpoint), what));
  };
  if (change.op != Operation::kInsert ||
      TableName{.schema = change.schema, .name = change.table} != kDdlLog) {
    return none("it is a change of something else");
  }
  DdlCommand command;
  command.checkpoint = checkpoint;
  bool has_query = false;
  for (const ChangeField& field : change.new_row) {
    has_query = has_query || field.name == "query";
    if (!ReadField(field, command)) return none(fmt::format("column {}", field.name));
  }
  if (!has_query) return none("it has no column query");
  return command;
}

std::vector<DdlObject> ObjectsOf(const DdlCommand& command) {
  std::vector<DdlObject> objects;
  const nlohmann::json read =
      nlohmann::json::parse(command.objects, nullptr, /*allow_exceptions=*/false);
  if (!read.is_array()) return objects;
  for (const nlohmann::json& object : read) {
    if (!object.is_object() || object.contains("more")) continue;
    objects.push_back({.tag = Member(object, "command_tag"),
                       .type = Member(object, "object_type"),
                       .schema = Member(object, "schema_name"),
                       .identity = Member(object, "object_identity")});
  }
  return objects;
}

}  // namespace pgc
