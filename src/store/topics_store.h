#pragma once

#include <memory>
#include <string_view>

#include "base/status_macros.h"
#include "event/store.h"
#include "store/topic.h"

namespace pgc {

// What every store does with a topic once it has found it.
class TopicsStore : public EventStore {
 public:
  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(std::string_view topic,
                                                          const ReaderOptions& options) override {
    PGC_ASSIGN_OR_RETURN(const auto found, Find(topic));
    return found->OpenReader(options);
  }
  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view topic, std::string_view subscription,
      const ConsumerOptions& options) override {
    PGC_ASSIGN_OR_RETURN(const auto found, Find(topic));
    return found->OpenConsumer(subscription, options);
  }
  absl::StatusOr<TopicInfo> Describe(std::string_view topic) const override {
    PGC_ASSIGN_OR_RETURN(const auto found, Find(topic));
    return found->Describe();
  }
  absl::Status Seek(std::string_view topic, std::string_view subscription,
                    const SubscriptionStart& start) override {
    PGC_ASSIGN_OR_RETURN(const auto found, Find(topic));
    return found->Seek(subscription, start);
  }
  absl::Status DeleteSubscription(std::string_view topic, std::string_view subscription) override {
    PGC_ASSIGN_OR_RETURN(const auto found, Find(topic));
    return found->DeleteSubscription(subscription);
  }

 protected:
  // NotFound; InvalidArgument when it is no name.
  virtual absl::StatusOr<std::shared_ptr<Topic>> Find(std::string_view name) const = 0;
};

}  // namespace pgc
