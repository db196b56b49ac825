#include "source/silence.h"

#include <fmt/format.h>

#include <utility>

namespace pgc {

absl::StatusOr<bool> Silence::Check(TimePoint now) {
  if (now - heard_at_ >= kToFail) {
    return absl::UnavailableError(
        fmt::format("nothing came from the server for {} s", kToFail.count()));
  }
  return now - heard_at_ >= kToPing && !std::exchange(pinged_, true);
}

}  // namespace pgc
