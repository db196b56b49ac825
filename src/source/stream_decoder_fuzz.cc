// Input: messages, each after its length as two big-endian bytes. Whatever the bytes, decoding
// ends without a report.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "source/stream_decoder.h"

namespace {

// Of this process, which leaves nothing behind.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("pgc-fuzz-spool-" + std::to_string(getpid()))) {}
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  const std::filesystem::path path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  auto spool = pgc::TransactionSpool::Open(folder.path());
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
