// How DDL gets into the stream: as rows of pgcapture.ddl_logs, written on the source by the
// extension `pgcapture` or, where that cannot be installed, by event triggers in plain SQL.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pg/connection.h"

namespace pgc {

enum class DdlVariant : uint8_t { kExtension, kSql };

// What a database has of it.
struct DdlCapture {
  std::optional<DdlVariant> installed;
  std::string version;    // of the extension that is installed
  std::string available;  // version of the extension that the server has the files of, or empty
  std::string others;     // tables of somebody else in its schema, while nothing is installed
  // Columns of ddl_logs that the contract has and the table has not: a row could not be read.
  std::vector<std::string> missing_columns;
};

// The version of the extension that this program goes with.
inline constexpr char kDdlCaptureVersion[] = "0.2";

absl::StatusOr<DdlCapture> ReadDdlCapture(Connection& sql, const std::stop_token& stop);

// Installs what can be, when nothing is there yet: the extension where the server has its files,
// else the plain SQL. Says in the log which of them captures DDL. FailedPrecondition, with the ways
// out, when the role may install neither.
absl::Status EnsureDdlCapture(Connection& sql, const std::stop_token& stop);

// Installs `wanted` (nothing: the extension where the server has its files), in place of the other
// if need be; positions of sinks are kept. It is one transaction. What was installed.
absl::StatusOr<DdlVariant> InstallDdlCapture(Connection& sql, std::optional<DdlVariant> wanted,
                                             const std::stop_token& stop);

// What makes the plain-SQL variant (extension/plain/install.sql).
extern const char kDdlCaptureSql[];

}  // namespace pgc
