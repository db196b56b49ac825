#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "event/store.h"

namespace pgc {

struct PulsarStoreOptions {
  std::string url;      // pulsar/service_url.h
  std::string library;  // path of Apache's client library; empty: where it is usually
  // Clusters that what is written is replicated to; empty: what the namespace says.
  std::vector<std::string> replicate_to = {};
  std::string reader_prefix = {};  // of the names of readers' subscriptions; empty: "reader"
  // Without a receipt for so long, a writer gives up.
  std::chrono::milliseconds stall_timeout{30'000};
  // How often a writer acknowledges the subscription in which the Go program's tracker `pulsarSub`
  // finds the end of its topic; zero: it has none.
  std::chrono::milliseconds tracker_interval{0};
  // After which a requeued event comes again.
  std::chrono::milliseconds requeue_delay{60'000};
};

// Topics of an Apache Pulsar cluster, as the Go program has them (docs/contract.md, section 4).
//
// As EventStore, but for what docs/decisions/pulsar.md lists: there are no cursors, because the
// cluster's own policies say what is kept, and its own tools care for subscriptions. What it does
// not have is refused with FailedPrecondition.
absl::StatusOr<std::unique_ptr<EventStore>> OpenPulsarStore(const PulsarStoreOptions& options);

}  // namespace pgc
