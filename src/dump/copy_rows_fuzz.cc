// Whatever the server sends for a COPY, and whatever a caller gives for a key or a condition.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "dump/condition.h"
#include "dump/copy_rows.h"
#include "event/pg_snapshot.h"

namespace {

class Count : public pgc::DumpWriter {
 public:
  absl::Status Begin(const pgc::DumpHeader&) override { return absl::OkStatus(); }
  absl::Status Rows(std::string_view changes, uint64_t count) override {
    // A row has at least its table's name.
    if (changes.size() < count * 8) std::abort();
    return absl::OkStatus();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<pgc::DumpColumn> columns{{.name = "a", .type_oid = 17, .as_text = false},
                                             {.name = "b", .type_oid = 25, .as_text = true}};
  Count out;
  pgc::RowEncoder encoder({.schema = "s", .name = "t"}, columns, out);
  // Two messages.
  const size_t cut = size == 0 ? 0 : data[0] % size;
  if (encoder.Add({data, cut}).ok()) (void)encoder.Add({data + cut, size - cut});
  (void)encoder.Flush();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)pgc::ParseRowText(text);
  (void)pgc::CheckCondition(text);
  (void)pgc::ParseSnapshot(text);
  return 0;
}
