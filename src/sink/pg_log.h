#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/lsn.h"

namespace pgc {

// Up to which commit LSN, inclusive, the source's transactions are in a server that was recovered
// from a physical copy of it, as the server's log tells: nothing when it does not.
// FailedPrecondition when the file cannot be read.
absl::StatusOr<std::optional<Lsn>> ReadPgLog(const std::filesystem::path& path);

// The same of one line after the other; `found` keeps the last one that tells.
void ReadPgLogLine(std::string_view line, std::optional<Lsn>& found);

}  // namespace pgc
