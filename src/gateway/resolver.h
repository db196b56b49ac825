// What the uri of a capture session stands for.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/store.h"

namespace pgc {

// Turns a uri into the events behind it. Thread-safe.
class Resolver {
 public:
  virtual ~Resolver() = default;

  // NotFound when the uri is unknown; else the errors of EventStore::OpenConsumer.
  virtual absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) = 0;
};

// Subscriptions of one store: a uri is `TOPIC/NAME`, or `TOPIC` for the subscription `default`.
// A topic may have slashes in its name, a subscription has none; the longest known topic counts.
class StoreResolver : public Resolver {
 public:
  // `store` outlives this.
  explicit StoreResolver(EventStore& store) : store_(store) {}

  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) override;

 private:
  EventStore& store_;
};

}  // namespace pgc
