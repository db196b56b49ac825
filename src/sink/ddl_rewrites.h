#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "pg/connection.h"
#include "sink/ddl_command.h"
#include "sink/ddl_plan.h"

namespace pgc {

// Sees whether an ALTER TABLE gives rows that are there other values than on the source: the values
// of a rewrite are not in the stream. Defaults and conversions that are not immutable do, and SET
// LOGGED, before which the rows were not in the stream either.
//
// For one command; not thread-safe. Works under the settings of the session, not those of the
// command. Costs nothing for other commands.
class RewriteWatch {
 public:
  RewriteWatch(Connection& target, const DdlCommand& command, const DdlStep& step);

  absl::Status BeforeCommand(const std::stop_token& stop);
  // A warning in the log names the table that has to be copied again.
  absl::Status AfterCommand(const std::stop_token& stop);

 private:
  absl::Status CheckAdded(const std::stop_token& stop);
  absl::Status CheckRetyped(const AlterTable::Retyped& retyped, const std::stop_token& stop);

  Connection& target_;
  const DdlCommand& command_;
  const AlterTable& alter_;
  std::string table_;               // as SQL
  std::vector<std::string> types_;  // of the columns that get another, before; empty: none
  bool was_unlogged_ = false;
  std::vector<std::string> reasons_;
};

}  // namespace pgc
