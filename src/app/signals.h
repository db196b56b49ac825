#pragma once

#include <stop_token>
#include <thread>

namespace pgc {

// Turns SIGINT and SIGTERM into a stop request; a second one ends the process at once.
//
// Make it in main before any other thread: they inherit that both signals are blocked.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  std::stop_source& source() { return source_; }

 private:
  std::stop_source source_;
  std::jthread thread_;
};

}  // namespace pgc
