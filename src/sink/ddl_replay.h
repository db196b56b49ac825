#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/checkpoint.h"
#include "pg/connection.h"
#include "sink/ddl_command.h"
#include "sink/ddl_plan.h"

namespace pgc {

// What to do with a command whose text is not known to be that one command.
enum class InexactDdl : uint8_t { kStop, kRun, kSkip };

struct DdlOptions {
  InexactDdl inexact = InexactDdl::kStop;
  bool use_role = true;         // run each command as the role that ran it on the source
  bool use_search_path = true;  // look its names up in the schemas in which the source did
  // Commands that are not run: those of the transaction with this LSN, or, where seq is not 0, the
  // one event.
  std::vector<Checkpoint> skip = {};
};

// Repeats the source's DDL on a target (docs/decisions/ddl-replay.md). One for each connection; not
// thread-safe.
//
// What it leaves out or runs otherwise because of options is a warning with tag and LSN. Errors:
// FailedPrecondition, with the command, its key and the ways out, when the target refuses it or its
// text is not known; Unavailable when it can be tried again. They hold no row values, and no text
// of a command that can hold a password.
class DdlReplay {
 public:
  explicit DdlReplay(DdlOptions options) : options_(std::move(options)) {}

  // A transaction of the source begins: texts before are of others.
  void BeginTransaction();

  // Whether PostgreSQL runs this command outside a transaction only.
  bool RunsAlone(const DdlCommand& command) const;

  // Runs the command, or knows why not; the session's settings are as before when this returns Ok.
  // One that RunsAlone is called outside a transaction, while no other connection of the sink has
  // one open, and may have been run before, by a sink that was killed: then it is done. All others
  // are called inside one, which has to be rolled back after an error.
  absl::Status Run(Connection& target, const DdlCommand& command, std::stop_token stop);

 private:
  bool IsSkipped(const Checkpoint& checkpoint) const;
  // Whether a command that is not exact is to be run.
  absl::StatusOr<bool> DecideInexact(const DdlCommand& command, const DdlPlan& plan);
  absl::Status RunSteps(Connection& target, const DdlCommand& command, const DdlPlan& plan,
                        const std::stop_token& stop);

  const DdlOptions options_;
  std::string last_text_;  // that was not exact, in this transaction
};

}  // namespace pgc
