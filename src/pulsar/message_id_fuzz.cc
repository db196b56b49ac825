// What is read as a message id is written and read back as the same, and never overruns.
#include <cstdint>
#include <cstdlib>

#include "pulsar/message_id.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto id = pgc::pulsar::ParseMessageId({reinterpret_cast<const char*>(data), size});
  if (!id.ok()) return 0;
  const auto again = pgc::pulsar::ParseMessageId(pgc::pulsar::Serialize(*id));
  if (!again.ok() || again->ledger != id->ledger || again->entry != id->entry ||
      again->batch_index != id->batch_index || again->first_piece != id->first_piece) {
    std::abort();
  }
  (void)pgc::pulsar::ToString(pgc::pulsar::Before(*id));
  return 0;
}
