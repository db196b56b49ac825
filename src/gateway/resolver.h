// What the uri of a capture session stands for.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "event/store.h"
#include "gateway/dump_sources.h"

namespace pgc {

// Turns a uri into the events behind it. Thread-safe.
class Resolver {
 public:
  virtual ~Resolver() = default;

  // NotFound when the uri is unknown; else the errors of EventStore::OpenConsumer.
  virtual absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) = 0;

  // Whether OpenConsumer would make the subscription; errors as its, and Unimplemented when the
  // store does not tell.
  virtual absl::StatusOr<bool> IsNew(std::string_view uri) = 0;

  // Of a uri that OpenConsumer knows.
  virtual DumpSources Dumps(std::string_view /*uri*/) { return {}; }
};

// Subscriptions of one store: a uri is `TOPIC/NAME`, or `TOPIC` for the subscription `default`.
// A topic may have slashes in its name, a subscription has none; the longest known topic counts.
class StoreResolver : public Resolver {
 public:
  static constexpr char kDefaultSubscription[] = "default";

  // `store` outlives this. `dumps` are those of all uris; who asks before they are there waits.
  explicit StoreResolver(EventStore& store, std::shared_future<DumpSources> dumps = {})
      : store_(store), dumps_(std::move(dumps)) {}

  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) override;
  absl::StatusOr<bool> IsNew(std::string_view uri) override;
  DumpSources Dumps(std::string_view /*uri*/) override {
    return dumps_.valid() ? dumps_.get() : DumpSources();
  }

 private:
  struct Place {
    std::string topic;
    std::string subscription;
  };
  absl::StatusOr<Place> Find(std::string_view uri) const;

  EventStore& store_;
  const std::shared_future<DumpSources> dumps_;
};

// Whether opening the subscription would make it. NotFound: there is no such topic. Unimplemented:
// the store does not tell.
absl::StatusOr<bool> IsNewIn(const EventStore& store, std::string_view topic,
                             std::string_view subscription);

}  // namespace pgc
