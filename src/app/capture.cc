#include "app/capture.h"

#include <memory>

#include "base/log.h"
#include "base/retry.h"
#include "base/status_macros.h"
#include "event/pipeline.h"
#include "pulsar/service_url.h"
#include "store/pulsar_store.h"

namespace pgc {
namespace {

constexpr char kUnavailable[] = "capture is unavailable and will be tried again";

absl::Status CaptureOnce(const CaptureOptions& options, EventStore& store,
                         const std::stop_token& stop) {
  // The sink calls the source back, so the source goes last.
  const auto source = NewPostgresSource(options.source);
  PGC_ASSIGN_OR_RETURN(const auto sink, store.OpenWriter(options.source.topic));
  return RunPipeline(*source, *sink, stop, [&options] {
    log::Info("capturing", {{"topic", options.source.topic},
                            {"store", pulsar::WithoutParameters(options.store)}});
  });
}

}  // namespace

absl::Status RunCapture(const CaptureOptions& options, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const auto store, OpenPulsarStore({.url = options.store,
                                                          .library = options.pulsar_library,
                                                          .replicate_to = options.replicate_to}));
  return Retry(kUnavailable, stop, [&] { return CaptureOnce(options, *store, stop); });
}

}  // namespace pgc
