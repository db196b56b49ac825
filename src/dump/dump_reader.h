#pragma once

#include <chrono>
#include <stop_token>

#include "absl/status/status.h"
#include "dump/captured_xids.h"
#include "dump/connection_pool.h"
#include "dump/dump_server.h"

namespace pgc {

// Reads one dump over a session. `captured` is nullptr but for the source. `begun` is set once the
// session turned out to be alive, and the dump cannot be begun again on another.
absl::Status ReadDump(DumpSession& session, const DumpServerOptions& options,
                      CapturedXids* captured, const DumpRequest& request, DumpWriter& out,
                      bool& begun, const std::stop_token& stop);

}  // namespace pgc
