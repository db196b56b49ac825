// The client against a real gateway, and against one that breaks the contract.
#include "client/capture_client.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gateway/server.h"
#include "pgcapture.grpc.pb.h"
#include "store/memory_store.h"
#include "testing/change_log.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

class CaptureClientTest : public testing::Test {
 protected:
  CaptureClientTest() {
    auto server = GatewayServer::Start({.address = "127.0.0.1:0"}, resolver_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  absl::StatusOr<std::unique_ptr<CaptureClient>> Open(const std::string& uri,
                                                      std::stop_token stop = {}) {
    return CaptureClient::Open({.gateway = server_->address(), .uri = uri, .parameters = {}},
                               std::move(stop));
  }

  const std::unique_ptr<EventStore> store_ = NewMemoryStore();
  ChangeLog log_{*store_};
  StoreResolver resolver_{*store_};
  std::unique_ptr<GatewayServer> server_;
};

TEST_F(CaptureClientTest, WhatIsStoredAfterOpenReturnsComes) {
  for (int i = 0; i < 20; ++i) {
    const auto client = Open("pgcapture/" + std::to_string(i));
    ASSERT_TRUE(client.ok()) << client.status();
    const Lsn lsn = log_.Insert({{.table = "t", .id = 1, .note = "one"}});
    const auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(message->checkpoint().lsn(), lsn.value);
  }
}

TEST_F(CaptureClientTest, ARefusalIsTheResultOfOpenUnderItsCodeAndNamesTheGateway) {
  const absl::Status status = Open("unknown").status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(server_->address()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'unknown'"));
}

TEST_F(CaptureClientTest, AStopEndsNextButNotTheSession) {
  const auto client = Open("pgcapture/a");
  ASSERT_TRUE(client.ok()) << client.status();
  std::stop_source stop;
  auto next = std::async(std::launch::async, [&] { return (*client)->Next(stop.get_token()); });
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(next.get().status()));
  log_.Insert({{.table = "t", .id = 1, .note = "one"}});
  EXPECT_TRUE((*client)->Next({}).ok());
  EXPECT_TRUE((*client)->Close().ok());
}

TEST_F(CaptureClientTest, CloseBringsEveryAckOver) {
  const auto client = Open("pgcapture/a");
  ASSERT_TRUE(client.ok()) << client.status();
  log_.InsertMany("t", 3'000);
  for (int i = 0; i < 3'000; ++i) {
    const auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    ASSERT_TRUE((*client)->Ack(message->checkpoint()).ok());
  }
  ASSERT_TRUE((*client)->Close().ok());
  EXPECT_FALSE((*client)->Ack({}).ok());
  const auto next = Open("pgcapture/a");
  ASSERT_TRUE(next.ok()) << next.status();
  const Lsn lsn = log_.Insert({{.table = "t", .id = 1, .note = "new"}});
  const auto message = (*next)->Next({});
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->checkpoint().lsn(), lsn.value);
}

TEST_F(CaptureClientTest, ClosesWhileTheGatewayHasMoreToSend) {
  const auto client = Open("pgcapture/a");
  ASSERT_TRUE(client.ok()) << client.status();
  for (int i = 0; i < 16; ++i) log_.InsertMany("t", 64, std::string(16 << 10, 'x'));
  const auto message = (*client)->Next({});
  ASSERT_TRUE(message.ok()) << message.status();
  const absl::Status closed = (*client)->Close();
  EXPECT_TRUE(closed.ok()) << closed;
}

TEST_F(CaptureClientTest, ARequeueNeedsAReason) {
  const auto client = Open("pgcapture/a");
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(absl::IsInvalidArgument((*client)->Requeue({}, "")));
}

TEST_F(CaptureClientTest, AWrongAckEndsTheSessionWithTheGatewaysReason) {
  const auto client = Open("pgcapture/a");
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE((*client)->Ack({}).ok()) << "it is only on its way";
  EXPECT_TRUE(absl::IsInvalidArgument((*client)->Next({}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument((*client)->Ack({})));
  EXPECT_TRUE(absl::IsInvalidArgument((*client)->Close()));
}

TEST_F(CaptureClientTest, AGatewayThatGoesAwayEndsTheSessionAsUnavailable) {
  const auto client = Open("pgcapture/a");
  ASSERT_TRUE(client.ok()) << client.status();
  auto next = std::async(std::launch::async, [&] { return (*client)->Next({}); });
  server_->Shutdown();
  const absl::Status status = next.get().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::IsUnavailable((*client)->Ack({})));
}

TEST_F(CaptureClientTest, IsDestroyedInWhateverStateItIs) {
  log_.InsertMany("t", 1);
  { const auto idle = Open("pgcapture/a"); }
  const auto unread = Open("pgcapture/b");
  ASSERT_TRUE(unread.ok()) << unread.status();
  for (int i = 0; i < 4; ++i) log_.InsertMany("t", 64, std::string(16 << 10, 'x'));
  ASSERT_TRUE((*unread)->Next({}).ok());
}

// A gateway that does what its test says with each call.
class ScriptedGateway : public pb::DBLogGateway::Service {
 public:
  using Stream = grpc::ServerReaderWriter<pb::CaptureMessage, pb::CaptureRequest>;
  explicit ScriptedGateway(std::function<grpc::Status(grpc::ServerContext&, Stream&)> script)
      : script_(std::move(script)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedGateway() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status Capture(grpc::ServerContext* context, Stream* stream) override {
    return script_(*context, *stream);
  }
  absl::StatusOr<std::unique_ptr<CaptureClient>> Open(std::stop_token stop = {}) const {
    return CaptureClient::Open(
        {.gateway = "127.0.0.1:" + std::to_string(port_), .uri = "u", .parameters = {}},
        std::move(stop));
  }

 private:
  const std::function<grpc::Status(grpc::ServerContext&, Stream&)> script_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST(CaptureClientOfAnotherGateway, AStopEndsOpen) {
  std::promise<void> called;
  const ScriptedGateway gateway([&](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    called.set_value();
    pb::CaptureRequest request;
    while (stream.Read(&request)) {
    }
    return grpc::Status::OK;
  });
  std::stop_source stop;
  auto open =
      std::async(std::launch::async, [&] { return gateway.Open(stop.get_token()).status(); });
  called.get_future().wait();
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(open.get()));
}

TEST(CaptureClientOfAnotherGateway, AnEndThatNobodyAskedForIsWorthARetry) {
  const ScriptedGateway gateway([](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    stream.SendInitialMetadata();
    return grpc::Status::OK;
  });
  const auto client = gateway.Open();
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(absl::IsUnavailable((*client)->Next({}).status()));
}

TEST(CaptureClientOfAnotherGateway, WhatCameBeforeAnErrorIsReturnedBeforeIt) {
  const ScriptedGateway gateway([](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    pb::CaptureMessage message;
    for (uint64_t lsn = 1; lsn <= 3; ++lsn) {
      message.mutable_checkpoint()->set_lsn(lsn);
      stream.Write(message);
    }
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "a block is damaged");
  });
  const auto client = gateway.Open();
  ASSERT_TRUE(client.ok()) << client.status();
  for (uint64_t lsn = 1; lsn <= 3; ++lsn) {
    const auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(message->checkpoint().lsn(), lsn);
  }
  const absl::Status status = (*client)->Next({}).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("a block is damaged"));
}

TEST(CaptureClientOfAnotherGateway, BytesThatAreNoMessageAreDataLoss) {
  const ScriptedGateway gateway([](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    pb::CaptureMessage message;  // a text of its own has to be UTF-8; these bytes are not
    message.mutable_change()->set_table("\xFF\xFE");
    stream.Write(message);
    pb::CaptureRequest request;
    while (stream.Read(&request)) {
    }
    return grpc::Status::OK;
  });
  const auto client = gateway.Open();
  ASSERT_TRUE(client.ok()) << client.status();
  const absl::Status status = (*client)->Next({}).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST(CaptureClientOfAnotherGateway, OneThatSendsNoBatchesGetsEachAckInARequestOfItsOwn) {
  constexpr uint64_t kChanges = 500;
  std::promise<uint64_t> acked;
  const ScriptedGateway gateway([&](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    pb::CaptureRequest request;
    stream.Read(&request);
    for (uint64_t lsn = 1; lsn <= kChanges; ++lsn) {
      pb::CaptureMessage message;
      message.mutable_checkpoint()->set_lsn(lsn);
      stream.Write(message);
    }
    uint64_t acks = 0;
    while (stream.Read(&request)) {
      ++acks;
      EXPECT_EQ(request.ack().checkpoint().lsn(), acks);
      EXPECT_TRUE(request.ack().more().empty());
    }
    acked.set_value(acks);
    return grpc::Status::OK;
  });
  const auto client = gateway.Open();
  ASSERT_TRUE(client.ok()) << client.status();
  CaptureBatch batch;
  for (uint64_t i = 0; i < kChanges; ++i) {
    ASSERT_TRUE((*client)->NextBatch(batch, {}).ok());
    ASSERT_EQ(batch.size(), 1U);
    ASSERT_TRUE((*client)->AckFirst(batch, 1).ok());
  }
  ASSERT_TRUE((*client)->Close().ok());
  EXPECT_EQ(acked.get_future().get(), kChanges);
}

TEST(CaptureClientOfAnotherGateway, OneThatSendsBatchesGetsManyAcksInARequestEachOfThemOnce) {
  constexpr uint64_t kChanges = 5'000;
  std::promise<std::pair<uint64_t, uint64_t>> result;  // requests, acks
  const ScriptedGateway gateway([&](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    pb::CaptureRequest request;
    stream.Read(&request);
    pb::CaptureMessage message;
    message.mutable_checkpoint()->set_lsn(1);
    for (uint64_t lsn = 2; lsn <= kChanges; ++lsn) {
      message.add_more()->mutable_checkpoint()->set_lsn(lsn);
    }
    stream.Write(message);
    uint64_t requests = 0;
    uint64_t acks = 0;
    while (stream.Read(&request)) {
      ++requests;
      EXPECT_EQ(request.ack().checkpoint().lsn(), ++acks);
      for (const auto& more : request.ack().more()) EXPECT_EQ(more.lsn(), ++acks);
    }
    result.set_value({requests, acks});
    return grpc::Status::OK;
  });
  const auto client = gateway.Open();
  ASSERT_TRUE(client.ok()) << client.status();
  // The first ones by Next, the rest in a batch.
  for (uint64_t lsn = 1; lsn <= 100; ++lsn) {
    const auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(message->checkpoint().lsn(), lsn);
    EXPECT_TRUE(message->more().empty());
    ASSERT_TRUE((*client)->Ack(message->checkpoint()).ok());
  }
  CaptureBatch batch;
  ASSERT_TRUE((*client)->NextBatch(batch, {}).ok());
  ASSERT_EQ(batch.size(), kChanges - 100);
  ASSERT_TRUE((*client)->AckFirst(batch, batch.size()).ok());
  ASSERT_TRUE((*client)->Close().ok());
  const auto [requests, acks] = result.get_future().get();
  EXPECT_EQ(acks, kChanges);
  EXPECT_LE(requests, 110U);
}

TEST(CaptureClientOfAnotherGateway,
     ViewsAreOfWhatHasNotComeYetAndAreAcknowledgedByTheirCheckpoints) {
  constexpr uint64_t kChanges = 6;
  std::promise<std::vector<std::string>> result;
  const ScriptedGateway gateway([&](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    pb::CaptureRequest request;
    stream.Read(&request);
    pb::CaptureMessage first;
    for (uint64_t lsn = 1; lsn <= kChanges; ++lsn) {
      pb::CaptureMessage& message = lsn == 1 || lsn == kChanges ? first : *first.add_more();
      message.mutable_checkpoint()->set_lsn(lsn);
      message.mutable_checkpoint()->set_data(std::to_string(lsn));
      pb::Field& field = *message.mutable_change()->add_new_();
      field.set_name("id");
      field.set_binary(std::to_string(10 * lsn));
      if (lsn < kChanges - 1) continue;
      stream.Write(first);
      first.Clear();
    }
    std::vector<std::string> acks;
    while (stream.Read(&request)) {
      acks.push_back(request.ack().checkpoint().data());
      for (const auto& more : request.ack().more()) acks.push_back(more.data());
    }
    result.set_value(acks);
    return grpc::Status::OK;
  });
  const auto client = gateway.Open();
  ASSERT_TRUE(client.ok()) << client.status();
  for (int i = 0; i < 2; ++i) {
    const auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    ASSERT_TRUE((*client)->Ack(message->checkpoint()).ok());
  }
  std::vector<std::string> values;
  CaptureViews views;
  for (const size_t expected : {3U, 1U}) {
    ASSERT_TRUE((*client)->NextViews(views, {}).ok());
    ASSERT_EQ(views.size(), expected);
    for (size_t i = 0; i < views.size(); ++i) {
      values.emplace_back(views[i].change.new_fields[0].value);
    }
    ASSERT_TRUE((*client)->AckFirst(views, views.size()).ok());
  }
  EXPECT_THAT(values, ElementsAre("30", "40", "50", "60"));
  ASSERT_TRUE((*client)->Close().ok());
  EXPECT_THAT(result.get_future().get(), ElementsAre("1", "2", "3", "4", "5", "6"));
  EXPECT_FALSE((*client)->NextViews(views, {}).ok());
  EXPECT_EQ(views.size(), 0U);
}

TEST(CaptureClientOfAnotherGateway, ViewsOfBytesThatAreNoMessageAreDataLoss) {
  const ScriptedGateway gateway([](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    pb::CaptureMessage message;
    message.add_more()->add_more();  // none has
    stream.Write(message);
    pb::CaptureRequest request;
    while (stream.Read(&request)) {
    }
    return grpc::Status::OK;
  });
  const auto client = gateway.Open();
  ASSERT_TRUE(client.ok()) << client.status();
  CaptureViews views;
  const absl::Status status = (*client)->NextViews(views, {});
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_EQ(views.size(), 0U);
}

TEST(CaptureClientOfAnotherGateway, ItSaysHowLargeAMessageItTakesUnlessItsCallerDoes) {
  std::promise<double> said;
  const ScriptedGateway gateway([&](grpc::ServerContext&, ScriptedGateway::Stream& stream) {
    pb::CaptureRequest request;
    stream.Read(&request);
    said.set_value(request.init().parameters().fields().at("MaxMessageBytes").number_value());
    stream.SendInitialMetadata();
    return grpc::Status::OK;
  });
  (void)gateway.Open();
  EXPECT_EQ(said.get_future().get(), double{CaptureClient::kMaxMessageBytes});
}

}  // namespace
}  // namespace pgc
