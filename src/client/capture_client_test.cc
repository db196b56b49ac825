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

#include "gateway/server.h"
#include "pgcapture.grpc.pb.h"
#include "store/memory_store.h"
#include "testing/change_log.h"

namespace pgc {
namespace {

using std::chrono::seconds;
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

}  // namespace
}  // namespace pgc
