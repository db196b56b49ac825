#include "store/pulsar_store.h"

#include <fmt/format.h>

#include "base/status_macros.h"
#include "pulsar/client.h"
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
  return absl::FailedPreconditionError(
      fmt::format("{} is not to be had of a Pulsar cluster here", what));
}

class PulsarStore final : public EventStore {
 public:
  PulsarStore(std::shared_ptr<pulsar::Client> client, PulsarStoreOptions options)
      : client_(std::move(client)), options_(std::move(options)) {}

  absl::StatusOr<std::unique_ptr<EventSink>> OpenWriter(std::string_view topic) override {
    PGC_RETURN_IF_ERROR(CheckTopic(topic));
    return PulsarWriter::Open(
        client_, std::string(topic),
        {.replicate_to = options_.replicate_to, .stall_timeout = options_.stall_timeout});
  }
  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(std::string_view topic,
                                                          const ReaderOptions& options) override {
    PGC_RETURN_IF_ERROR(CheckTopic(topic));
    return PulsarReader::Open(client_, std::string(topic), options.start, options_.reader_prefix);
  }
  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view /*topic*/, std::string_view /*subscription*/,
      const ConsumerOptions& /*options*/) override {
    return Lacks("a subscription");
  }

  std::vector<std::string> Topics() const override { return {}; }
  absl::StatusOr<TopicInfo> Describe(std::string_view /*topic*/) const override {
    return Lacks("the description of a topic");
  }
  absl::Status Seek(std::string_view /*topic*/, std::string_view /*subscription*/,
                    const SubscriptionStart& /*start*/) override {
    return Lacks("a subscription");
  }
  absl::Status DeleteSubscription(std::string_view /*topic*/,
                                  std::string_view /*subscription*/) override {
    return Lacks("a subscription");
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
  PGC_ASSIGN_OR_RETURN(auto client,
                       pulsar::Client::Create(options.url, {.library = options.library}));
  return std::make_unique<PulsarStore>(std::move(client), options);
}

}  // namespace pgc
