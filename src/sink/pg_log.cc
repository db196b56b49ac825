#include "sink/pg_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace pgc {
namespace {

std::optional<Lsn> LsnAfter(std::string_view line, std::string_view text) {
  const size_t at = line.find(text);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = line.substr(at + text.size());
  rest = rest.substr(0, std::min(rest.find_first_not_of("0123456789abcdefABCDEF/"), rest.size()));
  const auto lsn = ParseLsn(rest);
  if (!lsn.ok()) return std::nullopt;
  return *lsn;
}

}  // namespace

void ReadPgLogLine(std::string_view line, std::optional<Lsn>& found) {
  // Where the last record that was replayed begins, maybe a commit.
  if (const auto done = LsnAfter(line, "redo done at "); done.has_value()) found = done;
  // Where the next record begins, maybe a commit, which is not replayed yet.
  const auto consistent = LsnAfter(line, "consistent recovery state reached at ");
  if (consistent.has_value() && consistent->value > 0) found = Lsn{consistent->value - 1};
}

absl::StatusOr<std::optional<Lsn>> ReadPgLog(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::optional<Lsn> found;
  for (std::string line; std::getline(file, line);) ReadPgLogLine(line, found);
  if (!file.eof()) {
    return absl::FailedPreconditionError(
        fmt::format("cannot read the server's log {}", path.string()));
  }
  return found;
}

}  // namespace pgc
