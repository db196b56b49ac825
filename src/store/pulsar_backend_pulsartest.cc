// What every store promises, of Pulsar's: against a broker of this program's own. What it does not
// is in own_log_contract_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>

#include "store/pulsar_store.h"
#include "store/pulsar_testing.h"
#include "store/store_contract.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

// Every test has topics of its own, under the names that all have.
class OwnTopics : public EventStore {
 public:
  OwnTopics(std::unique_ptr<EventStore> store, std::string prefix)
      : store_(std::move(store)), prefix_(std::move(prefix)) {}

  absl::StatusOr<std::unique_ptr<EventSink>> OpenWriter(std::string_view topic) override {
    return store_->OpenWriter(Own(topic));
  }
  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(std::string_view topic,
                                                          const ReaderOptions& options) override {
    return store_->OpenReader(Own(topic), options);
  }
  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view topic, std::string_view subscription,
      const ConsumerOptions& options) override {
    return store_->OpenConsumer(Own(topic), subscription, options);
  }
  std::vector<std::string> Topics() const override { return store_->Topics(); }
  absl::StatusOr<TopicInfo> Describe(std::string_view topic) const override {
    return store_->Describe(Own(topic));
  }
  absl::Status Seek(std::string_view topic, std::string_view subscription,
                    const SubscriptionStart& start) override {
    return store_->Seek(Own(topic), subscription, start);
  }
  absl::Status DeleteSubscription(std::string_view topic, std::string_view subscription) override {
    return store_->DeleteSubscription(Own(topic), subscription);
  }
  absl::Status DeleteTopic(std::string_view topic) override {
    return store_->DeleteTopic(Own(topic));
  }

 private:
  std::string Own(std::string_view topic) const { return fmt::format("{}{}", prefix_, topic); }

  const std::unique_ptr<EventStore> store_;
  const std::string prefix_;
};

}  // namespace

Contract::Contract() : dir_(nullptr), store_(GetParam().open({}, nullptr)) {}

std::vector<Backend> Backends() {
  return {{.name = "Pulsar", .open = [](const auto&, const auto&) -> std::unique_ptr<EventStore> {
             static std::atomic<int> count = 0;
             auto store =
                 OpenPulsarStore({.url = TestBroker().url(), .library = PulsarBroker::Library()});
             EXPECT_TRUE(store.ok()) << store.status();
             if (!store.ok()) return nullptr;
             return std::make_unique<OwnTopics>(*std::move(store),
                                                fmt::format("contract-{}-", ++count));
           }}};
}

}  // namespace pgc
