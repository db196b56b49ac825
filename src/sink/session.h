#pragma once

#include <span>
#include <stop_token>

#include "absl/status/status.h"
#include "pg/connection.h"

namespace pgc {

struct SessionSetting {
  const char* name;
  const char* value;      // while rows are applied
  const char* ddl_value;  // while a command of DDL is run; nullptr: the same
  int since_version = 0;  // 170000: PostgreSQL 17 and newer have it
};

// All settings of a session that applies the log to a target, but session_replication_role, the
// role and the search path that a command of DDL has of its own.
std::span<const SessionSetting> SessionSettings();

// Gives a new session these settings, and session_replication_role = replica if `replica_role`:
// triggers and foreign keys do not fire then, because what they did on the source is in the log.
// FailedPrecondition, with the ways out, when the role may not set that.
absl::Status PrepareSession(Connection& target, bool replica_role, const std::stop_token& stop);

}  // namespace pgc
