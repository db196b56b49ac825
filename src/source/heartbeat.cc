#include "source/heartbeat.h"

#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "source/server.h"

namespace pgc {
namespace {

// Transactional: before PostgreSQL 17 another message is not flushed by itself, and an idle server
// would keep it to itself.
constexpr char kBeat[] = "SELECT pg_logical_emit_message(true, 'pgcapture.heartbeat', '')";

}  // namespace

Heartbeat::Heartbeat(std::string url, std::chrono::milliseconds interval, Chore chore)
    : url_(std::move(url)),
      interval_(interval),
      chore_(std::move(chore)),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

absl::Status Heartbeat::Beat(const std::stop_token& stop) {
  if (sql_ == nullptr) {
    PGC_ASSIGN_OR_RETURN(sql_,
                         Connection::Open(url_, {.application_name = "pgcapture heartbeat"}, stop));
    PGC_RETURN_IF_ERROR(PrepareSession(*sql_, stop));
  }
  PGC_RETURN_IF_ERROR(sql_->Execute(kBeat, stop));
  return chore_(*sql_, stop);
}

void Heartbeat::Run(const std::stop_token& stop) {
  Mutex mutex;
  CondVar never;
  bool failing = false;
  while (!stop.stop_requested()) {
    const absl::Status status = Beat(stop);
    if (stop.stop_requested()) return;
    if (!status.ok()) {
      sql_.reset();
      if (!failing) {
        log::Warning("the heartbeat failed and will be tried again",
                     {{"error", std::string(status.message())}});
      }
    } else if (failing) {
      log::Info("the heartbeat is back");
    }
    failing = !status.ok();
    MutexLock lock(mutex);
    never.WaitUntil(mutex, stop, std::chrono::steady_clock::now() + interval_,
                    [] { return false; });
  }
}

}  // namespace pgc
