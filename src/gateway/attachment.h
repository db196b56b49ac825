#pragma once

#include <memory>
#include <stop_token>

#include "absl/status/statusor.h"
#include "event/store.h"
#include "gateway/capture_init.h"
#include "gateway/resolver.h"
#include "gateway/snapshot.h"

namespace pgc {

// What a session needs before its stream begins.
struct Attachment {
  std::unique_ptr<EventConsumer> consumer;
  // Of the uri as the controller knows it; without a controller: it has no dumps.
  SnapshotOptions dumps;
  Checkpoint handed_to_others;  // where there are dumps
};

// Asks everybody who has a part of it, and waits for their answers: other machines may have to
// give them. A snapshot that was asked for is scheduled then. Errors: what they said. Once stopped,
// what was scheduled for a consumer that lives in memory only is forgotten again.
absl::StatusOr<Attachment> Attach(Resolver& resolver, const CaptureInit& init,
                                  const std::stop_token& stop);

// Nobody can ever take what is scheduled for one that lives in memory only and has gone. Waits.
void ForgetDumps(const CaptureInit& init, const SnapshotOptions& dumps);

}  // namespace pgc
