#include "base/retry.h"

#include <chrono>

#include "base/backoff.h"
#include "base/log.h"
#include "base/pause.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A run that lasted this long was a success, and the next failure is a new one.
constexpr std::chrono::seconds kHealthyRun{30};
constexpr milliseconds kFirstRetry{250};
constexpr milliseconds kLastRetry{10'000};
// What an operator must mend is not mended soon.
constexpr milliseconds kFirstCheck{5'000};
constexpr milliseconds kLastCheck{60'000};

}  // namespace

absl::Status Retry(const std::string& message, const std::stop_token& stop,
                   const std::function<absl::Status()>& once) {
  Backoff backoff(kFirstRetry, kLastRetry);
  while (true) {
    const auto begun = steady_clock::now();
    absl::Status status = once();
    if (status.ok() || !absl::IsUnavailable(status)) return status;
    if (steady_clock::now() - begun > kHealthyRun) backoff.Reset();
    const milliseconds delay = backoff.Next();
    log::Warning(message, {{"error", std::string(status.message())},
                           {"retry_ms", std::to_string(delay.count())}});
    Pause(delay, stop);
    if (stop.stop_requested()) return absl::OkStatus();
  }
}

void RetryAlways(const std::string& message, const std::string& stopped,
                 const std::stop_token& stop, const std::function<absl::Status()>& once) {
  Backoff backoff(kFirstCheck, kLastCheck);
  while (!stop.stop_requested()) {
    const auto begun = steady_clock::now();
    const absl::Status status = Retry(message, stop, once);
    if (status.ok()) return;
    if (steady_clock::now() - begun > kHealthyRun) backoff.Reset();
    const milliseconds delay = backoff.Next();
    log::Error(stopped, {{"error", std::string(status.message())},
                         {"retry_ms", std::to_string(delay.count())}});
    Pause(delay, stop);
  }
}

}  // namespace pgc
