#include "app/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <ctime>

#include "base/log.h"

namespace pgc {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

StopOnSignal::StopOnSignal() {
  const sigset_t set = StopSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A write to a closed pipe or socket, or beyond a file size limit, is an error of that write.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  thread_ = std::jthread([this](const std::stop_token& done) {
    const sigset_t signals = StopSignals();
    // Wakes now and then: a destructor has no other way to end a wait for a signal.
    const timespec wait{.tv_sec = 0, .tv_nsec = 100'000'000};
    while (!done.stop_requested()) {
      const int got = sigtimedwait(&signals, nullptr, &wait);
      if (got <= 0) continue;
      if (source_.stop_requested()) _exit(128 + got);
      log::Info("stopping", {{"signal", got == SIGINT ? "SIGINT" : "SIGTERM"}});
      source_.request_stop();
    }
  });
}

StopOnSignal::~StopOnSignal() = default;

}  // namespace pgc
