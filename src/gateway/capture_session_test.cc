// The session as consumers see it: a real listener, real connections, the memory store.
#include "gateway/capture_session.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "client/capture_client.h"
#include "gateway/consumer_testing.h"
#include "gateway/server.h"
#include "gateway/splice.h"
#include "pgcapture.grpc.pb.h"
#include "store/memory_store.h"
#include "store/store_testing.h"
#include "testing/change_log.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// A test that hangs fails after this.
constexpr seconds kDeadline{60};

pb::CaptureRequest Init(const std::string& uri) {
  pb::CaptureRequest request;
  request.mutable_init()->set_uri(uri);
  return request;
}

pb::CaptureRequest Init(const std::string& uri, const std::string& parameter,
                        const google::protobuf::Value& value) {
  pb::CaptureRequest request = Init(uri);
  (*request.mutable_init()->mutable_parameters()->mutable_fields())[parameter] = value;
  return request;
}

google::protobuf::Value Text(const std::string& text) {
  google::protobuf::Value value;
  value.set_string_value(text);
  return value;
}

google::protobuf::Value Bool(bool yes) {
  google::protobuf::Value value;
  value.set_bool_value(yes);
  return value;
}

google::protobuf::Struct Parameter(const std::string& name, const google::protobuf::Value& value) {
  google::protobuf::Struct parameters;
  (*parameters.mutable_fields())[name] = value;
  return parameters;
}

pb::CaptureRequest Ack(const pb::Checkpoint& checkpoint) {
  pb::CaptureRequest request;
  *request.mutable_ack()->mutable_checkpoint() = checkpoint;
  return request;
}

std::string NoteOf(const pb::CaptureMessage& message) { return message.change().new_(1).binary(); }

// A call of Capture that may break the contract.
class RawCall {
 public:
  explicit RawCall(const std::string& address)
      : stub_(pb::DBLogGateway::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    context_.set_deadline(std::chrono::system_clock::now() + kDeadline);
    stream_ = stub_->Capture(&context_);
  }

  // With init, and waits until the gateway has attached the subscription.
  void Attach(const std::string& uri, const std::string& parameter = "none",
              const google::protobuf::Value& value = {}) {
    Send(Init(uri, parameter, value));
    stream_->WaitForInitialMetadata();
  }
  bool Send(const pb::CaptureRequest& request) { return stream_->Write(request); }
  pb::CaptureMessage Read() {
    pb::CaptureMessage message;
    EXPECT_TRUE(stream_->Read(&message));
    return message;
  }
  // Closes this side.
  void Close() { stream_->WritesDone(); }
  // What the gateway ends the call with, after what it still sends.
  grpc::Status Status() {
    pb::CaptureMessage message;
    while (stream_->Read(&message)) {
    }
    return stream_->Finish();
  }

 private:
  const std::unique_ptr<pb::DBLogGateway::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::CaptureRequest, pb::CaptureMessage>> stream_;
};

// The next `count` changes.
std::vector<pb::CaptureMessage> Read(CaptureClient& client, size_t count) {
  std::vector<pb::CaptureMessage> messages;
  while (messages.size() < count) {
    auto message = client.Next({});
    EXPECT_TRUE(message.ok()) << message.status();
    if (!message.ok()) break;
    messages.push_back(*std::move(message));
  }
  return messages;
}

std::vector<std::string> Notes(const std::vector<pb::CaptureMessage>& messages) {
  std::vector<std::string> notes;
  for (const auto& message : messages) notes.push_back(NoteOf(message));
  return notes;
}

class CaptureSessionTest : public testing::Test {
 protected:
  CaptureSessionTest() { Serve(resolver_); }

  void Serve(Resolver& resolver) {
    server_.reset();
    auto started = GatewayServer::Start({.address = "127.0.0.1:0"}, resolver);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  absl::StatusOr<std::unique_ptr<CaptureClient>> TryOpen(
      const std::string& uri, const google::protobuf::Struct& parameters = {}) {
    return CaptureClient::Open(
        {.gateway = server_->address(), .uri = uri, .parameters = parameters}, {});
  }
  std::unique_ptr<CaptureClient> Open(const std::string& uri,
                                      const google::protobuf::Struct& parameters = {}) {
    auto client = TryOpen(uri, parameters);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
  grpc::Status StatusOf(const std::vector<pb::CaptureRequest>& requests) {
    RawCall call(server_->address());
    for (const auto& request : requests) call.Send(request);
    return call.Status();
  }

  ManualTimer time_;
  const std::unique_ptr<EventStore> store_ = NewMemoryStore(time_.timer());
  ChangeLog log_{*store_};
  StoreResolver resolver_{*store_};
  std::unique_ptr<GatewayServer> server_;
};

// --- init

TEST_F(CaptureSessionTest, ARequestBeforeInitIsInvalid) {
  pb::Checkpoint checkpoint;
  checkpoint.set_lsn(1);
  for (const auto& request : {pb::CaptureRequest(), Ack(checkpoint)}) {
    const grpc::Status status = StatusOf({request});
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(status.error_message(), "the first request must be init");
  }
}

TEST_F(CaptureSessionTest, ACallWithoutAnyRequestIsInvalid) {
  RawCall call(server_->address());
  call.Close();
  EXPECT_EQ(call.Status().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(CaptureSessionTest, AnEmptyUriIsInvalid) {
  EXPECT_EQ(StatusOf({Init("")}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(CaptureSessionTest, AnUnknownUriIsNotFoundAndSaysWhatThereIs) {
  const grpc::Status status = StatusOf({Init("elsewhere/a")});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("'elsewhere/a'"));
  EXPECT_THAT(status.error_message(), HasSubstr("pgcapture"));
}

TEST_F(CaptureSessionTest, ATableRegexThatIsNoneIsInvalidWithTheReasonOfRe2) {
  const grpc::Status status = StatusOf({Init("pgcapture/a", "TableRegex", Text("a(b"))});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("missing )"));
  EXPECT_EQ(StatusOf({Init("pgcapture/a", "TableRegex", Bool(true))}).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(CaptureSessionTest, AnExpressionTooLargeToCompileIsInvalidAndItsErrorFitsIntoAStatus) {
  const grpc::Status large =
      StatusOf({Init("pgcapture/a", "TableRegex", Text("((a{1,100}){1,100}){1,10}"))});
  EXPECT_EQ(large.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << large.error_message();
  const grpc::Status long_error = StatusOf(
      {Init("pgcapture/a", "TableRegex", Text("[[:" + std::string(100'000, 'x') + ":]]"))});
  EXPECT_EQ(long_error.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
      << long_error.error_message();
}

TEST_F(CaptureSessionTest, AnEphemeralThatIsNoBoolIsInvalid) {
  EXPECT_EQ(StatusOf({Init("pgcapture/a", "Ephemeral", Text("yes"))}).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(CaptureSessionTest, ALaterInitAndUnknownParametersAreIgnored) {
  RawCall call(server_->address());
  call.Attach("pgcapture/a", "SomethingNew", Bool(true));
  call.Send(Init("elsewhere"));
  call.Send(Init(""));
  log_.Insert({{.table = "t", .id = 1, .note = "one"}});
  EXPECT_EQ(NoteOf(call.Read()), "one");
  call.Close();
  EXPECT_TRUE(call.Status().ok());
}

TEST_F(CaptureSessionTest, BytesThatAreNoRequestAreInvalid) {
  pb::CaptureMessage wrong;  // its field 1 is no init, but its bytes travel all the same
  wrong.mutable_checkpoint()->set_data(std::string("\xFF\xFF\xFF", 3));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  const auto channel = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  const std::unique_ptr<grpc::ClientReaderWriter<pb::CaptureMessage, pb::CaptureMessage>> stream(
      grpc::internal::ClientReaderWriterFactory<pb::CaptureMessage, pb::CaptureMessage>::Create(
          channel.get(),
          grpc::internal::RpcMethod("/pgcapture.DBLogGateway/Capture",
                                    grpc::internal::RpcMethod::BIDI_STREAMING),
          &context));
  stream->Write(wrong);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// --- changes

TEST_F(CaptureSessionTest, DeliversEachChangeWithItsCheckpointAndNothingElse) {
  const auto client = Open("pgcapture/a");
  const Lsn first =
      log_.Insert({{.table = "t", .id = 1, .note = "one"}, {.table = "u", .id = 2, .note = "two"}});
  const Lsn second = log_.Insert({{.table = "t", .id = 3, .note = "three"}});
  const auto messages = Read(*client, 3);
  ASSERT_THAT(messages, SizeIs(3));
  EXPECT_THAT(Notes(messages), ElementsAre("one", "two", "three"));
  EXPECT_EQ(messages[0].checkpoint().lsn(), first.value);
  EXPECT_EQ(messages[0].checkpoint().seq(), 1U);
  EXPECT_EQ(messages[1].checkpoint().seq(), 2U);
  EXPECT_EQ(messages[1].change().table(), "u");
  EXPECT_EQ(messages[2].checkpoint().lsn(), second.value);
  EXPECT_NE(messages[0].checkpoint().data(), messages[1].checkpoint().data());
}

TEST_F(CaptureSessionTest, FiltersByTheBareTableNameAnywhereInIt) {
  const auto client = Open("pgcapture/a", Parameter("TableRegex", Text("rder")));
  log_.Insert({{.table = "orders", .id = 1, .note = "orders"},
               {.table = "people", .id = 2, .note = "people"},
               {.table = "old_order", .id = 3, .note = "old_order"}});
  log_.Insert({{.table = "public", .id = 4, .note = "public"}});
  log_.Insert({{.table = "border", .id = 5, .note = "border"}});
  EXPECT_THAT(Notes(Read(*client, 3)), ElementsAre("orders", "old_order", "border"));
}

TEST_F(CaptureSessionTest, AcknowledgesWhatTheConsumerDoesNotGet) {
  auto client = Open("pgcapture/a", Parameter("TableRegex", Text("^wanted$")));
  log_.Insert({{.table = "other", .id = 1, .note = "other"},
               {.table = "wanted", .id = 2, .note = "wanted"},
               {.table = "other", .id = 3, .note = "other"}});
  log_.Insert({{.table = "other", .id = 4, .note = "other"}});
  const auto messages = Read(*client, 1);
  ASSERT_TRUE(client->Ack(messages[0].checkpoint()).ok());
  log_.Insert({{.table = "wanted", .id = 5, .note = "last"}});
  ASSERT_THAT(Notes(Read(*client, 1)), ElementsAre("last"));
  ASSERT_TRUE(client->Close().ok());
  // Without the filter only what was never acknowledged is left.
  const auto next = Open("pgcapture/a");
  EXPECT_THAT(Notes(Read(*next, 1)), ElementsAre("last"));
}

TEST_F(CaptureSessionTest, ABacklogWithoutAWantedChangeDoesNotHoldTheSessionUp) {
  auto client = Open("pgcapture/a", Parameter("TableRegex", Text("^wanted$")));
  for (int i = 0; i < 200; ++i) log_.InsertMany("other", 100);
  log_.Insert({{.table = "wanted", .id = 1, .note = "found"}});
  EXPECT_THAT(Notes(Read(*client, 1)), ElementsAre("found"));
}

TEST_F(CaptureSessionTest, ALargeChangeArrivesWhole) {
  const auto client = Open("pgcapture/a");
  std::string note(size_t{20} << 20, 'x');
  for (size_t i = 0; i < note.size(); i += 997) note[i] = static_cast<char>('a' + i % 26);
  log_.Insert({{.table = "t", .id = 1, .note = note}, {.table = "t", .id = 2, .note = "small"}});
  const auto messages = Read(*client, 2);
  ASSERT_THAT(messages, SizeIs(2));
  EXPECT_TRUE(NoteOf(messages[0]) == note);
  EXPECT_EQ(NoteOf(messages[1]), "small");
}

TEST_F(CaptureSessionTest, ChangesOfEverySizeAroundTheCopyLimitAreWhole) {
  const auto client = Open("pgcapture/a");
  std::vector<std::string> notes;
  for (const size_t size : {size_t{0}, size_t{1}, kSpliceByReferenceBytes - 60,
                            kSpliceByReferenceBytes, kSpliceByReferenceBytes + 60}) {
    notes.emplace_back(size, 'x');
    log_.Insert({{.table = "t", .id = 1, .note = notes.back()}});
  }
  EXPECT_EQ(Notes(Read(*client, notes.size())), notes);
}

// --- acknowledgements

TEST_F(CaptureSessionTest, WhatIsAcknowledgedDoesNotComeAgainAndTheRestDoesInOrder) {
  auto client = Open("pgcapture/a");
  log_.Insert({{.table = "t", .id = 1, .note = "one"},
               {.table = "t", .id = 2, .note = "two"},
               {.table = "t", .id = 3, .note = "three"},
               {.table = "t", .id = 4, .note = "four"}});
  const auto messages = Read(*client, 4);
  ASSERT_TRUE(client->Ack(messages[2].checkpoint()).ok());
  ASSERT_TRUE(client->Ack(messages[0].checkpoint()).ok());
  ASSERT_TRUE(client->Close().ok());
  const auto next = Open("pgcapture/a");
  log_.Insert({{.table = "t", .id = 5, .note = "five"}});
  EXPECT_THAT(Notes(Read(*next, 3)), ElementsAre("two", "four", "five"));
}

TEST_F(CaptureSessionTest, ARequeuedChangeComesAgainWhenItIsDue) {
  auto client = Open("pgcapture/a");
  log_.Insert({{.table = "t", .id = 1, .note = "one"}, {.table = "t", .id = 2, .note = "two"}});
  const auto messages = Read(*client, 2);
  ASSERT_TRUE(client->Requeue(messages[0].checkpoint(), "not now").ok());
  ASSERT_TRUE(client->Ack(messages[1].checkpoint()).ok());
  // The gateway has taken both once it sends what comes after; then the time passes.
  log_.Insert({{.table = "t", .id = 3, .note = "three"}});
  ASSERT_THAT(Notes(Read(*client, 1)), ElementsAre("three"));
  const auto again = std::async(std::launch::async, [&] { return Notes(Read(*client, 1)); });
  while (again.wait_for(milliseconds(5)) != std::future_status::ready) {
    time_.Advance(milliseconds(500));
  }
}

TEST_F(CaptureSessionTest, AnAckThatNamesNothingIsInvalid) {
  pb::Checkpoint unknown;
  unknown.set_lsn(1);
  unknown.set_data("what");
  pb::Checkpoint not_handed_out = unknown;
  not_handed_out.set_data(std::string(7, '\0') + "\x7F");
  pb::Checkpoint dump_row;
  dump_row.set_seq(7);
  pb::CaptureRequest without;
  without.mutable_ack();
  pb::CaptureRequest requeue = Ack(unknown);
  requeue.mutable_ack()->set_requeue_reason("again");
  for (const auto& wrong :
       {Ack(unknown), Ack(not_handed_out), Ack(dump_row), Ack({}), without, requeue}) {
    EXPECT_EQ(StatusOf({Init("pgcapture/a"), wrong}).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << wrong.ShortDebugString();
  }
}

// --- ends

TEST_F(CaptureSessionTest, EndsWithOkWhenTheConsumerClosesItsSide) {
  RawCall call(server_->address());
  call.Send(Init("pgcapture/a"));
  call.Close();
  const grpc::Status status = call.Status();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(CaptureSessionTest, TakesEveryAckThatWasSentBeforeTheConsumerClosedItsSide) {
  auto client = Open("pgcapture/a");
  log_.InsertMany("t", 5'000, "row");
  for (const auto& message : Read(*client, 5'000)) {
    ASSERT_TRUE(client->Ack(message.checkpoint()).ok());
  }
  ASSERT_TRUE(client->Close().ok());
  const auto next = Open("pgcapture/a");
  log_.Insert({{.table = "t", .id = 1, .note = "new"}});
  EXPECT_THAT(Notes(Read(*next, 1)), ElementsAre("new"));
}

TEST_F(CaptureSessionTest, WhatAConsumerThatVanishedHadGoesToTheNext) {
  auto client = Open("pgcapture/a");
  log_.Insert({{.table = "t", .id = 1, .note = "one"}, {.table = "t", .id = 2, .note = "two"}});
  ASSERT_THAT(Read(*client, 2), SizeIs(2));
  client.reset();  // cancels
  // Most often before the gateway has noticed that.
  const auto next = Open("pgcapture/a");
  ASSERT_NE(next, nullptr);
  log_.Insert({{.table = "t", .id = 3, .note = "three"}});
  EXPECT_THAT(Notes(Read(*next, 3)), ElementsAre("one", "two", "three"));
}

TEST_F(CaptureSessionTest, ConsumersOfASubscriptionShareItAndGetEachChangeOnce) {
  const auto one = Open("pgcapture/a");
  const auto two = Open("pgcapture/a");
  constexpr size_t kChanges = 2'000;
  Mutex mutex;
  std::multiset<std::pair<uint64_t, uint32_t>> seen;
  std::stop_source all_seen;
  const auto consume = [&](CaptureClient& client) {
    while (!all_seen.stop_requested()) {
      const auto message = client.Next(all_seen.get_token());
      if (!message.ok()) return;
      EXPECT_TRUE(client.Ack(message->checkpoint()).ok());
      MutexLock lock(mutex);
      seen.emplace(message->checkpoint().lsn(), message->checkpoint().seq());
      if (seen.size() == kChanges) all_seen.request_stop();
    }
  };
  std::jthread first([&] { consume(*one); });
  std::jthread second([&] { consume(*two); });
  for (size_t i = 0; i < kChanges; ++i) log_.InsertMany("t", 1, "row");
  first.join();
  second.join();
  EXPECT_EQ(seen.size(), kChanges);
  EXPECT_EQ((std::set<std::pair<uint64_t, uint32_t>>(seen.begin(), seen.end()).size()), kChanges);
}

TEST_F(CaptureSessionTest, EphemeralSessionsShareAUriAndLeaveNothingBehind) {
  auto one = Open("pgcapture", Parameter("Ephemeral", Bool(true)));
  const auto two = Open("pgcapture", Parameter("Ephemeral", Bool(true)));
  log_.Insert({{.table = "t", .id = 1, .note = "one"}});
  EXPECT_THAT(Notes(Read(*one, 1)), ElementsAre("one"));
  EXPECT_THAT(Notes(Read(*two, 1)), ElementsAre("one"));
  one.reset();
  const auto next = Open("pgcapture", Parameter("Ephemeral", Bool(true)));
  log_.Insert({{.table = "t", .id = 2, .note = "two"}});
  EXPECT_THAT(Notes(Read(*next, 1)), ElementsAre("two"));
}

TEST_F(CaptureSessionTest, TwoHundredSessionsEachGetEverything) {
  std::vector<std::unique_ptr<CaptureClient>> clients;
  clients.reserve(200);
  for (int i = 0; i < 200; ++i) clients.push_back(Open(fmt::format("pgcapture/{}", i)));
  log_.InsertMany("t", 50, "row");
  log_.Insert({{.table = "t", .id = 1, .note = "last"}});
  for (const auto& client : clients) {
    EXPECT_EQ(Notes(Read(*client, 51)).back(), "last");
  }
}

TEST_F(CaptureSessionTest, ASessionTooManyIsRefused) {
  const auto channel = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  const auto stub = pb::DBLogGateway::NewStub(channel);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<pb::CaptureRequest, pb::CaptureMessage>>>
      streams;
  for (size_t i = 0; i < GatewayServer::kMaxSessions; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub->Capture(contexts.back().get()));
    streams.back()->Write(Init("pgcapture", "Ephemeral", Bool(true)));
    streams.back()->WaitForInitialMetadata();
  }
  EXPECT_EQ(StatusOf({Init("pgcapture/a")}).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  streams[0]->WritesDone();
  EXPECT_TRUE(streams[0]->Finish().ok());
  EXPECT_NE(Open("pgcapture/a"), nullptr);
  for (const auto& context : contexts) context->TryCancel();
  for (size_t i = 1; i < streams.size(); ++i) (void)streams[i]->Finish();
}

// --- stores that misbehave, consumers that do not read

// Consumers that do as they are told; what they are not told, a consumer of a store does.
class ScriptedConsumer final : public ForwardingConsumer {
 public:
  using Next = std::function<absl::StatusOr<std::optional<EventSlice>>(EventConsumer&)>;
  using Notify = std::function<void(EventConsumer&, std::function<void()>)>;

  ScriptedConsumer(std::unique_ptr<EventConsumer> consumer, Next next, Notify notify)
      : ForwardingConsumer(std::move(consumer)),
        next_(std::move(next)),
        notify_(std::move(notify)) {}

  absl::StatusOr<std::optional<EventSlice>> TryNext() override {
    return next_ ? next_(*consumer_) : consumer_->TryNext();
  }
  void NotifyWhenReady(std::function<void()> ready) override {
    notify_ ? notify_(*consumer_, std::move(ready)) : consumer_->NotifyWhenReady(std::move(ready));
  }

 private:
  const Next next_;
  const Notify notify_;
};

class ScriptedResolver : public Resolver {
 public:
  explicit ScriptedResolver(Resolver& resolver) : resolver_(resolver) {}

  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) override {
    if (!open.ok()) return open;
    auto consumer = resolver_.OpenConsumer(uri, options);
    if (!consumer.ok()) return consumer;
    return std::make_unique<ScriptedConsumer>(*std::move(consumer), next, notify);
  }

  absl::StatusOr<bool> IsNew(std::string_view uri) override { return resolver_.IsNew(uri); }

  absl::Status open;
  ScriptedConsumer::Next next;
  ScriptedConsumer::Notify notify;

 private:
  Resolver& resolver_;
};

TEST_F(CaptureSessionTest, TheStoresErrorsReachTheConsumerUnderTheSameCode) {
  ScriptedResolver scripted(resolver_);
  Serve(scripted);
  for (const absl::StatusCode code :
       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound,
        absl::StatusCode::kFailedPrecondition, absl::StatusCode::kResourceExhausted,
        absl::StatusCode::kDataLoss, absl::StatusCode::kUnavailable}) {
    absl::Status error(code, "what is wrong");
    scripted.open = error;
    scripted.next = nullptr;
    const grpc::Status refused = StatusOf({Init("pgcapture/a")});
    EXPECT_EQ(static_cast<int>(refused.error_code()), static_cast<int>(code));
    EXPECT_EQ(refused.error_message(), "what is wrong");
    scripted.open = absl::OkStatus();
    scripted.next = [error](EventConsumer&) -> absl::StatusOr<std::optional<EventSlice>> {
      return absl::Status(error);
    };
    const grpc::Status ended = StatusOf({Init("pgcapture/a")});
    EXPECT_EQ(static_cast<int>(ended.error_code()), static_cast<int>(code));
    EXPECT_EQ(ended.error_message(), "what is wrong");
  }
  server_.reset();
}

TEST_F(CaptureSessionTest, AStoredEventThatIsNotWhatItsIndexSaysIsDataLoss) {
  const auto client = Open("pgcapture/a");
  BlockBuilder builder;
  const std::string text = "no protobuf";
  std::memcpy(builder.Add(EventKind::kChange, builder.AddTable({.schema = "public", .name = "t"}),
                          {.lsn = Lsn{0x900000}, .seq = 1}, text.size()),
              text.data(), text.size());
  log_.Append({builder.Finish()});
  const absl::Status status = client->Next({}).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("0/900000|1"));
}

TEST_F(CaptureSessionTest, CopesWithAStoreThatWakesItForNothingFromWithinTheCall) {
  std::atomic<int> calls = 0;
  ScriptedResolver scripted(resolver_);
  scripted.next = [&calls](EventConsumer& consumer) -> absl::StatusOr<std::optional<EventSlice>> {
    if (++calls < 1'000) return std::nullopt;
    return consumer.TryNext();
  };
  scripted.notify = [&calls](EventConsumer& consumer, std::function<void()> ready) {
    if (calls < 1'000) {
      ready();
    } else {
      consumer.NotifyWhenReady(std::move(ready));
    }
  };
  Serve(scripted);
  const auto client = Open("pgcapture/a");
  log_.Insert({{.table = "t", .id = 1, .note = "one"}});
  EXPECT_THAT(Notes(Read(*client, 1)), ElementsAre("one"));
  server_.reset();
}

TEST_F(CaptureSessionTest, AConsumerThatDoesNotReadTakesLittleAndHoldsNobodyBack) {
  std::atomic<int> taken = 0;  // blocks, by the consumer that does not read
  ScriptedResolver scripted(resolver_);
  scripted.next = [&taken](EventConsumer& consumer) {
    auto slice = consumer.TryNext();
    if (slice.ok() && slice->has_value()) ++taken;
    return slice;
  };
  Serve(scripted);
  RawCall slow(server_->address());
  slow.Attach("pgcapture/slow");
  scripted.next = nullptr;
  const auto client = Open("pgcapture/quick");
  const std::string note(16 << 10, 'x');
  constexpr int kTransactions = 64;  // of a megabyte each
  for (int i = 0; i < kTransactions; ++i) log_.InsertMany("t", 64, note);
  for (int i = 0; i < kTransactions; ++i) {
    for (const auto& message : Read(*client, 64)) {
      ASSERT_TRUE(client->Ack(message.checkpoint()).ok());
    }
  }
  EXPECT_LE(taken, 40) << "of about 256 blocks";
  server_.reset();
}

TEST_F(CaptureSessionTest, AShutdownEndsEverySessionSoonAlsoOfAConsumerThatDoesNotRead) {
  RawCall idle(server_->address());
  idle.Attach("pgcapture/idle");
  RawCall before_init(server_->address());
  const auto attached = Open("pgcapture/attached");
  RawCall stuck(server_->address());
  stuck.Attach("pgcapture/stuck");
  for (int i = 0; i < 20; ++i) log_.InsertMany("t", 64, std::string(16 << 10, 'x'));
  ASSERT_THAT(Read(*attached, 1'280), SizeIs(1'280));
  const auto begun = std::chrono::steady_clock::now();
  server_->Shutdown();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(8));
  const absl::Status status = attached->Next({}).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("shutting down"));
  EXPECT_FALSE(stuck.Status().ok());
  EXPECT_FALSE(before_init.Status().ok());
}

TEST_F(CaptureSessionTest, SessionsThatComeAndGoWhileChangesArriveLoseNothing) {
  constexpr size_t kTransactions = 1'000;
  std::set<std::pair<uint64_t, uint32_t>> seen;
  auto client = Open("pgcapture/a");
  std::jthread writer([this](const std::stop_token& stop) {
    for (size_t i = 0; i < kTransactions && !stop.stop_requested(); ++i) log_.InsertMany("t", 3);
  });
  for (int session = 0; seen.size() < 3 * kTransactions; ++session) {
    pb::Checkpoint last;
    for (int i = 0; i < 100 && seen.size() < 3 * kTransactions; ++i) {
      const auto message = client->Next({});
      ASSERT_TRUE(message.ok()) << message.status();
      EXPECT_GT(std::pair(message->checkpoint().lsn(), message->checkpoint().seq()),
                std::pair(last.lsn(), last.seq()));
      last = message->checkpoint();
      seen.emplace(last.lsn(), last.seq());
      ASSERT_TRUE(client->Ack(last).ok());
    }
    // Every other one vanishes instead, with acks on their way.
    if (session % 2 == 0) {
      ASSERT_TRUE(client->Close().ok());
    }
    client = nullptr;
    client = Open("pgcapture/a");
    ASSERT_NE(client, nullptr);
  }
}

TEST_F(CaptureSessionTest, ConsumersThatDoNotAgreeOnKeySharedAreRefused) {
  const auto one = Open("pgcapture/a", Parameter("KeyShared", Bool(true)));
  EXPECT_TRUE(absl::IsFailedPrecondition(TryOpen("pgcapture/a").status()));
  EXPECT_NE(Open("pgcapture/a", Parameter("KeyShared", Bool(true))), nullptr);
}

TEST_F(CaptureSessionTest, WithKeySharedEachRowGoesToOneConsumerInOrder) {
  const auto shared = Parameter("KeyShared", Bool(true));
  const std::vector<std::unique_ptr<CaptureClient>> clients = [&] {
    std::vector<std::unique_ptr<CaptureClient>> open;
    for (int i = 0; i < 3; ++i) open.push_back(Open("pgcapture/a", shared));
    return open;
  }();
  constexpr size_t kChanges = 1'000;
  Mutex mutex;
  size_t seen = 0;
  std::map<std::string, std::pair<size_t, uint64_t>> of_table;  // consumer and last LSN
  std::stop_source all_seen;
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < clients.size(); ++i) {
    threads.emplace_back([&, i] {
      while (true) {
        const auto message = clients[i]->Next(all_seen.get_token());
        if (!message.ok()) return;
        EXPECT_TRUE(clients[i]->Ack(message->checkpoint()).ok());
        MutexLock lock(mutex);
        const auto [at, is_new] = of_table.try_emplace(message->change().table(), i, 0);
        EXPECT_EQ(at->second.first, i) << message->change().table();
        EXPECT_GT(message->checkpoint().lsn(), at->second.second);
        at->second.second = message->checkpoint().lsn();
        if (++seen == kChanges) all_seen.request_stop();
      }
    });
  }
  // Tables without a key: each is one key.
  for (size_t i = 0; i < kChanges; ++i) {
    const std::string table = fmt::format("t{}", i % 20);
    log_.Insert({{.table = table, .id = 1, .note = "row"}});
  }
  for (std::jthread& thread : threads) thread.join();
  EXPECT_EQ(of_table.size(), 20U);
}

}  // namespace
}  // namespace pgc
