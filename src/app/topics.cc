#include "app/topics.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "app/grpc_log.h"
#include "base/status_macros.h"
#include "event/checkpoint.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

namespace {

using Json = nlohmann::ordered_json;

constexpr std::chrono::seconds kTimeout{30};
// A thousand subscriptions of a topic are some 100 KiB.
constexpr int kMaxAnswerBytes = 64 << 20;

class Store {
 public:
  explicit Store(const std::string& address) : address_(address) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
    // gRPC would send even loopback through the proxy that the environment names for the web.
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub_ = pb::DBLogStore::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (pb::DBLogStore::Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    if (status.ok()) return absl::OkStatus();
    // The codes of both are the same numbers.
    return {static_cast<absl::StatusCode>(status.error_code()),
            fmt::format("gateway {}: {}", address_, status.error_message())};
  }

 private:
  const std::string address_;
  std::unique_ptr<pb::DBLogStore::Stub> stub_;
};

Checkpoint CheckpointOf(const pb::Checkpoint& checkpoint) {
  return {.lsn = Lsn{checkpoint.lsn()}, .seq = checkpoint.seq()};
}

std::string TimeOf(const google::protobuf::Timestamp& time) {
  // To the second: it is for people and for alarms.
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<time_t>(time.seconds())));
}

Json ToJson(const pb::StoreTopic& topic) {
  Json subscriptions = Json::array();
  for (const auto& subscription : topic.subscriptions()) {
    subscriptions.push_back({{"name", subscription.name()},
                             {"consumers", subscription.consumers()},
                             {"key_shared", subscription.key_shared()},
                             {"replica", subscription.cursor()},
                             {"backlog_events", subscription.backlog_events()},
                             {"acknowledged", ToKey(CheckpointOf(subscription.acknowledged()))}});
  }
  Json json{{"topic", topic.name()},
            {"bytes", topic.bytes()},
            {"events", topic.events()},
            {"captured", ToString(Lsn{topic.captured_lsn()})}};
  if (topic.has_oldest()) {
    json["oldest"] = ToString(Lsn{topic.oldest().lsn()});
    json["oldest_stored"] = TimeOf(topic.oldest_stored());
    json["newest"] = ToString(Lsn{topic.newest().lsn()});
    json["newest_stored"] = TimeOf(topic.newest_stored());
  }
  json["subscriptions"] = std::move(subscriptions);
  return json;
}

std::string ToText(const pb::StoreTopic& topic) {
  std::string out = fmt::format("{}\n  size      {:.1f} MiB, {} events\n", topic.name(),
                                static_cast<double>(topic.bytes()) / (1 << 20), topic.events());
  if (topic.has_oldest()) {
    out += fmt::format("  oldest    {}, stored {}\n", ToString(Lsn{topic.oldest().lsn()}),
                       TimeOf(topic.oldest_stored()));
    out += fmt::format("  newest    {}, stored {}\n", ToString(Lsn{topic.newest().lsn()}),
                       TimeOf(topic.newest_stored()));
  }
  out += fmt::format("  captured  {}\n", ToString(Lsn{topic.captured_lsn()}));
  if (topic.subscriptions().empty()) return out + "  no subscriptions\n";
  out += fmt::format("  {:<32} {:>9} {:>12}  {}\n", "subscription", "consumers", "backlog",
                     "acknowledged up to");
  for (const auto& subscription : topic.subscriptions()) {
    out += fmt::format("  {:<32} {:>9} {:>12}  {}{}{}\n", subscription.name(),
                       subscription.consumers(), subscription.backlog_events(),
                       ToKey(CheckpointOf(subscription.acknowledged())),
                       subscription.key_shared() ? "  (key shared)" : "",
                       subscription.cursor() ? "  (replica)" : "");
  }
  return out;
}

// What `TOPIC/NAME` consists of; a topic may have slashes in its name, a subscription has none.
absl::StatusOr<std::pair<std::string, std::string>> Split(const std::string& uri) {
  const size_t slash = uri.rfind('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == uri.size()) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not TOPIC/NAME", uri));
  }
  return std::pair(uri.substr(0, slash), uri.substr(slash + 1));
}

absl::StatusOr<std::string> Move(Store& store, const TopicsOptions& options) {
  if (options.to.empty()) {
    return absl::InvalidArgumentError("where to move it? --to end, beginning, an LSN or a time");
  }
  PGC_ASSIGN_OR_RETURN(const auto name, Split(options.move));
  pb::MoveSubscriptionRequest request;
  request.set_topic(name.first);
  request.set_subscription(name.second);
  request.set_to(options.to);
  pb::MoveSubscriptionResponse response;
  PGC_RETURN_IF_ERROR(store.Call(&pb::DBLogStore::Stub::MoveSubscription, request, response));
  return fmt::format("moved {} to {}\n", options.move, options.to);
}

absl::StatusOr<std::string> DeleteSubscription(Store& store, const TopicsOptions& options) {
  PGC_ASSIGN_OR_RETURN(const auto name, Split(options.delete_subscription));
  pb::DeleteSubscriptionRequest request;
  request.set_topic(name.first);
  request.set_subscription(name.second);
  pb::DeleteSubscriptionResponse response;
  PGC_RETURN_IF_ERROR(store.Call(&pb::DBLogStore::Stub::DeleteSubscription, request, response));
  return fmt::format("deleted {}\n", options.delete_subscription);
}

absl::StatusOr<std::string> DeleteTopic(Store& store, const TopicsOptions& options) {
  pb::DeleteTopicRequest request;
  request.set_topic(options.delete_topic);
  pb::DeleteTopicResponse response;
  PGC_RETURN_IF_ERROR(store.Call(&pb::DBLogStore::Stub::DeleteTopic, request, response));
  return fmt::format("deleted {}\n", options.delete_topic);
}

absl::StatusOr<std::string> List(Store& store, const TopicsOptions& options) {
  pb::ListTopicsResponse response;
  PGC_RETURN_IF_ERROR(
      store.Call(&pb::DBLogStore::Stub::ListTopics, pb::ListTopicsRequest(), response));
  if (!options.json) {
    if (response.topics().empty()) return "no topics\n";
    std::string text;
    for (const auto& topic : response.topics()) text += ToText(topic);
    return text;
  }
  Json json = Json::array();
  for (const auto& topic : response.topics()) json.push_back(ToJson(topic));
  // Names are bytes from outside: what is no UTF-8 must not end the program.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<std::string> Do(Store& store, const TopicsOptions& options) {
  if (!options.move.empty()) return Move(store, options);
  if (!options.delete_subscription.empty()) return DeleteSubscription(store, options);
  if (!options.delete_topic.empty()) return DeleteTopic(store, options);
  return List(store, options);
}

}  // namespace

absl::Status RunTopics(const TopicsOptions& options) {
  SendGrpcLogToOurs();
  Store store(options.gateway);
  PGC_ASSIGN_OR_RETURN(const std::string answer, Do(store, options));
  if (std::fwrite(answer.data(), 1, answer.size(), options.output) != answer.size() ||
      std::fflush(options.output) != 0) {
    return absl::FailedPreconditionError("cannot write the answer");
  }
  return absl::OkStatus();
}

}  // namespace pgc
