#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "event/store.h"
#include "store/timer.h"
#include "store/wall_clock.h"

namespace pgc {

struct EmbeddedStoreOptions {
  // What a writer takes before its caller has to wait for the disk.
  size_t queue_bytes = size_t{8} << 20;
  // What is written with one sync, at most; a larger batch is written alone.
  size_t group_bytes = size_t{4} << 20;
  // Newest blocks kept as they are, for consumers that are at the end.
  size_t recent_bytes = size_t{4} << 20;
  // How long acknowledgements are collected before they are written with one sync.
  std::chrono::milliseconds ack_interval{100};
  // How long a subscription may be unused before it is forgotten; 0: for ever. Time in which the
  // store was not open does not end it at once: its consumers have an hour to come back.
  std::chrono::seconds subscription_ttl = std::chrono::hours(7 * 24);
  // What is older than this, or more than that of a topic, is removed once every subscription has
  // acknowledged it.
  std::optional<std::chrono::seconds> retention_age = std::nullopt;
  std::optional<uint64_t> retention_bytes = std::nullopt;
  // Of all topics together: beyond it the oldest events are removed whoever needs them. By default
  // half of the file system.
  std::optional<uint64_t> hard_limit_bytes = std::nullopt;
  // How often what is due by age is looked for.
  std::chrono::milliseconds upkeep_interval = std::chrono::seconds(10);
  WallClock clock = NowUs;
  // When requeued events come again, and how much time really passes while `clock` leaps; without
  // one the store has its own.
  std::shared_ptr<Timer> timer = nullptr;
};

// The store in the folder `dir`, which is made when missing; docs/store-format.md has its layout.
//
// FailedPrecondition: the folder is in use, not writable, full, not a store, or of a newer format.
// DataLoss: something in it is missing or damaged. Each message names the folder. When a write has
// failed, no writer can be opened until the store itself is opened again.
absl::StatusOr<std::unique_ptr<EventStore>> OpenEmbeddedStore(const std::filesystem::path& dir,
                                                              const EmbeddedStoreOptions& options);

}  // namespace pgc
