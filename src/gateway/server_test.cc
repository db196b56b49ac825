#include "gateway/server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include "client/capture_client.h"
#include "gateway/listen_address.h"
#include "store/memory_store.h"
#include "testing/change_log.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using testing::HasSubstr;

enum class Health { kServing = 1, kNotServing = 2, kError };

grpc::ByteBuffer Buffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

// Field number `field` of a protobuf message with one text.
std::string TextField(int field, const std::string& text) {
  return std::string{static_cast<char>(field << 3 | 2), static_cast<char>(text.size())} + text;
}

Health CheckHealth(const std::string& address, const std::string& service) {
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const grpc::ByteBuffer request = Buffer(service.empty() ? "" : TextField(1, service));
  grpc::ByteBuffer response;
  const grpc::Status status = grpc::internal::BlockingUnaryCall(
      channel.get(),
      grpc::internal::RpcMethod("/grpc.health.v1.Health/Check",
                                grpc::internal::RpcMethod::NORMAL_RPC),
      &context, request, &response);
  if (!status.ok()) return Health::kError;
  const std::string bytes = BytesOf(response);  // 08 and the status
  return bytes.size() == 2 ? static_cast<Health>(bytes[1]) : Health::kError;
}

class GatewayServerTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<GatewayServer>> Start(const std::string& address,
                                                       bool insecure = false) {
    return GatewayServer::Start({.address = address, .insecure = insecure}, resolver_);
  }

  const std::unique_ptr<EventStore> store_ = NewMemoryStore();
  ChangeLog log_{*store_};
  StoreResolver resolver_{*store_};
};

TEST_F(GatewayServerTest, HealthIsWhatItWasToldForTheServerAndItsService) {
  const auto server = Start("127.0.0.1:0");
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->address();
  for (const char* service : {"", "pgcapture.DBLogGateway"}) {
    EXPECT_EQ(CheckHealth(address, service), Health::kNotServing) << service;
    (*server)->SetServing(true);
    EXPECT_EQ(CheckHealth(address, service), Health::kServing) << service;
    (*server)->SetServing(false);
    EXPECT_EQ(CheckHealth(address, service), Health::kNotServing) << service;
  }
  EXPECT_EQ(CheckHealth(address, "pgcapture.Agent"), Health::kError);
}

TEST_F(GatewayServerTest, ReflectionListsTheService) {
  const auto server = Start("127.0.0.1:0");
  ASSERT_TRUE(server.ok()) << server.status();
  const auto channel =
      grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(),
          grpc::internal::RpcMethod(
              "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
              grpc::internal::RpcMethod::BIDI_STREAMING),
          &context));
  stream->Write(Buffer(TextField(7, "*")));  // list_services
  grpc::ByteBuffer response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_THAT(BytesOf(response), HasSubstr("pgcapture.DBLogGateway"));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GatewayServerTest, ListensOnEveryKindOfLoopbackAddress) {
  const TempDir dir;
  for (const std::string& address :
       {std::string("127.0.0.1:0"), std::string("127.1.2.3:0"), std::string("localhost:0"),
        "unix:" + (dir.path() / "socket").string()}) {
    const auto server = Start(address);
    ASSERT_TRUE(server.ok()) << address << ": " << server.status();
    const auto client = CaptureClient::Open(
        {.gateway = (*server)->address(), .uri = "pgcapture", .parameters = {}}, {});
    EXPECT_TRUE(client.ok()) << address << ": " << client.status();
  }
}

TEST_F(GatewayServerTest, AnotherAddressNeedsInsecure) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "example.invalid:0",
                              "128.0.0.1:0", "[2001:db8::1]:0"}) {
    const absl::Status status = Start(address).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << address << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--insecure")) << address;
    EXPECT_THAT(std::string(status.message()), HasSubstr(address));
  }
  const auto server = Start("0.0.0.0:0", true);
  EXPECT_TRUE(server.ok()) << server.status();
}

TEST_F(GatewayServerTest, AMalformedAddressIsInvalid) {
  for (const char* address : {"", "127.0.0.1", "localhost", ":", "127.0.0.1:", "127.0.0.1:65536",
                              "127.0.0.1:-1", "127.0.0.1:http", "::1:10001", "[::1]", "[::1:10001",
                              "a b:1", "[127.0.0.1]:1", "unix:", "http://localhost:1"}) {
    const absl::Status status = Start(address, true).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << address << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(address));
  }
}

TEST_F(GatewayServerTest, AnAddressInUseIsNamed) {
  const TempDir dir;
  for (const std::string& address :
       {std::string("127.0.0.1:0"), "unix:" + (dir.path() / "socket").string()}) {
    const auto first = Start(address);
    ASSERT_TRUE(first.ok()) << first.status();
    const absl::Status status = Start((*first)->address()).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr((*first)->address()));
    EXPECT_THAT(std::string(status.message()), HasSubstr("in use"));
  }
}

TEST_F(GatewayServerTest, AUnixSocketThatADeadProcessLeftIsTakenOver) {
  const TempDir dir;
  const std::string address = "unix:" + (dir.path() / "socket").string();
  const auto listen = ParseListenAddress(address);
  ASSERT_TRUE(listen.ok()) << listen.status();
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  listen->unix_path.copy(to.sun_path, sizeof to.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  close(fd);
  const auto server = Start(address);
  EXPECT_TRUE(server.ok()) << server.status();
}

TEST_F(GatewayServerTest, AnAddressOfAnotherMachineIsRefusedWithTheReason) {
  const absl::Status status = Start("192.0.2.1:0", true).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("192.0.2.1"));
}

TEST_F(GatewayServerTest, ThePortIsFreeAgainAfterAShutdown) {
  const auto first = Start("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  (*first)->Shutdown();
  (*first)->Shutdown();
  const auto second = Start((*first)->address());
  EXPECT_TRUE(second.ok()) << second.status();
}

TEST_F(GatewayServerTest, WithoutAServerTheClientSaysWhatItCannotReach) {
  auto server = Start("127.0.0.1:0");
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->address();
  server->reset();
  const absl::Status status =
      CaptureClient::Open({.gateway = address, .uri = "pgcapture", .parameters = {}}, {}).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(address));
}

}  // namespace
}  // namespace pgc
