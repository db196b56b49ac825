#include "source/names.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgc {
namespace {

// NAMEDATALEN - 1
constexpr size_t kMaxNameBytes = 63;

bool IsSlotCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace

std::string ToString(const QualifiedName& name) {
  return fmt::format("{}.{}", name.schema, name.name);
}

std::string ToString(const std::vector<QualifiedName>& names, size_t most) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < most; ++i) {
    if (i > 0) text += ", ";
    text += ToString(names[i]);
  }
  if (names.size() > most) text += fmt::format(" and {} more", names.size() - most);
  return text;
}

absl::StatusOr<std::string> SlotName(std::string_view topic) {
  constexpr std::string_view kDefaultTenant = "persistent://public/";
  std::string name(topic.starts_with(kDefaultTenant) ? topic.substr(kDefaultTenant.size()) : topic);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '/' || c == '-'; }, '_');
  if (name.empty() || name.size() > kMaxNameBytes ||
      !std::all_of(name.begin(), name.end(), IsSlotCharacter)) {
    return absl::FailedPreconditionError(fmt::format(
        "the topic '{}' gives the replication slot the name '{}', which PostgreSQL does not take: "
        "1 to {} lower-case letters, digits and _ (choose another --topic)",
        topic, name, kMaxNameBytes));
  }
  return name;
}

absl::StatusOr<std::vector<QualifiedName>> ParseTables(std::string_view flag,
                                                       const std::vector<std::string>& texts) {
  std::vector<QualifiedName> tables;
  for (const std::string& text : texts) {
    const size_t dot = text.find('.');
    QualifiedName table = dot == std::string::npos
                              ? QualifiedName{.schema = "public", .name = text}
                              : QualifiedName{text.substr(0, dot), text.substr(dot + 1)};
    const auto wrong = [](const std::string& name) {
      return name.empty() || name.size() > kMaxNameBytes || name.find('\0') != std::string::npos;
    };
    if (wrong(table.schema) || wrong(table.name)) {
      return absl::FailedPreconditionError(
          fmt::format("{}: '{}' is not a table's name; one looks like public.orders", flag, text));
    }
    if (std::find(tables.begin(), tables.end(), table) == tables.end()) {
      tables.push_back(std::move(table));
    }
  }
  return tables;
}

}  // namespace pgc
