// Keeps a PostgreSQL database as the log says.
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "event/pg_timestamp.h"
#include "event/store.h"
#include "sink/applier.h"

namespace pgc {

struct SinkOptions {
  std::string url;    // of the database to keep
  std::string topic;  // the log that it is kept from
  // What a transaction's commit waits for on the target, as its parameter synchronous_commit;
  // empty: as the target has it. With `off` a crash of the target takes it back some transactions,
  // which are applied again.
  std::string synchronous_commit = "off";
  // The log of a server that was started as a physical copy of the source: it says where the copy
  // stood, when there is no checkpoint yet. Empty: the target begins where the log begins.
  std::string pg_log_path;
  // Connections over which transactions are applied at once.
  size_t connections = 1;
  ApplierOptions apply;
  // Told, by the sink's thread, the commit time of what was applied last, each time it moves.
  std::function<void(PgTimestamp commit_time)> applied = nullptr;
};

// Applies the log of `topic` from where the target is, until `stop` (Ok) or an error. The target's
// own row in pgcapture.sources says where that is; the log is kept from there on.
//
// Unavailable is worth another try: the target goes on exactly where it stopped. NotFound: the
// store has no such topic yet. FailedPrecondition and DataLoss need an operator. `started` is
// called once the first event is waited for.
absl::Status RunPostgresSink(EventStore& store, const SinkOptions& options,
                             const std::stop_token& stop,
                             const std::function<void()>& started = nullptr);

}  // namespace pgc
