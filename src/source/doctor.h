// Looks at everything that a capture needs of its server, and says how to mend what is wrong.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "event/pipeline.h"
#include "source/postgres_source.h"

namespace pgc {

struct Finding {
  enum class Level : uint8_t {
    kFine,
    kWarning,  // capture works, with the drawback that `message` names
    kMend,     // capture does not start, or breaks, until it is mended
  };
  Level level = Level::kFine;
  std::string check;    // what was looked at: `wal_level`
  std::string message;  // what was found
  std::string remedy;   // what to do; empty when fine
};

using LogReader = std::function<absl::StatusOr<ResumePoint>()>;

// Examines the server of `options` as `serve` with these options would find it, and changes
// nothing on it. `read_log` tells what the log has that is to go on, empty when it has nothing yet;
// without it the log is not looked at. A server that cannot be reached or does not let the role in
// is a finding too; the status is Cancelled when stopped.
absl::StatusOr<std::vector<Finding>> Examine(const PostgresSourceOptions& options,
                                             const LogReader& read_log, std::stop_token stop);

}  // namespace pgc
