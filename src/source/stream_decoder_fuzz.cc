// Input: messages, each after its length as two big-endian bytes. Whatever the bytes, decoding
// ends without a report.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "source/stream_decoder.h"

namespace {

const std::filesystem::path& Folder() {
  static const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("pgc-fuzz-spool-" + std::to_string(getpid()));
  return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto spool = pgc::TransactionSpool::Open(Folder());
  if (!spool.ok()) std::abort();
  pgc::StreamDecoder decoder(*std::move(spool));
  while (size >= 2) {
    const size_t length = std::min<size_t>(size - 2, size_t{data[0]} << 8 | data[1]);
    absl::Status status = decoder.Decode({data + 2, length});
    while (status.ok() && decoder.replaying()) status = decoder.Replay(100);
    if (!status.ok()) break;
    data += 2 + length;
    size -= 2 + length;
  }
  return 0;
}
