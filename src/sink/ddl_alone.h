#pragma once

#include <stop_token>

#include "absl/status/status.h"
#include "pg/connection.h"
#include "sink/ddl_plan.h"

namespace pgc {

// Runs a step that PostgreSQL runs outside a transaction only, under the settings that the session
// has. It may have been run before, wholly or in part: what is left is done. The server's errors.
absl::Status RunAlone(Connection& target, const DdlStep& step, const std::stop_token& stop);

}  // namespace pgc
