#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sql/statement.h"

// Whatever the text: an error, or statements that lie in it one after the other.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view sql(reinterpret_cast<const char*>(data), size);
  const auto statements = pgc::SplitSql(sql);
  if (!statements.ok()) return 0;
  const char* at = sql.data();
  for (const pgc::SqlStatement& statement : *statements) {
    if (statement.text.empty() || statement.text.data() < at) std::abort();
    at = statement.text.data() + statement.text.size();
  }
  if (at > sql.data() + sql.size()) std::abort();
  return 0;
}
