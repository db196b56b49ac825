#include "source/ddl_rows.h"

#include <cstdint>
#include <utility>

#include "base/byte_reader.h"

namespace pgc {
namespace {

constexpr uint8_t kTrueBinary[] = {1};
constexpr uint8_t kFalseBinary[] = {0};
constexpr uint8_t kTrueText[] = {'t'};
constexpr uint8_t kFalseText[] = {'f'};

bool HasValue(const FieldValue* value) {
  return value != nullptr &&
         (value->kind == FieldValue::Kind::kBinary || value->kind == FieldValue::Kind::kText);
}

std::string_view TextOf(const FieldValue& value) {
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

std::span<const uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// The value of `nth` in a jsonb, which PostgreSQL writes in one way only; 0 when there is none. In
// a string of it the quotes would be escaped.
size_t NthOf(std::string_view activity) {
  constexpr std::string_view kNth = "\"nth\": ";
  const size_t found = activity.find(kNth);
  if (found == std::string_view::npos) return 0;
  size_t nth = 0;
  for (const char c : activity.substr(found + kNth.size())) {
    if (c < '0' || c > '9' || nth > UINT32_MAX) break;
    nth = nth * 10 + static_cast<size_t>(c - '0');
  }
  return nth;
}

// The one element of a text[], empty when it has not exactly one.
std::string_view OnlyElement(const FieldValue& value) {
  if (value.kind == FieldValue::Kind::kText) {
    std::string_view text = TextOf(value);
    for (const auto& [open, close] : {std::pair('{', '}'), std::pair('"', '"')}) {
      if (text.size() >= 2 && text.front() == open && text.back() == close) {
        text = text.substr(1, text.size() - 2);
      }
    }
    return text;
  }
  // One dimension, no nulls, the type of the elements, one of them, counted from 1.
  ByteReader in(value.bytes);
  const uint32_t dimensions = in.U32();
  (void)in.U64();
  const uint32_t count = in.U32();
  (void)in.U32();
  const std::span<const uint8_t> element = in.Bytes(in.U32());
  if (!in.done() || dimensions != 1 || count != 1) return {};
  return {reinterpret_cast<const char*>(element.data()), element.size()};
}

}  // namespace

bool DdlRows::Take(std::span<const std::string> columns, std::span<FieldValue> row) {
  const auto find = [&](std::string_view name) -> FieldValue* {
    for (size_t i = 0; i < columns.size() && i < row.size(); ++i) {
      if (columns[i] == name) return &row[i];
    }
    return nullptr;
  };
  FieldValue* const query = find("query");
  FieldValue* const exact = find("exact");
  const FieldValue* const tags = find("tags");
  const FieldValue* const activity = find("activity");
  if (!HasValue(query) || !HasValue(exact) || !HasValue(tags) || !HasValue(activity)) return true;
  const size_t nth = NthOf(TextOf(*activity));
  if (nth == 0) return true;
  std::string_view tag = OnlyElement(*tags);
  // The log has the parser's tag.
  if (tag == "SELECT") tag = "SELECT INTO";
  const bool text = exact->kind == FieldValue::Kind::kText;
  exact->bytes = text ? std::span<const uint8_t>(kFalseText) : kFalseBinary;
  const SqlStatement* found = nullptr;
  size_t seen = 0;
  bool undone = false;  // a command or more, and with it its count
  for (const SqlStatement& statement : Statements(TextOf(*query))) {
    undone = undone || statement.tag == "ROLLBACK" || statement.tag == "ABORT";
    if (statement.tag == tag && !statement.shared && ++seen == nth) found = &statement;
  }
  if (found == nullptr || (undone && seen > 1)) return true;
  if (found->temporary) return false;
  query->bytes = BytesOf(found->text);
  exact->bytes = text ? std::span<const uint8_t>(kTrueText) : kTrueBinary;
  return true;
}

// All commands of a string come one after the other.
const std::vector<SqlStatement>& DdlRows::Statements(std::string_view text) {
  if (text == string_) return statements_;
  statements_.clear();
  string_.clear();
  if (text.size() > kMaxStringBytes) return statements_;
  string_ = text;
  if (auto statements = SplitSql(string_); statements.ok()) statements_ = *std::move(statements);
  return statements_;
}

}  // namespace pgc
