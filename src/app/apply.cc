#include "app/apply.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/retry.h"
#include "base/status_macros.h"
#include "store/embedded_store.h"

namespace pgc {
namespace {

constexpr char kUnavailable[] = "the replica is unavailable and will be tried again";

}  // namespace

void KeepReplica(EventStore& store, const SinkOptions& options, const std::stop_token& stop) {
  RetryAlways(kUnavailable, "replica stopped", stop, [&] {
    absl::Status status = RunPostgresSink(store, options, stop);
    // The topic is made when the source is there for the first time.
    if (absl::IsNotFound(status)) return absl::UnavailableError(status.message());
    return status;
  });
}

absl::Status RunApply(const ApplyOptions& options, const std::stop_token& stop) {
  if (options.store.find("://") != std::string::npos) {
    return absl::FailedPreconditionError(fmt::format(
        "--store {}: only the data directory of a serve that does not run can be applied",
        options.store));
  }
  if (!std::filesystem::exists(options.store)) {
    return absl::FailedPreconditionError(
        fmt::format("--store {}: there is no such directory", options.store));
  }
  PGC_ASSIGN_OR_RETURN(const auto store, OpenEmbeddedStore(options.store, {}));
  return Retry(kUnavailable, stop, [&] { return RunPostgresSink(*store, options.sink, stop); });
}

}  // namespace pgc
