#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "pg/connection.h"

namespace pgc {

// The settings under which a command of DDL runs, and the way back from them. For one connection
// and one command; not thread-safe.
//
// Settings of a transaction, or of the session where there is none. When a command fails in a
// transaction its ROLLBACK is the way back; without one, Leave is.
class DdlContext {
 public:
  // Without a search path the session's own default; without a role the session's.
  DdlContext(Connection& target, bool in_transaction, std::optional<std::string> search_path,
             std::optional<std::string> role);

  // One round trip each. FailedPrecondition when the role cannot be taken on.
  absl::Status Enter(const std::stop_token& stop);
  absl::Status Leave(const std::stop_token& stop);

 private:
  struct Setting {
    std::string name;
    Connection::Parameter value;
  };
  absl::StatusOr<Result> Apply(const std::vector<Setting>& settings, const std::stop_token& stop);

  Connection& target_;
  const bool in_transaction_;
  const std::optional<std::string> search_path_;
  const std::optional<std::string> role_;
  std::vector<Setting> before_;  // to be set again, in this order
};

}  // namespace pgc
