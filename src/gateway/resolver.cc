#include "gateway/resolver.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr size_t kMaxUriBytes = 2 * EventStore::kMaxNameBytes + 1;

// The part of `uri` after `topic`, as a subscription's name; empty when it is none.
std::string_view SubscriptionOf(std::string_view uri, std::string_view topic) {
  if (!uri.starts_with(topic)) return {};
  uri.remove_prefix(topic.size());
  if (uri.empty()) return StoreResolver::kDefaultSubscription;
  if (uri.front() != '/') return {};
  uri.remove_prefix(1);
  return uri.find('/') == std::string_view::npos ? uri : std::string_view();
}

}  // namespace

absl::StatusOr<StoreResolver::Place> StoreResolver::Find(std::string_view uri) const {
  if (uri.size() > kMaxUriBytes) {
    return absl::InvalidArgumentError(
        fmt::format("a uri of {} bytes; it can have at most {}", uri.size(), kMaxUriBytes));
  }
  const std::vector<std::string> topics = store_.Topics();
  std::string_view topic;
  std::string_view subscription;
  for (const std::string& known : topics) {
    if (known.size() <= topic.size()) continue;
    const std::string_view name = SubscriptionOf(uri, known);
    if (name.empty()) continue;
    topic = known;
    subscription = name;
  }
  if (topic.empty()) {
    return absl::NotFoundError(
        fmt::format("unknown uri '{}': it is TOPIC or TOPIC/NAME, and the topics here are: {}", uri,
                    topics.empty() ? "none yet" : fmt::format("{}", fmt::join(topics, ", "))));
  }
  return Place{.topic = std::string(topic), .subscription = std::string(subscription)};
}

absl::StatusOr<std::unique_ptr<EventConsumer>> StoreResolver::OpenConsumer(
    std::string_view uri, const ConsumerOptions& options) {
  PGC_ASSIGN_OR_RETURN(const Place place, Find(uri));
  return store_.OpenConsumer(place.topic, place.subscription, options);
}

absl::StatusOr<bool> StoreResolver::IsNew(std::string_view uri) {
  PGC_ASSIGN_OR_RETURN(const Place place, Find(uri));
  return IsNewIn(store_, place.topic, place.subscription);
}

absl::StatusOr<bool> IsNewIn(const EventStore& store, std::string_view topic,
                             std::string_view subscription) {
  PGC_ASSIGN_OR_RETURN(const TopicInfo info, store.Describe(topic));
  return std::none_of(info.subscriptions.begin(), info.subscriptions.end(),
                      [subscription](const SubscriptionInfo& one) {
                        return one.name == subscription && !one.cursor;
                      });
}

}  // namespace pgc
