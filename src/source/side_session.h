#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "pg/connection.h"

namespace pgc {

// Does a chore on the source every interval, and when asked, on a connection and a thread of its
// own. It ends with the object.
//
// A failure is logged once and the chore tried again after the interval, with a new connection:
// capture itself goes on without.
class SideSession {
 public:
  using Chore = std::function<absl::Status(Connection&, const std::stop_token&)>;

  struct Options {
    std::string name;  // for the log, and what the server sees
    std::string url;
    std::chrono::milliseconds interval{};
    std::string setup = {};  // SQL for a new connection, beside what every session gets
  };
  SideSession(Options options, Chore chore);

  // Does the chore now, or again when it is under way. From any thread.
  void Soon();

 private:
  void Run(const std::stop_token& stop);
  absl::Status Do(const std::stop_token& stop);
  void Wait(const std::stop_token& stop);

  const Options options_;
  const Chore chore_;
  std::unique_ptr<Connection> sql_;  // the thread's
  Mutex mutex_;
  CondVar asked_changed_;
  bool asked_ PGC_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // last: it uses the others
};

// Writes a small message to the source's WAL, so that the slot of an idle database moves on.
absl::Status WriteHeartbeat(Connection& sql, const std::stop_token& stop);

}  // namespace pgc
