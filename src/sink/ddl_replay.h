#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/checkpoint.h"
#include "pg/connection.h"
#include "sink/change.h"

namespace pgc {

// A row of the log of DDL (docs/extension.md).
struct DdlCommand {
  Checkpoint checkpoint;             // of its event
  std::optional<std::string> query;  // none: the source did not know the text
  std::vector<std::string> tags;
  std::optional<std::string> search_path;  // none: rows of version 0.1, here and below
  std::optional<std::string> role;
  std::string objects;  // JSON; empty: none
  std::optional<bool> exact;
};

// Reads the insert of a row into pgcapture.ddl_logs. DataLoss when it is none.
absl::StatusOr<DdlCommand> ParseDdlCommand(const Change& change, const Checkpoint& checkpoint);

// What to do with a command whose text is not known to be that one command.
enum class InexactDdl : uint8_t { kStop, kRun, kSkip };

struct DdlOptions {
  InexactDdl inexact = InexactDdl::kStop;
  bool use_role = true;         // run each command as the role that ran it on the source
  bool use_search_path = true;  // look its names up in the schemas in which the source did
  // Commands that are not run: those of the transaction with this LSN, or, where seq is not 0, the
  // one event.
  std::vector<Checkpoint> skip;
};

// Repeats the source's DDL on a target. One for each connection; not thread-safe.
class DdlReplay {
 public:
  explicit DdlReplay(DdlOptions options) : options_(std::move(options)) {}

  // A transaction of the source begins: texts before are of others.
  void BeginTransaction();

  // Whether PostgreSQL runs this command outside a transaction only.
  bool RunsAlone(const DdlCommand& command) const;

  // Runs the command, or knows why not; the session's settings are as before when this returns Ok.
  // One that RunsAlone is called outside a transaction and may have been run before, by a sink that
  // was killed: then it is done. All others are called inside one. FailedPrecondition with the
  // command, its LSN and the ways out when the target refuses it.
  absl::Status Run(Connection& target, const DdlCommand& command, std::stop_token stop);

 private:
  const DdlOptions options_;
  std::string last_text_;
};

}  // namespace pgc
