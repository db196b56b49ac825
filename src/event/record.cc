#include "event/record.h"

#include <fmt/format.h>

#include "event/wire.h"

namespace pgc {

void AppendText(std::string& out, std::string_view text) {
  wire::AppendVarint(out, text.size());
  out += text;
}

absl::Status MalformedRecord(std::string_view what) {
  return absl::DataLossError(fmt::format("malformed record: {}", what));
}

RecordReader::RecordReader(std::string_view bytes)
    : in_(reinterpret_cast<const uint8_t*>(bytes.data())), end_(in_ + bytes.size()) {}

absl::StatusOr<RecordReader> RecordReader::Open(std::string_view bytes, char version) {
  if (bytes.empty()) return MalformedRecord("it is empty");
  if (bytes[0] != version) {
    return MalformedRecord(
        fmt::format("version {}, not {}", static_cast<int>(bytes[0]), static_cast<int>(version)));
  }
  return RecordReader(bytes.substr(1));
}

uint64_t RecordReader::Number(uint64_t most) {
  uint64_t value = 0;
  if (in_ != nullptr) in_ = wire::ReadVarint(in_, end_, value);
  if (in_ != nullptr && value > most) in_ = nullptr;
  return in_ == nullptr ? 0 : value;
}

std::string RecordReader::Text() {
  const uint64_t length = Number();
  if (in_ == nullptr || length > static_cast<uint64_t>(end_ - in_)) {
    in_ = nullptr;
    return {};
  }
  std::string text(reinterpret_cast<const char*>(in_), length);
  in_ += length;
  return text;
}

Checkpoint RecordReader::ReadCheckpoint() {
  const uint64_t lsn = Number();
  return {.lsn = Lsn{lsn}, .seq = Number32()};
}

absl::Status RecordReader::End() const {
  if (failed()) return MalformedRecord("it is cut off, or a number is out of range");
  return done() ? absl::OkStatus() : MalformedRecord("bytes after its end");
}

}  // namespace pgc
