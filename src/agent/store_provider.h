#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "event/store.h"

namespace pgc {

// Which store, and what for.
struct StoreUse {
  std::string url;
  // As PulsarStoreOptions; other stores have no use for it.
  std::chrono::milliseconds tracker_interval{0};
  std::chrono::milliseconds requeue_delay{60'000};
};

// A store as a pipeline uses it.
struct ProvidedStore {
  std::shared_ptr<EventStore> store;
  // Where a source keeps the transactions that are in progress; empty: nowhere.
  std::filesystem::path spool_dir;
  // Other programs read it: partitions have their own names in it (docs/contract.md, section 12).
  bool is_shared = false;
};

// Opens the store of a URL, or gives the one that is open already. Thread-safe.
// InvalidArgument: no URL of a store. FailedPrecondition: of one that is not to be had here.
using StoreProvider = std::function<absl::StatusOr<ProvidedStore>(const StoreUse& use)>;

// Every kind of store: those of EmbeddedStores, and Apache Pulsar at pulsar://… (its parameters are
// in pulsar/service_url.h) with the client library at `pulsar_library`, or where it is usually.
StoreProvider AllStores(const std::string& pulsar_library);

// Embedded stores: the URL is the absolute path of a data directory, or `file://` and that path. A
// directory has one store in the process, which is closed when the last who was given it is done.
StoreProvider EmbeddedStores();

}  // namespace pgc
