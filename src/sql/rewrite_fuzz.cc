#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "sql/alter_table.h"
#include "sql/objects.h"
#include "sql/rewrite.h"
#include "sql/statement.h"
#include "sql/tokens.h"

// Whatever the text: an error, or one statement of the kind that was asked for, which stays as it
// is when it is written again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view sql(reinterpret_cast<const char*>(data), size);
  const auto tokens = pgc::Tokenize(sql);
  if (!tokens.ok()) return 0;
  (void)pgc::ParseAlterTable(*tokens);
  (void)pgc::ReadObjects(*tokens, pgc::Classify(*tokens));

  const auto without_rows = pgc::WithNoData(sql);
  if (without_rows.ok()) {
    if (!without_rows->ends_with(" WITH NO DATA")) std::abort();
    const auto again = pgc::Tokenize(*without_rows);
    if (!again.ok()) std::abort();
    const std::string tag = pgc::Classify(*again).tag;
    if (tag != "CREATE TABLE AS" && tag != "CREATE MATERIALIZED VIEW") std::abort();
    const auto twice = pgc::WithNoData(*without_rows);
    if (!twice.ok() || *twice != *without_rows) std::abort();
  }
  const auto named = pgc::WithIndexName(sql, "a\"b");
  if (named.ok()) {
    const auto twice = pgc::WithIndexName(*named, "another");
    if (!twice.ok() || *twice != *named) std::abort();
  }
  const auto dropped = pgc::DropIndexIfExists(sql);
  if (dropped.ok()) {
    const auto twice = pgc::DropIndexIfExists(*dropped);
    if (!twice.ok() || *twice != *dropped) std::abort();
  }
  return 0;
}
