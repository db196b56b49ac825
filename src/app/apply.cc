#include "app/apply.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "app/renice.h"
#include "base/retry.h"
#include "base/status_macros.h"
#include "store/embedded_store.h"
#include "store/pulsar_store.h"

namespace pgc {
namespace {

constexpr char kUnavailable[] = "the replica is unavailable and will be tried again";

absl::StatusOr<std::unique_ptr<EventStore>> OpenStore(const ApplyOptions& options) {
  if (options.store.find("://") != std::string::npos) {
    return OpenPulsarStore({.url = options.store,
                            .library = options.pulsar_library,
                            .reader_prefix = options.reader_prefix});
  }
  if (!std::filesystem::exists(options.store)) {
    return absl::FailedPreconditionError(
        fmt::format("--store {}: there is no such directory", options.store));
  }
  return OpenEmbeddedStore(options.store, {});
}

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
  Renice(options.renice);
  PGC_ASSIGN_OR_RETURN(const auto store, OpenStore(options));
  return Retry(kUnavailable, stop, [&] { return RunPostgresSink(*store, options.sink, stop); });
}

}  // namespace pgc
