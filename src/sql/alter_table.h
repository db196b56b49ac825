#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgc {

// What an ALTER TABLE does that a copy must know of: to rows that exist, and to partitions.
struct AlterTable {
  struct Retyped {
    std::string column;
    // What its USING calls, without schemas, CURRENT_TIMESTAMP and its like among them; it may name
    // what is no function.
    std::vector<std::string> functions;
    bool converts = true;  // no USING, or one with a cast
  };
  std::vector<std::string> table;  // its name, schema first where it has one
  std::vector<std::string> added;  // columns
  std::vector<Retyped> retyped;
  bool set_logged = false;
  std::vector<std::string> detached;  // the partition, likewise
  bool concurrently = false;          // so detached
  bool finalize = false;              // likewise
};

// Of the tokens of one statement; nothing when it is no ALTER TABLE.
std::optional<AlterTable> ParseAlterTable(const std::vector<std::string_view>& tokens);

}  // namespace pgc
