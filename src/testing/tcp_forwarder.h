#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <thread>

#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace pgc {

// A bad network between a client and a server of this machine: connections to a port of loopback go
// on to another port of it, until they are told what is to happen to them. It holds at most 1 MiB
// of a connection in each direction, and the rest waits with its sender.
//
// Thread-safe. Ends all connections with this object.
class TcpForwarder {
 public:
  enum Direction { kToServer = 0, kToClient = 1 };

  static absl::StatusOr<std::unique_ptr<TcpForwarder>> Start(int server_port);
  ~TcpForwarder();

  int port() const { return port_; }
  // How many connections there have been.
  uint64_t accepted() const;

  // Ends all connections at once, with a reset. New ones are let through.
  void Cut();
  // From now on each byte of this direction comes so much later.
  void Delay(Direction direction, std::chrono::milliseconds by);
  // Nothing comes through in this direction, not even the end of a connection, and neither side is
  // told. New connections are opened and get nothing either.
  void Hold(Direction direction);
  // No delay any more, and what was held goes on.
  void Heal();

 private:
  class Links;
  struct Conditions {
    std::chrono::milliseconds delay[2] = {};
    bool held[2] = {};
    uint64_t cuts = 0;
  };

  TcpForwarder() = default;
  template <typename Change>
  void Set(const Change& change);
  Conditions conditions() const;
  void Run(const std::stop_token& stop);

  int port_ = 0;
  int server_port_ = 0;
  int listener_ = -1;
  int wake_ = -1;  // an eventfd

  mutable Mutex mutex_;
  Conditions conditions_ PGC_GUARDED_BY(mutex_);
  uint64_t accepted_ PGC_GUARDED_BY(mutex_) = 0;

  std::jthread thread_;  // the last to come and the first to go
};

}  // namespace pgc
