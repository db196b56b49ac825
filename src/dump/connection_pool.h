#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "pg/connection.h"

namespace pgc {

// A session that is set up to dump.
struct DumpSession {
  std::unique_ptr<Connection> sql;
  uint64_t identity = 0;    // of its server (DumpServer::identity)
  std::string search_path;  // the role's own; the session's is empty
  bool used = false;        // it was open before, and the server may be gone since
  bool drop = false;        // it is not to be kept: it has grown, or has an answer under way
};

// At most so many sessions of one server, each kept for the next. Thread-safe.
class ConnectionPool {
 public:
  // `is_source`: of the log.
  ConnectionPool(std::string url, int size, bool is_source);

  // Gives the session back when it ends, without the transaction that it may be in. Ends before
  // the pool.
  class Lease {
   public:
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    DumpSession& session() { return *session_; }
    Connection& sql() { return *session_->sql; }

   private:
    friend class ConnectionPool;
    Lease(ConnectionPool* pool, std::unique_ptr<DumpSession> session)
        : pool_(pool), session_(std::move(session)) {}

    ConnectionPool* pool_;
    std::unique_ptr<DumpSession> session_;
  };

  // Waits for one that is free. Unavailable when the server cannot be reached, or refuses.
  absl::StatusOr<Lease> Take(const std::stop_token& stop);

  // Of the server that was reached last.
  std::optional<uint64_t> identity() const;

 private:
  absl::StatusOr<std::unique_ptr<DumpSession>> Open(const std::stop_token& stop);
  void GiveBack(std::unique_ptr<DumpSession> session);

  const std::string url_;
  const int size_;
  const bool is_source_;

  mutable Mutex mutex_;
  CondVar freed_;
  int taken_ PGC_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<DumpSession>> idle_ PGC_GUARDED_BY(mutex_);
  std::optional<uint64_t> identity_ PGC_GUARDED_BY(mutex_);
};

// Ends what the session's server is doing for it.
void CancelStatement(Connection& sql);

}  // namespace pgc
