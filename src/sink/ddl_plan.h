#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sink/ddl_command.h"
#include "sql/alter_table.h"

namespace pgc {

// One statement that a target has to run for a command.
struct DdlStep {
  enum class Kind : uint8_t {
    kPlain,
    kSetting,           // of the search path or the role, for the steps after it
    kCreateIndexAlone,  // this and those below run outside a transaction only
    kDropIndexAlone,
    kDetachAlone,
  };
  Kind kind = Kind::kPlain;
  std::string tag;
  std::string sql;
  bool of_role = false;  // it means the role that runs it (GRANT … TO CURRENT_USER)
  AlterTable alter;      // of an ALTER TABLE
  // As SQL: of kCreateIndexAlone the index, and its table where only that tells the schema; of
  // kDetachAlone the partition, and its table.
  std::string relation;
  std::string table;
};

// What a command is to a target.
struct DdlPlan {
  enum class Fate : uint8_t {
    kRun,
    kNothing,       // there is nothing to do
    kOwn,           // it is about pgcapture itself
    kReindex,       // nothing to do but to see that the indexes are there
    kLargeObjects,  // they are not in the stream
    kMixed,         // it is about pgcapture and something else at once
    kUnknown,       // its text is not known
  };
  Fate fate = Fate::kRun;
  bool exact = true;                  // the text is known to be this command and nothing else
  std::vector<DdlStep> steps;         // of kRun, in order
  std::vector<std::string> left_out;  // tags of statements of the text that are no DDL
};

// A longer text of a command is not read, and its command not run.
inline constexpr size_t kMaxDdlBytes = 64 << 20;

// Reads the text of a command, never the target. FailedPrecondition when no other session can run
// it.
absl::StatusOr<DdlPlan> PlanDdl(const DdlCommand& command);

}  // namespace pgc
