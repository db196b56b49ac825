#include "source/side_session.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "source/server.h"

namespace pgc {
namespace {

// Transactional: before PostgreSQL 17 another message is not flushed by itself, and an idle server
// would keep it to itself.
constexpr char kHeartbeat[] = "SELECT pg_logical_emit_message(true, 'pgcapture.heartbeat', '')";

}  // namespace

SideSession::SideSession(Options options, Chore chore)
    : options_(std::move(options)),
      chore_(std::move(chore)),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void SideSession::Soon() {
  MutexLock lock(mutex_);
  asked_ = true;
  asked_changed_.NotifyAll();
}

absl::Status SideSession::Do(const std::stop_token& stop) {
  if (sql_ == nullptr) {
    PGC_ASSIGN_OR_RETURN(
        auto sql,
        Connection::Open(options_.url,
                         {.application_name = fmt::format("pgcapture {}", options_.name)}, stop));
    PGC_RETURN_IF_ERROR(PrepareSession(*sql, stop));
    if (!options_.setup.empty()) PGC_RETURN_IF_ERROR(sql->Execute(options_.setup, stop));
    sql_ = std::move(sql);
  }
  return chore_(*sql_, stop);
}

void SideSession::Wait(const std::stop_token& stop) {
  MutexLock lock(mutex_);
  asked_changed_.WaitUntil(mutex_, stop, std::chrono::steady_clock::now() + options_.interval,
                           [this]() PGC_REQUIRES(mutex_) { return asked_; });
  asked_ = false;
}

void SideSession::Run(const std::stop_token& stop) {
  bool failing = false;
  while (!stop.stop_requested()) {
    const absl::Status status = Do(stop);
    if (stop.stop_requested()) return;
    if (!status.ok()) {
      sql_.reset();
      if (!failing) {
        log::Warning(fmt::format("the {} failed and will be tried again", options_.name),
                     {{"error", std::string(status.message())}});
      }
    } else if (failing) {
      log::Info(fmt::format("the {} is back", options_.name));
    }
    failing = !status.ok();
    Wait(stop);
  }
}

absl::Status WriteHeartbeat(Connection& sql, const std::stop_token& stop) {
  return sql.Execute(kHeartbeat, stop);
}

}  // namespace pgc
