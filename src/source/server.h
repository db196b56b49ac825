// What a server must be for capture, and which history a position belongs to.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/lsn.h"
#include "event/pipeline.h"
#include "pg/connection.h"

namespace pgc {

// FailedPrecondition when the server, `150004` being 15.4, is too old.
absl::Status CheckVersion(int server_version);

// Checks the version, and gives the session settings that no role or database setting can disturb;
// to be called first.
absl::Status PrepareSession(Connection& sql, const std::stop_token& stop);

// FailedPrecondition, with the way out, when the server cannot be captured from by this role.
absl::Status CheckServer(Connection& sql, const std::stop_token& stop);

// Whose history a captured position is a position of.
struct Origin {
  std::string system;  // the cluster's identifier
  uint32_t timeline = 0;
  std::string database;

  bool operator==(const Origin&) const = default;
};

// `system=7231… timeline=1 database=app`, opaque to the sink, and back.
std::string ToString(const Origin& origin);
absl::StatusOr<Origin> ParseOrigin(const std::string& text);

// Asks a walsender.
absl::StatusOr<Origin> ReadOrigin(Connection& walsender, const std::stop_token& stop);

// Where a log goes on that has `resume`, captured from `stored`, on a server of `current`: where it
// stopped, or where its timeline was left, when that was before what it captured and after all that
// it stored. FailedPrecondition when something stored is not in the history of `current`: another
// cluster or database, or a timeline that branched off before it.
absl::StatusOr<Lsn> CheckOrigin(Connection& walsender, const Origin& stored, const Origin& current,
                                const ResumePoint& resume, const std::stop_token& stop);

// Where `timeline` was left, by a timeline's history file; nothing when it is not in there. What
// CheckOrigin does with the server's answer, exposed for tests.
std::optional<Lsn> LeftAt(std::string_view history, uint32_t timeline);

}  // namespace pgc
