#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/lsn.h"
#include "pg/connection.h"

namespace pgc {

constexpr std::string_view kPgOutput = "pgoutput";
// From this version on, a standby can have the slots of its primary.
constexpr int kFailoverVersion = 170000;

// What an operator does when changes are gone.
inline constexpr std::string_view kBeginAnew =
    "to begin anew, drop the slot and start with an empty data directory, or an empty topic of "
    "Pulsar";

// How far the log is captured that a slot belongs to.
struct CapturedUpTo {
  Lsn lsn;  // zero: nothing is stored
  // Its store does not keep captured positions, so the slot may have confirmed later ones.
  bool is_least = false;
};

// FailedPrecondition when the slot `name` is missing and none is free, is not one that capture can
// use, or has been lost; DataLoss when what follows `captured` is gone or was confirmed by another
// log. Changes nothing.
absl::Status CheckSlot(Connection& sql, const std::string& name, CapturedUpTo captured,
                       const std::stop_token& stop, std::string_view plugin = kPgOutput);
// The same while another process may be capturing: `captured` is asked once the slot was read, so
// that it is not behind a position that it has confirmed meanwhile. Its error is passed on.
absl::Status CheckSlot(Connection& sql, const std::string& name,
                       const std::function<absl::StatusOr<CapturedUpTo>()>& captured,
                       const std::stop_token& stop, std::string_view plugin = kPgOutput);

// Makes the slot, of that output plugin, if it is missing, and returns where streaming begins:
// `captured`, or what the slot has confirmed when that is zero. To be called after CheckSlot.
absl::StatusOr<Lsn> EnsureSlot(Connection& sql, const std::string& name, Lsn captured,
                               const std::stop_token& stop, std::string_view plugin = kPgOutput);

// Waits until no walsender uses the slot: that of a client that just died takes a moment to
// notice. FailedPrecondition, with its pid, when it is still used at `deadline`.
absl::Status WaitForSlot(Connection& sql, const std::string& name,
                         std::chrono::steady_clock::time_point deadline,
                         const std::stop_token& stop);

}  // namespace pgc
