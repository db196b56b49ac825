#pragma once

#include <grpcpp/support/server_callback.h>

#include "event/store.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// `DBLogStore`: what the store holds, and changes to its subscriptions (docs/contract.md, section
// 12). Thread-safe. Each call is answered from within, on gRPC's thread: people make them, one at a
// time, and none waits for events.
class StoreService final : public pb::DBLogStore::CallbackService {
 public:
  // `store` outlives this.
  explicit StoreService(EventStore& store) : store_(store) {}

  grpc::ServerUnaryReactor* ListTopics(grpc::CallbackServerContext* context,
                                       const pb::ListTopicsRequest* request,
                                       pb::ListTopicsResponse* response) override;
  grpc::ServerUnaryReactor* MoveSubscription(grpc::CallbackServerContext* context,
                                             const pb::MoveSubscriptionRequest* request,
                                             pb::MoveSubscriptionResponse* response) override;
  grpc::ServerUnaryReactor* DeleteSubscription(grpc::CallbackServerContext* context,
                                               const pb::DeleteSubscriptionRequest* request,
                                               pb::DeleteSubscriptionResponse* response) override;
  grpc::ServerUnaryReactor* DeleteTopic(grpc::CallbackServerContext* context,
                                        const pb::DeleteTopicRequest* request,
                                        pb::DeleteTopicResponse* response) override;

 private:
  EventStore& store_;
};

}  // namespace pgc
