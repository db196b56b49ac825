#pragma once

#include "absl/status/status.h"

namespace pgc {

// What an error of the server means for who asked for a dump (dump_server.h), where pg/ says what
// it means for a pipeline.
absl::Status DumpError(absl::Status status);

}  // namespace pgc
