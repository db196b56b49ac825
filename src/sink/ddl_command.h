#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/checkpoint.h"
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

// One of the `objects`.
struct DdlObject {
  std::string tag;       // of the command that made or changed it; empty when it was dropped
  std::string type;      // "table", "index", …
  std::string schema;    // empty for what is in none, and for what PostgreSQL does not name
  std::string identity;  // its name as SQL, with its schema; empty where PostgreSQL gives none
};

// Those that can be read; `objects` is for reading only, so that what cannot be is left out.
std::vector<DdlObject> ObjectsOf(const DdlCommand& command);

}  // namespace pgc
