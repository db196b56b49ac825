#include "event/pipeline.h"

#include "base/status_macros.h"

namespace pgc {
namespace {

absl::Status Run(EventSource& source, EventSink& sink, const std::stop_token& stop,
                 const std::function<void()>& started) {
  PGC_ASSIGN_OR_RETURN(const ResumePoint resume,
                       sink.Open([&source](Lsn captured) { source.Acknowledge(captured); }));
  PGC_RETURN_IF_ERROR(source.Open(resume, stop));
  if (started) started();
  while (true) {
    PGC_ASSIGN_OR_RETURN(EventBatch batch, source.Next(stop));
    PGC_RETURN_IF_ERROR(sink.Append(std::move(batch)));
  }
}

}  // namespace

absl::Status RunPipeline(EventSource& source, EventSink& sink, std::stop_token stop,
                         const std::function<void()>& started) {
  absl::Status status = Run(source, sink, stop, started);
  return stop.stop_requested() && absl::IsCancelled(status) ? absl::OkStatus() : status;
}

}  // namespace pgc
