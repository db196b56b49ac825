#include "dump/connection_pool.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/host_name.h"
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
    "SELECT pg_catalog.current_setting('search_path'), system_identifier, "
    "pg_catalog.pg_is_in_recovery() FROM pg_catalog.pg_control_system()";

struct CancelDelete {
  void operator()(PGcancel* cancel) const { PQfreeCancel(cancel); }
};

// Which server and database this is. The name of an address on this machine means others elsewhere.
std::string PlaceOf(Connection& sql) {
  const std::string host = PQhost(sql.raw());
  const bool is_here = host.empty() || host.front() == '/' || host.front() == '@' ||
                       host == "localhost" || host == "::1" || host.starts_with("127.");
  return fmt::format("{} {} {} {}", host, PQport(sql.raw()), PQdb(sql.raw()),
                     is_here ? HostName() : "");
}

uint64_t MixedWith(uint64_t system_identifier, const std::string& place) {
  const uLong crc =
      crc32(0, reinterpret_cast<const Bytef*>(place.data()), static_cast<uInt>(place.size()));
  return system_identifier + 1 + crc;
}

}  // namespace

ConnectionPool::ConnectionPool(std::string url, int size, bool is_source)
    : url_(std::move(url)), size_(std::max(size, 1)), is_source_(is_source) {}

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
  session->identity = static_cast<uint64_t>(row.Int(0, 1));
  if (!is_source_ && !row.Bool(0, 2)) {
    session->identity = MixedWith(session->identity, PlaceOf(*session->sql));
  }
  PGC_RETURN_IF_ERROR(session->sql->Execute(kSettings, stop));
  MutexLock lock(mutex_);
  identity_ = session->identity;
  return session;
}

void ConnectionPool::GiveBack(std::unique_ptr<DumpSession> session) {
  MutexLock lock(mutex_);
  --taken_;
  if (session != nullptr && session->sql != nullptr) idle_.push_back(std::move(session));
  freed_.NotifyOne();
}

std::optional<uint64_t> ConnectionPool::identity() const {
  MutexLock lock(mutex_);
  return identity_;
}

void CancelStatement(Connection& sql) {
  if (PQtransactionStatus(sql.raw()) != PQTRANS_ACTIVE) return;
  const std::unique_ptr<PGcancel, CancelDelete> cancel(PQgetCancel(sql.raw()));
  char ignored[256];
  if (cancel != nullptr) (void)PQcancel(cancel.get(), ignored, sizeof ignored);
}

}  // namespace pgc
