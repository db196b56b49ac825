#include "gateway/store_service.h"

#include <fmt/format.h>

#include <chrono>
#include <string>

#include "base/log.h"
#include "base/status_macros.h"
#include "gateway/start_position.h"
#include "rpc/grpc_status.h"

namespace pgc {
namespace {

void Set(pb::Checkpoint& out, const Checkpoint& checkpoint) {
  out.set_lsn(checkpoint.lsn.value);
  out.set_seq(checkpoint.seq);
}

void Set(google::protobuf::Timestamp& out, std::chrono::system_clock::time_point time) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(ns);
  out.set_seconds(seconds.count());
  out.set_nanos(static_cast<int32_t>((ns - seconds).count()));
}

void Set(pb::StoreTopic& out, const TopicInfo& topic) {
  out.set_name(topic.name);
  out.set_bytes(topic.bytes);
  out.set_events(topic.events);
  out.set_captured_lsn(topic.captured.value);
  if (topic.events > 0) {
    Set(*out.mutable_oldest(), topic.oldest);
    Set(*out.mutable_newest(), topic.newest);
    Set(*out.mutable_oldest_stored(), topic.oldest_stored);
    Set(*out.mutable_newest_stored(), topic.newest_stored);
  }
  for (const SubscriptionInfo& subscription : topic.subscriptions) {
    pb::StoreSubscription& one = *out.add_subscriptions();
    one.set_name(subscription.name);
    Set(*one.mutable_acknowledged(), subscription.acknowledged);
    one.set_backlog_events(subscription.backlog_events);
    one.set_consumers(subscription.consumers);
    one.set_key_shared(subscription.key_shared);
    one.set_cursor(subscription.cursor);
  }
}

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// Answers a request that changes the store, and keeps it in the log.
grpc::ServerUnaryReactor* AnswerChange(grpc::CallbackServerContext* context, const char* what,
                                       const std::string& topic, const std::string& subscription,
                                       const absl::Status& status) {
  log::Info(what, {{"topic", topic.substr(0, EventStore::kMaxNameBytes)},
                   {"subscription", subscription.substr(0, EventStore::kMaxNameBytes)},
                   {"peer", context->peer()},
                   {"error", std::string(status.message())}});
  return Answer(context, status);
}

absl::Status List(const EventStore& store, pb::ListTopicsResponse& response) {
  for (const std::string& name : store.Topics()) {
    const auto topic = store.Describe(name);
    if (absl::IsNotFound(topic.status())) continue;  // deleted meanwhile
    if (!topic.ok()) return topic.status();
    Set(*response.add_topics(), *topic);
  }
  return absl::OkStatus();
}

absl::Status Move(EventStore& store, const pb::MoveSubscriptionRequest& request) {
  PGC_ASSIGN_OR_RETURN(const SubscriptionStart start, ParseStart(request.to()));
  return store.Seek(request.topic(), request.subscription(), start);
}

}  // namespace

grpc::ServerUnaryReactor* StoreService::ListTopics(grpc::CallbackServerContext* context,
                                                   const pb::ListTopicsRequest* /*request*/,
                                                   pb::ListTopicsResponse* response) {
  return Answer(context, List(store_, *response));
}

grpc::ServerUnaryReactor* StoreService::MoveSubscription(
    grpc::CallbackServerContext* context, const pb::MoveSubscriptionRequest* request,
    pb::MoveSubscriptionResponse* /*response*/) {
  return AnswerChange(context, "a subscription was asked to move", request->topic(),
                      request->subscription(), Move(store_, *request));
}

grpc::ServerUnaryReactor* StoreService::DeleteSubscription(
    grpc::CallbackServerContext* context, const pb::DeleteSubscriptionRequest* request,
    pb::DeleteSubscriptionResponse* /*response*/) {
  return AnswerChange(context, "a subscription was asked to be deleted", request->topic(),
                      request->subscription(),
                      store_.DeleteSubscription(request->topic(), request->subscription()));
}

grpc::ServerUnaryReactor* StoreService::DeleteTopic(grpc::CallbackServerContext* context,
                                                    const pb::DeleteTopicRequest* request,
                                                    pb::DeleteTopicResponse* /*response*/) {
  return AnswerChange(context, "a topic was asked to be deleted", request->topic(), "",
                      store_.DeleteTopic(request->topic()));
}

}  // namespace pgc
