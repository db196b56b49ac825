#include "dump/connection_pool.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/status_macros.h"
#include "dump/server_error.h"

namespace pgc {
namespace {

constexpr int kOldestVersion = 130000;

// For every dump the same plan, a scan of the pages asked for: a compiler costs more than a chunk
// takes, and workers would be taken from others. Values have the encoding that the stream has.
constexpr char kSettings[] = R"(
SELECT set_config('search_path', '', false), set_config('statement_timeout', '0', false),
  set_config('lock_timeout', '2s', false),
  set_config('idle_in_transaction_session_timeout', '0', false),
  set_config('client_encoding', getdatabaseencoding(), false),
  set_config('standard_conforming_strings', 'on', false), set_config('row_security', 'off', false),
  set_config('jit', 'off', false), set_config('max_parallel_workers_per_gather', '0', false),
  set_config('enable_tidscan', 'on', false), set_config('enable_seqscan', 'off', false))";

constexpr char kSession[] =
    "SELECT pg_catalog.current_setting('search_path'), system_identifier FROM "
    "pg_catalog.pg_control_system()";

struct CancelDelete {
  void operator()(PGcancel* cancel) const { PQfreeCancel(cancel); }
};

}  // namespace

ConnectionPool::ConnectionPool(std::string url, int size)
    : url_(std::move(url)), size_(std::max(size, 1)) {}

ConnectionPool::Lease::~Lease() {
  if (session_ == nullptr) return;
  if (!session_->drop) {
    switch (PQtransactionStatus(session_->sql->raw())) {
      case PQTRANS_IDLE:
        break;
      case PQTRANS_INTRANS:
      case PQTRANS_INERROR:
        session_->drop = !session_->sql->Execute("ROLLBACK").ok();
        break;
      default:
        session_->drop = true;
    }
  }
  if (session_->drop) {
    CancelStatement(*session_->sql);
    session_->sql = nullptr;
  }
  pool_->GiveBack(std::move(session_));
}

absl::StatusOr<ConnectionPool::Lease> ConnectionPool::Take(const std::stop_token& stop) {
  {
    MutexLock lock(mutex_);
    if (!freed_.Wait(mutex_, stop, [this]() PGC_REQUIRES(mutex_) { return taken_ < size_; })) {
      return absl::CancelledError("stopped");
    }
    ++taken_;
    if (!idle_.empty()) {
      std::unique_ptr<DumpSession> session = std::move(idle_.back());
      idle_.pop_back();
      session->used = true;
      return Lease(this, std::move(session));
    }
  }
  absl::StatusOr<std::unique_ptr<DumpSession>> session = Open(stop);
  if (!session.ok()) {
    GiveBack(nullptr);
    if (absl::IsCancelled(session.status())) return session.status();
    return absl::Status(absl::StatusCode::kUnavailable, session.status().message());
  }
  return Lease(this, *std::move(session));
}

absl::StatusOr<std::unique_ptr<DumpSession>> ConnectionPool::Open(const std::stop_token& stop) {
  auto session = std::make_unique<DumpSession>();
  PGC_ASSIGN_OR_RETURN(session->sql,
                       Connection::Open(url_, {.application_name = "pgcapture_dump"}, stop));
  if (session->sql->server_version() < kOldestVersion) {
    return absl::UnavailableError(fmt::format("the server is PostgreSQL {}: dumps need 13 or newer",
                                              session->sql->server_version() / 10000));
  }
  PGC_ASSIGN_OR_RETURN(const Result row, session->sql->Query(kSession, {}, stop));
  session->search_path = row.Text(0, 0);
  session->system_identifier = static_cast<uint64_t>(row.Int(0, 1));
  PGC_RETURN_IF_ERROR(session->sql->Execute(kSettings, stop));
  MutexLock lock(mutex_);
  system_identifier_ = session->system_identifier;
  return session;
}

void ConnectionPool::GiveBack(std::unique_ptr<DumpSession> session) {
  MutexLock lock(mutex_);
  --taken_;
  if (session != nullptr && session->sql != nullptr) idle_.push_back(std::move(session));
  freed_.NotifyOne();
}

std::optional<uint64_t> ConnectionPool::system_identifier() const {
  MutexLock lock(mutex_);
  return system_identifier_;
}

void CancelStatement(Connection& sql) {
  if (PQtransactionStatus(sql.raw()) != PQTRANS_ACTIVE) return;
  const std::unique_ptr<PGcancel, CancelDelete> cancel(PQgetCancel(sql.raw()));
  char ignored[256];
  if (cancel != nullptr) (void)PQcancel(cancel.get(), ignored, sizeof ignored);
}

}  // namespace pgc
