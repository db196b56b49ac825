// The form of the small records that parts keep on disk: a byte for the version, then varints and
// texts (a varint for the length, then the bytes).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/checkpoint.h"

namespace pgc {

void AppendText(std::string& out, std::string_view text);

// DataLoss, with what is wrong.
absl::Status MalformedRecord(std::string_view what);

// Reads a record from front to back. What is asked for once something was wrong is 0 or empty. The
// bytes outlive it.
class RecordReader {
 public:
  // DataLoss: another version, or nothing at all.
  static absl::StatusOr<RecordReader> Open(std::string_view bytes, char version);

  // More than `most` is wrong.
  uint64_t Number(uint64_t most = UINT64_MAX);
  uint32_t Number32() { return static_cast<uint32_t>(Number(UINT32_MAX)); }
  bool Bool() { return Number(1) != 0; }
  std::string Text();
  Checkpoint ReadCheckpoint();

  bool failed() const { return in_ == nullptr; }
  bool done() const { return in_ == end_; }
  // DataLoss: something was wrong, or more is there than was asked for.
  absl::Status End() const;

 private:
  explicit RecordReader(std::string_view bytes);

  const uint8_t* in_;  // nullptr: failed
  const uint8_t* end_;
};

}  // namespace pgc
