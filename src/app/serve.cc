#include "app/serve.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "base/backoff.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "event/pipeline.h"
#include "event/store.h"
#include "gateway/resolver.h"
#include "gateway/server.h"
#include "source/postgres_source.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

// A run that lasted this long was a success, and the next failure is a new one.
constexpr std::chrono::seconds kHealthyRun{30};
constexpr milliseconds kFirstRetry{250};
constexpr milliseconds kLastRetry{10'000};

void WaitFor(milliseconds delay, const std::stop_token& stop) {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  never.WaitUntil(mutex, stop, std::chrono::steady_clock::now() + delay, [] { return false; });
}

// One attempt: until stopped, or until source or store fail. The slot is free when it returns.
absl::Status CaptureOnce(const ServeOptions& options, EventStore& store, GatewayServer& server,
                         const std::stop_token& stop) {
  // The sink calls the source back, so the source goes last.
  const auto source = NewPostgresSource(options.source);
  PGC_ASSIGN_OR_RETURN(const auto sink, store.OpenWriter(options.source.topic));
  absl::Status status = RunPipeline(*source, *sink, stop, [&] {
    server.SetServing(true);
    log::Info("capturing", {{"topic", options.source.topic}, {"listen", server.address()}});
  });
  server.SetServing(false);
  return status;
}

// Captures until stopped, again and again while the source is only unavailable.
absl::Status Capture(const ServeOptions& options, EventStore& store, GatewayServer& server,
                     const std::stop_token& stop) {
  Backoff backoff(kFirstRetry, kLastRetry);
  while (true) {
    const auto begun = std::chrono::steady_clock::now();
    absl::Status status = CaptureOnce(options, store, server, stop);
    if (status.ok() || !absl::IsUnavailable(status)) return status;
    if (std::chrono::steady_clock::now() - begun > kHealthyRun) backoff.Reset();
    const milliseconds delay = backoff.Next();
    log::Warning(
        "the source is unavailable and will be tried again",
        {{"error", std::string(status.message())}, {"retry_ms", std::to_string(delay.count())}});
    WaitFor(delay, stop);
    if (stop.stop_requested()) return absl::OkStatus();
  }
}

}  // namespace

absl::Status RunServe(ServeOptions options, std::stop_token stop) {
  if (options.source.spool_dir.empty()) {
    options.source.spool_dir = std::filesystem::path(options.data_dir) / "spool";
  }
  PGC_ASSIGN_OR_RETURN(const auto store, OpenEmbeddedStore(options.data_dir, options.store));
  StoreResolver resolver(*store);
  PGC_ASSIGN_OR_RETURN(const auto server, GatewayServer::Start({.address = options.listen,
                                                                .insecure = options.insecure},
                                                               resolver, store.get()));
  log::Info("listening", {{"listen", server->address()}});
  absl::Status status = Capture(options, *store, *server, stop);
  server->Shutdown();
  return status;
}

}  // namespace pgc
