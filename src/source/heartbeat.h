#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "pg/connection.h"

namespace pgc {

// Writes a small message to the source's WAL every interval, on a connection of its own, so that
// the slot of an idle database moves on; and then does `chore` there. It ends with the object.
//
// A failure is logged once and tried again at the next beat: capture itself goes on without.
class Heartbeat {
 public:
  using Chore = std::function<absl::Status(Connection&, const std::stop_token&)>;

  Heartbeat(std::string url, std::chrono::milliseconds interval, Chore chore);

 private:
  void Run(const std::stop_token& stop);
  absl::Status Beat(const std::stop_token& stop);

  const std::string url_;
  const std::chrono::milliseconds interval_;
  const Chore chore_;
  std::unique_ptr<Connection> sql_;  // the thread's
  std::jthread thread_;
};

}  // namespace pgc
