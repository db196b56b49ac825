#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decode/ddl_log.h"
#include "sql/statement.h"

namespace pgc {

// Makes rows of pgcapture.ddl_logs that the plain-SQL capture of DDL wrote into what the extension
// would have written (docs/extension.md). SQL knows the client's whole string and which of its
// commands with one tag a row is of; here the one command is taken out, and `exact` says whether it
// was found. Not thread-safe.
class DdlRows final : public DdlLogReader {
 public:
  // Of a string longer than this no command is taken out: the row stays inexact.
  static constexpr size_t kMaxStringBytes = 64 << 20;

  // False when the row is of a temporary relation.
  bool Take(std::span<const std::string> columns, std::span<FieldValue> row) override;

 private:
  const std::vector<SqlStatement>& Statements(std::string_view text);

  std::string string_;  // of the newest row; statements_ are views of it
  std::vector<SqlStatement> statements_;
};

}  // namespace pgc
