#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "gateway/dump_sources.h"

namespace pgc {

struct SnapshotOptions {
  std::string uri;
  DumpSources sources;
  // Whether the consumer wants the changes of a table.
  std::function<bool(std::string_view schema, std::string_view table)> wants;
  // Only when the controller has not done so for the uri before: it remembers that, for a store
  // that does not tell which subscriptions are new.
  bool once = false;
};

// FailedPrecondition: there are no dumps.
absl::Status CheckHasDumps(const DumpSources& sources);

// Schedules dumps of all tables that a consumer wants, for a subscription that is to begin with
// what is there, in the place of what is scheduled for it. The agents are asked one after the
// other, until one knows the tables. Waits for their answers; stopped, for the
// controller's only. FailedPrecondition: there are no dumps, or it does not know `once`.
absl::Status ScheduleSnapshot(const SnapshotOptions& options, const std::stop_token& stop);

// Forgets what is scheduled for a uri that nobody will have again. Waits for the answer.
void ForgetSnapshot(const std::string& uri, const DumpSources& sources);

}  // namespace pgc
