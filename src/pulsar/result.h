#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "pulsar/c_api.h"

namespace pgc::pulsar {

// What a result means to us: Unavailable when it may pass by itself, FailedPrecondition when an
// operator must act, NotFound a topic or a subscription that is not there. `doing` says what
// failed, and on what. Ok for success.
absl::Status ToStatus(const c::Api& api, c::Result result, std::string_view doing);

}  // namespace pgc::pulsar
