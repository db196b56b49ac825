#pragma once

#include <string>

namespace pgc {

// A TCP port of loopback, kept for one server and its restarts while this object lives: the system
// gives it to no one else who asks for any port or connects from one. Until a server listens on it,
// connections are refused. The server must set SO_REUSEADDR, as all do that want to be restarted.
class FreePort {
 public:
  FreePort();
  ~FreePort();
  FreePort(const FreePort&) = delete;
  FreePort& operator=(const FreePort&) = delete;

  int number() const { return number_; }  // 0 if there is none
  std::string address() const;            // 127.0.0.1:N

 private:
  const int fd_;  // bound, and never listening
  int number_ = 0;
};

}  // namespace pgc
