#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"

namespace pgc {

// Runs `once` until `stop` is requested or it fails with other than Unavailable; again with
// backoff, and with `message` in the log, while that is what it fails with.
absl::Status Retry(const std::string& message, const std::stop_token& stop,
                   const std::function<absl::Status()>& once);

// The same whatever it fails with, and more seldom then.
void RetryAlways(const std::string& message, const std::string& stopped,
                 const std::stop_token& stop, const std::function<absl::Status()>& once);

}  // namespace pgc
