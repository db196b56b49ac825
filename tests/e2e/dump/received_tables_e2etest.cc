#include <algorithm>
#include <nlohmann/json.hpp>

#include "e2e/dump/received_tables.h"
#include "event/lsn.h"

namespace pgc {

void ReceivedTables::Take(const std::string& line) {
  const nlohmann::json message = nlohmann::json::parse(line);
  const auto now = message.value("new", nlohmann::json::object());
  const auto before = message.value("old", nlohmann::json::object());
  if (!now.contains("id") && !before.contains("id")) return;
  Table& table = tables_[message.at("table")];
  const bool is_dump = message.contains("dump");
  Version version{0, ++arrived_};
  if (order_ == ReceivedOrder::kVersion) {
    // A row of a dump shows all commits at or below its place.
    const std::string lsn = message.at(is_dump ? "dump_lsn" : "lsn");
    version.first = ParseLsn(lsn).value_or(Lsn{}).value;
    version.second = is_dump ? UINT64_MAX : message.at("seq").get<uint64_t>();
  }
  if (before.contains("id") && (now.empty() || before.at("id") != now.at("id"))) {
    Version& dead = table.rows[before.at("id")].dead;
    dead = std::max(dead, version);
  }
  if (now.empty()) return;
  Row& row = table.rows[now.at("id")];
  row.alive = std::max(row.alive, version);
  // A column's value may come with an older change than the newest, which left it out.
  for (const auto& [name, value] : now.items()) {
    auto& column = row.columns[name];
    if (version >= column.first) column = {version, value.dump()};
  }
  if (!is_dump) return;
  ++table.dump_rows;
  ++table.dumped[now.at("id")];
}

std::string ReceivedTables::Row::Text() const {
  std::string text;
  for (const auto& [name, column] : columns) {
    if (column.first <= dead) continue;
    text += text.empty() ? "{" : ",";
    text += '"' + name + "\":" + column.second;
  }
  return text + '}';
}

std::map<int64_t, std::string> ReceivedTables::Rows(const std::string& table) const {
  std::map<int64_t, std::string> rows;
  const auto found = tables_.find(table);
  if (found == tables_.end()) return rows;
  for (const auto& [id, row] : found->second.rows) {
    if (row.exists()) rows[id] = row.Text();
  }
  return rows;
}

size_t ReceivedTables::dump_rows(const std::string& table) const {
  const auto found = tables_.find(table);
  return found == tables_.end() ? 0 : found->second.dump_rows;
}

size_t ReceivedTables::dumped(const std::string& table, int64_t id) const {
  const auto found = tables_.find(table);
  if (found == tables_.end()) return 0;
  const auto of_row = found->second.dumped.find(id);
  return of_row == found->second.dumped.end() ? 0 : of_row->second;
}

}  // namespace pgc
