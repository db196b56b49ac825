#include "source/slot.h"

#include <fmt/format.h>

#include <optional>

#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPollInterval{50};

constexpr char kSlot[] =
    "SELECT slot_type, plugin, database, database = current_database(), wal_status,"
    " confirmed_flush_lsn, active_pid, temporary, pg_current_wal_flush_lsn(),"
    // 16 has `conflicting`, 17 `invalidation_reason`; earlier servers know wal_status alone.
    " coalesce(to_jsonb(s)->>'invalidation_reason',"
    "  CASE WHEN (to_jsonb(s)->>'conflicting')::bool THEN 'conflict with recovery' END)"
    " FROM pg_replication_slots s WHERE slot_name = $1";

constexpr char kFreeSlots[] =
    "SELECT current_setting('max_replication_slots')::int - count(*),"
    " current_setting('max_replication_slots') FROM pg_replication_slots";

struct Slot {
  std::string type;
  std::string plugin;
  std::string database;
  bool here = false;
  std::string wal_status;
  Lsn confirmed;
  int64_t active_pid = 0;
  bool temporary = false;
  Lsn wal_end;  // of the server
  std::string invalidation;
};

// A server that does not give an LSN gives an empty text.
Lsn LsnOf(std::string_view text) { return ParseLsn(text).value_or(Lsn{}); }

absl::StatusOr<std::optional<Slot>> ReadSlot(Connection& sql, const std::string& name,
                                             const std::stop_token& stop) {
  const Connection::Parameter parameters[] = {name};
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kSlot, parameters, stop));
  if (row.rows() == 0) return std::optional<Slot>();
  return std::optional<Slot>(Slot{.type = std::string(row.Text(0, 0)),
                                  .plugin = std::string(row.Text(0, 1)),
                                  .database = std::string(row.Text(0, 2)),
                                  .here = row.Bool(0, 3),
                                  .wal_status = std::string(row.Text(0, 4)),
                                  .confirmed = LsnOf(row.Text(0, 5)),
                                  .active_pid = row.Int(0, 6),
                                  .temporary = row.Bool(0, 7),
                                  .wal_end = LsnOf(row.Text(0, 8)),
                                  .invalidation = std::string(row.Text(0, 9))});
}

absl::Status CheckMissing(Connection& sql, const std::string& name, Lsn captured,
                          const std::stop_token& stop) {
  if (captured != Lsn{}) {
    return absl::DataLossError(fmt::format(
        "the log has captured up to {}, but the server has no replication slot '{}': changes since "
        "then may be gone; {}",
        ToString(captured), name,
        "to begin anew, start with an empty data directory, or an empty topic of Pulsar"));
  }
  PGC_ASSIGN_OR_RETURN(const Result free, sql.Query(kFreeSlots, {}, stop));
  if (free.Int(0, 0) <= 0) {
    return absl::FailedPreconditionError(
        fmt::format("the server has no free replication slot for '{}': drop an unused one, or "
                    "raise max_replication_slots (now {}) and restart the server",
                    name, free.Text(0, 1)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSlot(Connection& sql, const std::string& name, CapturedUpTo captured,
                       const std::stop_token& stop, std::string_view plugin) {
  return CheckSlot(
      sql, name, [captured] { return captured; }, stop, plugin);
}

absl::Status CheckSlot(Connection& sql, const std::string& name,
                       const std::function<absl::StatusOr<CapturedUpTo>()>& read_captured,
                       const std::stop_token& stop, std::string_view plugin) {
  PGC_ASSIGN_OR_RETURN(const std::optional<Slot> slot, ReadSlot(sql, name, stop));
  PGC_ASSIGN_OR_RETURN(const CapturedUpTo up_to, read_captured());
  const Lsn captured = up_to.lsn;
  if (!slot.has_value()) return CheckMissing(sql, name, captured, stop);
  const auto unusable = [&name](const std::string& why) {
    return absl::FailedPreconditionError(
        fmt::format("the replication slot '{}' {}: drop it, or choose another --topic", name, why));
  };
  if (slot->type != "logical") return unusable("is a physical one");
  if (slot->plugin != plugin) {
    return unusable(fmt::format("is one of the plugin {}, not of {}", slot->plugin, plugin));
  }
  if (!slot->here) return unusable(fmt::format("belongs to the database '{}'", slot->database));
  if (slot->temporary) return unusable("is a temporary one of another session");
  if (slot->wal_status == "lost" || !slot->invalidation.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "the replication slot '{}' is lost ({}): the server has removed WAL that capture had not "
        "read, and the changes in it are gone; {}",
        name,
        slot->invalidation.empty() ? "it exceeded max_slot_wal_keep_size" : slot->invalidation,
        kBeginAnew));
  }
  if (captured == Lsn{}) return absl::OkStatus();
  if (slot->confirmed > captured && !up_to.is_least) {
    return absl::DataLossError(
        fmt::format("the replication slot '{}' is past the log: changes between {} and {} are gone "
                    "from the server or were confirmed by another log; {}",
                    name, ToString(captured), ToString(slot->confirmed), kBeginAnew));
  }
  if (slot->wal_end >= captured) return absl::OkStatus();
  // It may have been written since.
  PGC_ASSIGN_OR_RETURN(const std::optional<Slot> now, ReadSlot(sql, name, stop));
  if (now.has_value() && now->wal_end < captured) {
    return absl::DataLossError(fmt::format(
        "the log has captured up to {}, but the server's WAL ends at {}: the server has gone back "
        "to an earlier state, and what it writes from now on cannot follow this log; {}",
        ToString(captured), ToString(now->wal_end), kBeginAnew));
  }
  return absl::OkStatus();
}

absl::StatusOr<Lsn> EnsureSlot(Connection& sql, const std::string& name, Lsn captured,
                               const std::stop_token& stop, std::string_view plugin) {
  PGC_ASSIGN_OR_RETURN(const std::optional<Slot> slot, ReadSlot(sql, name, stop));
  if (slot.has_value()) {
    if (captured != Lsn{}) return captured;
    log::Warning("the log is empty and the slot exists: what it has confirmed is not in the log",
                 {{"slot", name}, {"lsn", ToString(slot->confirmed)}});
    return slot->confirmed;
  }
  log::Info("making the slot, once the transactions that are running now have ended",
            {{"slot", name}});
  const Connection::Parameter parameters[] = {name, std::string(plugin)};
  // A standby that synchronizes slots has it then; without one it makes no difference.
  const bool failover = sql.server_version() >= kFailoverVersion;
  PGC_ASSIGN_OR_RETURN(
      const Result made,
      sql.Query(fmt::format("SELECT lsn FROM pg_create_logical_replication_slot($1, $2{})",
                            failover ? ", failover => true" : ""),
                parameters, stop));
  const Lsn start = LsnOf(made.Text(0, 0));
  log::Info("made the slot", {{"slot", name}, {"lsn", ToString(start)}});
  return start;
}

absl::Status WaitForSlot(Connection& sql, const std::string& name, Clock::time_point deadline,
                         const std::stop_token& stop) {
  while (true) {
    PGC_ASSIGN_OR_RETURN(const std::optional<Slot> slot, ReadSlot(sql, name, stop));
    if (!slot.has_value() || slot->active_pid == 0) return absl::OkStatus();
    if (Clock::now() >= deadline) {
      return absl::FailedPreconditionError(
          fmt::format("the replication slot '{}' is used by another process (server pid {}): stop "
                      "it, or choose another --topic",
                      name, slot->active_pid));
    }
    Pause(kPollInterval, stop);
    if (stop.stop_requested()) return absl::CancelledError("stopped");
  }
}

}  // namespace pgc
