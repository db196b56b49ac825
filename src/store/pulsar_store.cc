#include "store/pulsar_store.h"

#include <fmt/format.h>

#include "base/status_macros.h"
#include "pulsar/client.h"
#include "store/pulsar_consumer.h"
#include "store/pulsar_reader.h"
#include "store/pulsar_writer.h"

namespace pgc {
namespace {

absl::Status CheckTopic(std::string_view name) {
  if (!name.empty() && name.size() <= EventStore::kMaxNameBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("a topic's name has 1 to {} bytes", EventStore::kMaxNameBytes));
}

absl::Status Lacks(std::string_view what) {
  return absl::FailedPreconditionError(fmt::format("{} is not to be had of a Pulsar topic", what));
}

absl::Status CheckHas(const ConsumerOptions& options) {
  if (options.key_shared) return Lacks("KeyShared");
  if (options.replicate_state) {
    return Lacks("PulsarReplicateState: Apache's client library cannot ask for it, which");
  }
  if (options.ephemeral) return Lacks("Ephemeral: give the subscription a name of its own");
  if (std::holds_alternative<FromAfterLsn>(options.start) ||
      std::holds_alternative<FromTime>(options.start)) {
    return Lacks("From with an LSN or a time: a new subscription begins at beginning or end");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<pulsar::Client>> NewClient(const PulsarStoreOptions& options) {
  return pulsar::Client::Create(options.url, {.library = options.library});
}

class PulsarStore final : public EventStore {
 public:
  PulsarStore(std::shared_ptr<pulsar::Client> client, PulsarStoreOptions options)
      : client_(std::move(client)), options_(std::move(options)) {}

  absl::StatusOr<std::unique_ptr<EventSink>> OpenWriter(std::string_view topic) override {
    PGC_RETURN_IF_ERROR(CheckTopic(topic));
    // With a connection of its own: a broker that waits itself for what it was sent keeps a
    // producer that is closed, and its name, until its connection ends.
    PGC_ASSIGN_OR_RETURN(auto client, NewClient(options_));
    return PulsarWriter::Open(std::move(client), std::string(topic),
                              {.replicate_to = options_.replicate_to,
                               .stall_timeout = options_.stall_timeout,
                               .tracker_interval = options_.tracker_interval});
  }
  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(std::string_view topic,
                                                          const ReaderOptions& options) override {
    PGC_RETURN_IF_ERROR(CheckTopic(topic));
    return PulsarReader::Open(client_, std::string(topic), options.start, options_.reader_prefix);
  }
  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view topic, std::string_view subscription,
      const ConsumerOptions& options) override {
    PGC_RETURN_IF_ERROR(CheckTopic(topic));
    PGC_RETURN_IF_ERROR(CheckHas(options));
    return PulsarConsumer::Open(
        client_, std::string(topic),
        {.subscription = std::string(subscription),
         .from_beginning = std::holds_alternative<FromBeginning>(options.start),
         .max_in_flight_bytes = options.max_in_flight_bytes,
         .requeue_delay = options_.requeue_delay});
  }

  std::vector<std::string> Topics() const override { return {}; }
  absl::StatusOr<TopicInfo> Describe(std::string_view /*topic*/) const override {
    return absl::UnimplementedError("a Pulsar topic does not tell what it has");
  }
  absl::Status Seek(std::string_view /*topic*/, std::string_view /*subscription*/,
                    const SubscriptionStart& /*start*/) override {
    return Lacks("the care for subscriptions: use its own tools");
  }
  absl::Status DeleteSubscription(std::string_view /*topic*/,
                                  std::string_view /*subscription*/) override {
    return Lacks("the care for subscriptions: use its own tools");
  }
  absl::Status DeleteTopic(std::string_view /*topic*/) override {
    return Lacks("the removal of a topic");
  }

 private:
  const std::shared_ptr<pulsar::Client> client_;
  const PulsarStoreOptions options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EventStore>> OpenPulsarStore(const PulsarStoreOptions& options) {
  PGC_ASSIGN_OR_RETURN(auto client, NewClient(options));
  return std::make_unique<PulsarStore>(std::move(client), options);
}

}  // namespace pgc
