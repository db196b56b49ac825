// Whatever the bytes, an answer is refused or its rows lie in it, one behind the other, and each is
// a length and as many bytes, which are those of a change.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "event/wire.h"
#include "gateway/pages_answer.h"

namespace {

void Check(bool is_so) {
  if (!is_so) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto answer = pgc::ParsePagesAnswer({data, size});
  if (!answer.ok()) {
    Check(absl::IsInvalidArgument(answer.status()));
    return 0;
  }
  const uint8_t* at = data;
  for (const auto row : answer->rows) {
    Check(row.data() > at && row.data() + row.size() <= data + size);
    const auto change = pgc::ChangeOf(row);
    Check(pgc::wire::VarintSize(change.size()) + change.size() == row.size());
    const auto summary = pgc::Summarize(change);
    Check(summary.has_value() && summary->new_fields <= change.size());
    at = row.data() + row.size() - 1;
  }
  return 0;
}
