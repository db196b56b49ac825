#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pgc {

// A call of the administration of a Pulsar broker, of a path behind the port: the answer's body, or
// an error with it unless it is 2xx. Follows where it is sent to.
absl::StatusOr<std::string> PulsarAdmin(int port, std::string_view method, std::string_view path,
                                        std::string_view body = "");

// The same, of this broker alone: an error where it sends to another one.
absl::StatusOr<std::string> PulsarAdminHere(int port, std::string_view method,
                                            std::string_view path, std::string_view body = "");

}  // namespace pgc
