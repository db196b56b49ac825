// As many consumers as the gateway takes, each with a subscription of its own: what they cost, and
// what one more is told.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gateway/server.h"
#include "pgcapture.grpc.pb.h"
#include "store/embedded_store.h"
#include "testing/change_log.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr seconds kDeadline{120};
constexpr size_t kSessions = GatewayServer::kMaxSessions;

size_t OpenFiles() {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0;
  size_t resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

// A connection of its own, unlike channels that share one.
std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class Call {
 public:
  Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& uri)
      : stub_(pb::DBLogGateway::NewStub(channel)) {
    context_.set_deadline(std::chrono::system_clock::now() + kDeadline);
    stream_ = stub_->Capture(&context_);
    pb::CaptureRequest init;
    init.mutable_init()->set_uri(uri);
    stream_->Write(init);
  }
  ~Call() {
    context_.TryCancel();
    if (!finished_) (void)stream_->Finish();
  }

  void WaitAttached() { stream_->WaitForInitialMetadata(); }
  pb::Checkpoint Read() {
    pb::CaptureMessage message;
    EXPECT_TRUE(stream_->Read(&message));
    return message.checkpoint();
  }
  void Ack(const pb::Checkpoint& checkpoint) {
    pb::CaptureRequest ack;
    *ack.mutable_ack()->mutable_checkpoint() = checkpoint;
    EXPECT_TRUE(stream_->Write(ack));
  }
  grpc::Status Close() {
    stream_->WritesDone();
    pb::CaptureMessage message;
    while (stream_->Read(&message)) {
    }
    finished_ = true;
    return stream_->Finish();
  }

 private:
  const std::unique_ptr<pb::DBLogGateway::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::CaptureRequest, pb::CaptureMessage>> stream_;
  bool finished_ = false;
};

TEST(ManySessions, AThousandConsumersEachGetTheirChangesAndOneMoreIsRefused) {
  // Both ends of each connection are in this process.
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  const auto needed = static_cast<rlim_t>(2 * kSessions + 500);
  if (files.rlim_cur < needed) {
    files.rlim_cur = needed;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0) << "ulimit -Hn is below " << needed;
  }
  const TempDir dir;
  auto opened = OpenEmbeddedStore(dir.path() / "data", {});
  ASSERT_TRUE(opened.ok()) << opened.status();
  const std::unique_ptr<EventStore> store = *std::move(opened);
  ChangeLog log(*store);
  StoreResolver resolver(*store);
  auto server = GatewayServer::Start({.address = "127.0.0.1:0"}, resolver, store.get());
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->address();
  const auto uri = [](size_t i) { return fmt::format("pgcapture/{}", i); };
  const auto begun = std::chrono::steady_clock::now();

  const size_t files_before = OpenFiles();
  const size_t memory_before = ResidentBytes();
  std::vector<std::unique_ptr<Call>> calls;
  for (size_t i = 0; i < kSessions; ++i) {
    calls.push_back(std::make_unique<Call>(Connect(address), uri(i)));
    calls.back()->WaitAttached();
  }
  {
    Call more(Connect(address), uri(0));
    const grpc::Status status = more.Close();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(status.error_message(), HasSubstr("1000 sessions"));
  }
  log.InsertMany("t", 20, std::string(1'000, 'x'));
  for (const auto& call : calls) {
    pb::Checkpoint last;
    for (uint32_t seq = 1; seq <= 20; ++seq) {
      last = call->Read();
      ASSERT_EQ(last.seq(), seq);
      call->Ack(last);
    }
  }
  // Two sockets each, and what gRPC's threads have; 200 KiB for both ends of a session.
  EXPECT_LE(OpenFiles() - files_before, 2 * kSessions + 100);
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_LE(ResidentBytes() - memory_before, kSessions * (size_t{200} << 10));
#else
  (void)memory_before;
#endif
  for (const auto& call : calls) {
    const grpc::Status status = call->Close();
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  calls.clear();

  const auto topic = store->Describe("pgcapture");
  ASSERT_TRUE(topic.ok()) << topic.status();
  ASSERT_EQ(topic->subscriptions.size(), EventStore::kMaxSubscriptions);
  for (const SubscriptionInfo& one : topic->subscriptions) {
    EXPECT_EQ(one.backlog_events, 0u) << one.name;
    EXPECT_EQ(one.consumers, 0u) << one.name;
  }
  // A session is free now, a subscription is not.
  Call more(Connect(address), "pgcapture/more");
  const grpc::Status status = more.Close();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("topic pgcapture has 1000 subscriptions"));
  Call again(Connect(address), uri(7));
  again.WaitAttached();
  EXPECT_TRUE(again.Close().ok());
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (OpenFiles() > files_before + 100 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_LE(OpenFiles(), files_before + 100) << "the sockets are closed";
  EXPECT_LT(std::chrono::steady_clock::now() - begun, kDeadline);
}

}  // namespace
}  // namespace pgc
