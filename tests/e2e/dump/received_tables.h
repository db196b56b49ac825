#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace pgc {

enum class ReceivedOrder : uint8_t {
  kArrival,  // what comes later counts: for the only consumer of a subscription
  kVersion,  // what is newer counts, in whatever order it comes (docs/dumps.md)
};

// Tables as a consumer makes them of the lines of `tail --format json`: those with an integer key
// in the column `id`. Not thread-safe.
class ReceivedTables {
 public:
  explicit ReceivedTables(ReceivedOrder order) : order_(order) {}

  void Take(const std::string& line);
  template <typename Lines>
  void TakeAll(const Lines& lines) {
    for (const std::string& line : lines) Take(line);
  }

  // By their ids, as JSON with the columns in the order of their names.
  std::map<int64_t, std::string> Rows(const std::string& table) const;
  size_t dump_rows(const std::string& table) const;
  // How often a row came in a dump.
  size_t dumped(const std::string& table, int64_t id) const;

 private:
  using Version = std::pair<uint64_t, uint64_t>;

  struct Row {
    bool exists() const { return alive > dead; }
    std::string Text() const;

    Version alive{0, 0};
    Version dead{0, 0};
    std::map<std::string, std::pair<Version, std::string>> columns;
  };
  struct Table {
    std::map<int64_t, Row> rows;
    std::map<int64_t, size_t> dumped;
    size_t dump_rows = 0;
  };

  const ReceivedOrder order_;
  uint64_t arrived_ = 0;
  std::map<std::string, Table> tables_;
};

}  // namespace pgc
