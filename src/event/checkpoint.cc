#include "event/checkpoint.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

#include "base/status_macros.h"

namespace pgc {

std::string ToKey(const Checkpoint& checkpoint) {
  return fmt::format("{}|{:x}", ToString(checkpoint.lsn), checkpoint.seq);
}

absl::StatusOr<Checkpoint> ParseKey(std::string_view key) {
  const absl::Status invalid =
      absl::InvalidArgumentError("a checkpoint's key is LSN|SEQ, both in hex");
  const size_t bar = key.find('|');
  if (bar == std::string_view::npos) return invalid;
  Checkpoint checkpoint;
  PGC_ASSIGN_OR_RETURN(checkpoint.lsn, ParseLsn(key.substr(0, bar)));
  const std::string_view seq = key.substr(bar + 1);
  const auto [end, error] =
      std::from_chars(seq.data(), seq.data() + seq.size(), checkpoint.seq, 16);
  if (error != std::errc() || end != seq.data() + seq.size()) return invalid;
  return checkpoint;
}

}  // namespace pgc
