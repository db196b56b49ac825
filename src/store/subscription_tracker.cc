#include "store/subscription_tracker.h"

#include <utility>

#include "base/status_macros.h"

namespace pgc {

absl::StatusOr<std::unique_ptr<SubscriptionTracker>> SubscriptionTracker::Open(
    std::shared_ptr<pulsar::Client> client, const std::string& topic) {
  PGC_ASSIGN_OR_RETURN(
      auto consumer, pulsar::Consumer::Open(std::move(client),
                                            {.topic = topic,
                                             .subscription = "pulsar-subscription-tracker-consumer",
                                             .name = "pulsar-subscription-tracker",
                                             .kind = pulsar::Consumer::Kind::kExclusive,
                                             // It reads none of them.
                                             .queue_messages = 1,
                                             .taken_messages = 1}));
  return std::unique_ptr<SubscriptionTracker>(new SubscriptionTracker(std::move(consumer)));
}

void SubscriptionTracker::Note(const pulsar::MessageId& id) {
  MutexLock lock(mutex_);
  if (last_.has_value() && !last_->same_entry(id)) consumer_->AckUpTo(*last_);
  last_ = id;
}

}  // namespace pgc
