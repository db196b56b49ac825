#pragma once

#include <chrono>
#include <cstddef>

namespace pgc {

// When a reader of the walsender's socket naps, and for how long (docs/decisions/read-pace.md).
// Not thread-safe.
//
// On TCP it reads a little and naps, so that the socket stays full while data flows: sends of a
// server that meets a full socket cost it a fraction. The nap shrinks as long as there is always
// more, and grows when the socket was found empty. On a Unix socket it naps only when that is
// empty.
class ReadPace {
 public:
  using Duration = std::chrono::microseconds;

  explicit ReadPace(bool is_unix_socket) : is_unix_socket_(is_unix_socket) {}

  // How long to nap after a read of `bytes` in `messages`, more than none; zero: read on.
  Duration AfterData(size_t bytes, size_t messages);
  // How long to nap after a read of nothing before another; zero: the stream is idle.
  Duration AfterNothing();

 private:
  const bool is_unix_socket_;
  Duration nap_ = kFirstNap;
  size_t bytes_ = 0;  // since the last nap
  size_t messages_ = 0;
  bool flowing_ = false;  // something came since the socket was last found empty

  static constexpr Duration kFirstNap{500};
};

}  // namespace pgc
