// What consumers get who ask for more (docs/contract.md, section 12): a real listener, real
// connections, the memory store and the embedded one.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/capture_client.h"
#include "event/encoder.h"
#include "gateway/large_events.h"
#include "gateway/server.h"
#include "gateway/splice.h"
#include "pgcapture.grpc.pb.h"
#include "store/embedded_store.h"
#include "store/memory_store.h"
#include "store/store_testing.h"
#include "testing/change_log.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr seconds kDeadline{60};

Value Text(const std::string& text) {
  Value value;
  value.set_string_value(text);
  return value;
}
Value Bool(bool yes) {
  Value value;
  value.set_bool_value(yes);
  return value;
}
Value Number(double number) {
  Value value;
  value.set_number_value(number);
  return value;
}

Struct With(const std::vector<std::pair<std::string, Value>>& values) {
  Struct parameters;
  for (const auto& [name, value] : values) (*parameters.mutable_fields())[name] = value;
  return parameters;
}

std::string NoteOf(const pb::CaptureMessage& message) { return message.change().new_(1).binary(); }

// What a message holds, in a word.
std::string What(const pb::CaptureMessage& message) {
  const pb::Checkpoint& checkpoint = message.checkpoint();
  std::string what;
  if (message.has_change()) what = NoteOf(message);
  if (message.has_begin()) what += fmt::format("begin {}", message.begin().remote_xid());
  if (message.has_commit()) what += fmt::format("commit {}", message.commit().commit_lsn());
  if (message.has_truncate()) {
    what += "truncate";
    for (const auto& relation : message.truncate().relations()) what += " " + relation.table();
  }
  if (message.has_logical_message()) what += "message " + message.logical_message().content();
  return fmt::format("{}:{}", checkpoint.seq(), what);
}

enum class StoreKind { kMemory, kEmbedded };

class CaptureParametersTest : public testing::TestWithParam<StoreKind> {
 protected:
  CaptureParametersTest() {
    if (GetParam() == StoreKind::kMemory) {
      store_ = NewMemoryStore(time_.timer());
    } else {
      EmbeddedStoreOptions options;
      options.timer = time_.timer();
      auto opened = OpenEmbeddedStore(dir_.path() / "store", options);
      EXPECT_TRUE(opened.ok()) << opened.status();
      store_ = *std::move(opened);
    }
    log_ = std::make_unique<ChangeLog>(*store_);
    resolver_ = std::make_unique<StoreResolver>(*store_);
    auto started = GatewayServer::Start({.address = "127.0.0.1:0"}, *resolver_, store_.get());
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }
  ~CaptureParametersTest() override { server_.reset(); }

  absl::StatusOr<std::unique_ptr<CaptureClient>> TryOpen(const std::string& uri,
                                                         const Struct& parameters) {
    return CaptureClient::Open(
        {.gateway = server_->address(), .uri = uri, .parameters = parameters}, {});
  }
  std::unique_ptr<CaptureClient> Open(const std::string& uri, const Struct& parameters) {
    auto client = TryOpen(uri, parameters);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
  // The next `count` events, whatever messages they come in.
  static std::vector<std::string> Read(CaptureClient& client, size_t count) {
    std::vector<std::string> all;
    while (all.size() < count) {
      const auto message = client.Next({});
      EXPECT_TRUE(message.ok()) << message.status();
      if (!message.ok()) break;
      all.push_back(What(*message));
    }
    return all;
  }
  // A transaction of which `encode` writes what lies between Begin and Commit, with seqs from 1 to
  // `count`.
  void Transaction(Lsn lsn, uint32_t count, const std::function<void(BlockStream&)>& encode) {
    BlockStream stream;
    EncodeBegin(stream, lsn, {}, 9);
    encode(stream);
    EncodeCommit(stream, {.lsn = lsn, .seq = count + 1}, Lsn{lsn.value + 8}, {});
    auto blocks = stream.TakeFull();
    blocks.push_back(stream.Flush());
    log_->Append(std::move(blocks));
  }
  static void Truncate(BlockStream& stream, Lsn lsn, uint32_t seq,
                       const std::vector<TableName>& tables) {
    ASSERT_TRUE(EncodeTruncate(stream, tables, {.cascade = true, .restart_identity = false},
                               {.lsn = lsn, .seq = seq})
                    .ok());
  }
  static void Message(BlockStream& stream, Lsn lsn, uint32_t seq, const std::string& content) {
    const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(content.data()),
                                         content.size());
    ASSERT_TRUE(EncodeLogicalMessage(stream, "app", bytes, true, {.lsn = lsn, .seq = seq}).ok());
  }

  const TempDir dir_;
  ManualTimer time_;
  std::unique_ptr<EventStore> store_;
  std::unique_ptr<ChangeLog> log_;
  std::unique_ptr<StoreResolver> resolver_;
  std::unique_ptr<GatewayServer> server_;
};

INSTANTIATE_TEST_SUITE_P(Stores, CaptureParametersTest,
                         testing::Values(StoreKind::kMemory, StoreKind::kEmbedded),
                         [](const auto& test) {
                           return test.param == StoreKind::kMemory ? "Memory" : "Embedded";
                         });

// --- the parameters themselves

TEST_P(CaptureParametersTest, AWrongTypeIsInvalidAndNamesTheParameter) {
  for (const auto& [name, value] : std::vector<std::pair<std::string, Value>>{
           {"SchemaRegex", Bool(true)},
           {"From", Number(1)},
           {"KeyShared", Text("yes")},
           {"Boundaries", Number(1)},
           {"Extras", Text("true")},
           {"Batched", Number(1)},
           {"MaxMessageBytes", Text("1")},
           {"MaxMessageBytes", Number(0)},
           {"MaxMessageBytes", Number(-1)},
           {"MaxMessageBytes", Number(std::numeric_limits<double>::quiet_NaN())},
           {"From", Text("yesterday")},
           {"SchemaRegex", Text("a(b")}}) {
    const absl::Status status = TryOpen("pgcapture/a", With({{name, value}})).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST_P(CaptureParametersTest, ASnapshotNeedsAControllerAndAnAgent) {
  for (const bool ephemeral : {false, true}) {
    const auto parameters = With({{"From", Text("snapshot")}, {"Ephemeral", Bool(ephemeral)}});
    const absl::Status status = TryOpen("pgcapture/a", parameters).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("snapshot"));
  }
}

TEST_P(CaptureParametersTest, ANullParameterCountsAsNotGiven) {
  Value null;
  null.set_null_value(google::protobuf::NULL_VALUE);
  const auto client = Open("pgcapture/a", With({{"Extras", null}, {"From", null}}));
  log_->Insert({{.table = "t", .id = 1, .note = "one"}});
  EXPECT_THAT(Read(*client, 1), ElementsAre("1:one"));
}

// --- what is delivered

TEST_P(CaptureParametersTest, TheSchemaRegexLooksAtTheSchemaAndOnlyAtIt) {
  const auto none =
      Open("pgcapture/none", With({{"SchemaRegex", Text("^t$")}, {"Boundaries", Bool(true)}}));
  const auto all =
      Open("pgcapture/all", With({{"SchemaRegex", Text("ubli")}, {"TableRegex", Text("^t$")}}));
  log_->Insert({{.table = "t", .id = 1, .note = "t"}, {.table = "u", .id = 2, .note = "u"}});
  log_->Insert({{.table = "t", .id = 3, .note = "last"}});
  EXPECT_THAT(Read(*all, 2), ElementsAre("1:t", "1:last"));
  EXPECT_THAT(Read(*none, 4),
              ElementsAre("0:begin 7", HasSubstr("3:commit"), "0:begin 7", HasSubstr("2:commit")));
  ASSERT_TRUE(none->Close().ok());
  const auto next = Open("pgcapture/none", {});
  log_->Insert({{.table = "t", .id = 4, .note = "new"}});
  EXPECT_THAT(Read(*next, 1), ElementsAre("1:new")) << "what was filtered is acknowledged";
}

TEST_P(CaptureParametersTest, BoundariesComeInTheirPlaceWithTheirCheckpoints) {
  const auto client = Open("pgcapture/a", With({{"Boundaries", Bool(true)}}));
  const Lsn lsn = log_->Insert({{.table = "t", .id = 1, .note = "one"}});
  EXPECT_THAT(Read(*client, 3),
              ElementsAre("0:begin 7", "1:one", fmt::format("2:commit {}", lsn.value)));
}

TEST_P(CaptureParametersTest, BoundariesAreRedeliveredUntilTheyAreAcknowledged) {
  auto client = Open("pgcapture/a", With({{"Boundaries", Bool(true)}}));
  const Lsn lsn = log_->Insert({{.table = "t", .id = 1, .note = "one"}});
  for (int i = 0; i < 2; ++i) {
    const auto message = client->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    ASSERT_TRUE(client->Ack(message->checkpoint()).ok());
  }
  ASSERT_TRUE(client->Close().ok());
  client = Open("pgcapture/a", With({{"Boundaries", Bool(true)}}));
  EXPECT_THAT(Read(*client, 1), ElementsAre(fmt::format("2:commit {}", lsn.value)));
}

TEST_P(CaptureParametersTest, ExtrasBringTruncatesOfWantedTablesAndEveryLogicalMessage) {
  const auto client =
      Open("pgcapture/a", With({{"Extras", Bool(true)}, {"TableRegex", Text("^t$")}}));
  const Lsn lsn{0x900000};
  Transaction(lsn, 4, [&](BlockStream& stream) {
    Truncate(stream, lsn, 1, {{.schema = "public", .name = "u"}});
    Truncate(stream, lsn, 2,
             {{.schema = "public", .name = "u"}, {.schema = "public", .name = "t"}});
    Message(stream, lsn, 3, "hello");
    Truncate(stream, lsn, 4, {{.schema = "public", .name = "t"}});
  });
  EXPECT_THAT(Read(*client, 3), ElementsAre("2:truncate u t", "3:message hello", "4:truncate t"));
}

TEST_P(CaptureParametersTest, WhoDoesNotAskForExtrasGetsNoneAndHasThemAcknowledged) {
  auto client = Open("pgcapture/a", With({{"Boundaries", Bool(true)}}));
  const Lsn lsn{0x900000};
  Transaction(lsn, 2, [&](BlockStream& stream) {
    Truncate(stream, lsn, 1, {{.schema = "public", .name = "t"}});
    Message(stream, lsn, 2, "hello");
  });
  EXPECT_THAT(Read(*client, 2), ElementsAre("0:begin 9", "3:commit 9437184"));
  ASSERT_TRUE(client->Close().ok());
  client = Open("pgcapture/a", With({{"Extras", Bool(true)}}));
  log_->Insert({{.table = "t", .id = 1, .note = "new"}});
  EXPECT_THAT(Read(*client, 1), ElementsAre("1:new"));
}

TEST_P(CaptureParametersTest, PositionsOfSequencesComeToNobodyAndAreAcknowledged) {
  const auto all = Open("pgcapture/a", With({{"Boundaries", Bool(true)}, {"Extras", Bool(true)}}));
  std::string positions;
  AppendSequence(positions, {.schema = "public", .name = "s", .last_value = 7, .is_called = true});
  BlockStream stream;
  const std::span bytes(reinterpret_cast<const uint8_t*>(positions.data()), positions.size());
  ASSERT_TRUE(EncodeSequences(stream, bytes, {.lsn = Lsn{0x900000}, .seq = 0}).ok());
  log_->Append({stream.Flush()});
  log_->Insert({{.table = "t", .id = 1, .note = "one"}});
  EXPECT_THAT(Read(*all, 2), ElementsAre("0:begin 7", "1:one"));
  ASSERT_TRUE(all->Close().ok());
  EXPECT_EQ(store_->Describe("pgcapture")->subscriptions.at(0).backlog_events, 3U)
      << "the transaction";
}

TEST_P(CaptureParametersTest, ANewSubscriptionStartsWhereItWasAskedToAndAnOldOneGoesOn) {
  const Lsn first = log_->Insert({{.table = "t", .id = 1, .note = "one"}});
  log_->Insert({{.table = "t", .id = 2, .note = "two"}});
  auto client = Open("pgcapture/beginning", With({{"From", Text("beginning")}}));
  EXPECT_THAT(Read(*client, 2), ElementsAre("1:one", "1:two"));
  client = Open("pgcapture/lsn", With({{"From", Text(ToString(first))}}));
  const auto two = client->Next({});
  ASSERT_TRUE(two.ok());
  EXPECT_EQ(What(*two), "1:two");
  ASSERT_TRUE(client->Ack(two->checkpoint()).ok());
  ASSERT_TRUE(client->Close().ok());
  client = Open("pgcapture/time", With({{"From", Text("2001-01-01T00:00:00Z")}}));
  EXPECT_THAT(Read(*client, 2), ElementsAre("1:one", "1:two"));
  const auto end = Open("pgcapture/end", With({{"From", Text("end")}}));
  const auto late = Open("pgcapture/late", With({{"From", Text("2999-01-01T00:00:00Z")}}));
  log_->Insert({{.table = "t", .id = 3, .note = "three"}});
  EXPECT_THAT(Read(*end, 1), ElementsAre("1:three"));
  client = Open("pgcapture/lsn", With({{"From", Text("beginning")}}));
  EXPECT_THAT(Read(*client, 1), ElementsAre("1:three"));
}

// --- batches

TEST_P(CaptureParametersTest, ABacklogComesInBatchesInOrderAndWhole) {
  for (int i = 0; i < 20; ++i) log_->InsertMany("t", 500, fmt::format("note {}", i));
  const auto client =
      Open("pgcapture/a", With({{"From", Text("beginning")}, {"Batched", Bool(true)}}));
  CaptureBatch batch;
  std::pair<uint64_t, uint32_t> last;
  size_t seen = 0;
  size_t messages = 0;
  while (seen < 10'000) {
    ASSERT_TRUE(client->NextBatch(batch, {}).ok());
    ++messages;
    for (size_t i = 0; i < batch.size(); ++i, ++seen) {
      const pb::CaptureMessage& message = batch[i];
      const std::pair at(message.checkpoint().lsn(), message.checkpoint().seq());
      EXPECT_GT(at, last);
      last = at;
      EXPECT_EQ(NoteOf(message), fmt::format("note {}", seen / 500));
      EXPECT_TRUE(i == 0 || message.more().empty());
    }
  }
  EXPECT_LT(messages, 50U);
}

TEST_P(CaptureParametersTest, AChangeDoesNotWaitForOthersToFillItsBatch) {
  const auto client = Open("pgcapture/a", With({{"Batched", Bool(true)}}));
  CaptureBatch batch;
  for (int i = 0; i < 3; ++i) {
    log_->Insert({{.table = "t", .id = i, .note = "alone"}});
    ASSERT_TRUE(client->NextBatch(batch, {}).ok());
    ASSERT_EQ(batch.size(), 1U);
    EXPECT_EQ(NoteOf(batch[0]), "alone");
  }
}

TEST_P(CaptureParametersTest, BatchesOfEverySizeAroundTheLimitsAreWhole) {
  std::vector<std::string> notes;
  for (const size_t size :
       {size_t{0}, kSpliceByReferenceBytes, BatchBuilder::kMaxBytes - 80,
        BatchBuilder::kMaxBytes - 60, BatchBuilder::kMaxBytes - 40, BatchBuilder::kMaxBytes,
        size_t{1}, size_t{5} << 20, size_t{2}, BatchBuilder::kMaxBytes / 2 - 50,
        BatchBuilder::kMaxBytes / 2 - 40, size_t{3}}) {
    notes.emplace_back(size, static_cast<char>('a' + notes.size()));
    log_->Insert({{.table = "t", .id = 1, .note = notes.back()}});
  }
  const auto client =
      Open("pgcapture/a", With({{"From", Text("beginning")}, {"Batched", Bool(true)}}));
  std::vector<std::string> read;
  while (read.size() < notes.size()) {
    const auto message = client->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    read.push_back(NoteOf(*message));
  }
  EXPECT_TRUE(read == notes);
}

TEST_P(CaptureParametersTest, WhatOfABatchIsNotAcknowledgedComesAgain) {
  log_->InsertMany("t", 1'000, "row");
  auto client = Open("pgcapture/a", With({{"From", Text("beginning")}, {"Batched", Bool(true)}}));
  CaptureBatch batch;
  ASSERT_TRUE(client->NextBatch(batch, {}).ok());
  ASSERT_GT(batch.size(), 100U);
  ASSERT_TRUE(client->AckFirst(batch, 100).ok());
  ASSERT_TRUE(client->Close().ok());
  client = Open("pgcapture/a", {});
  EXPECT_THAT(Read(*client, 1), ElementsAre("101:row"));
}

TEST_P(CaptureParametersTest, ABatchThatIsAcknowledgedWholeDoesNotComeAgain) {
  log_->InsertMany("t", 3'000, "row");
  auto client = Open("pgcapture/a", With({{"From", Text("beginning")}, {"Batched", Bool(true)}}));
  CaptureBatch batch;
  for (size_t seen = 0; seen < 3'000; seen += batch.size()) {
    ASSERT_TRUE(client->NextBatch(batch, {}).ok());
    ASSERT_TRUE(client->AckFirst(batch, batch.size()).ok());
  }
  ASSERT_TRUE(client->Close().ok());
  client = Open("pgcapture/a", {});
  log_->Insert({{.table = "t", .id = 1, .note = "new"}});
  EXPECT_THAT(Read(*client, 1), ElementsAre("1:new"));
}

TEST_P(CaptureParametersTest, SingleAcksOfABatchAreTakenTogether) {
  log_->InsertMany("t", 3'000, "row");
  auto client = Open("pgcapture/a", With({{"From", Text("beginning")}, {"Batched", Bool(true)}}));
  for (int i = 0; i < 3'000; ++i) {
    const auto message = client->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    ASSERT_TRUE(client->Ack(message->checkpoint()).ok());
  }
  ASSERT_TRUE(client->Close().ok());
  client = Open("pgcapture/a", {});
  log_->Insert({{.table = "t", .id = 1, .note = "new"}});
  EXPECT_THAT(Read(*client, 1), ElementsAre("1:new"));
}

TEST_P(CaptureParametersTest, AnAckOfManyWithOneThatWasNeverSentIsInvalid) {
  const auto stub = pb::DBLogGateway::NewStub(
      grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  const auto stream = stub->Capture(&context);
  pb::CaptureRequest request;
  request.mutable_init()->set_uri("pgcapture/a");
  stream->Write(request);
  stream->WaitForInitialMetadata();
  log_->Insert({{.table = "t", .id = 1, .note = "one"}});
  pb::CaptureMessage message;
  ASSERT_TRUE(stream->Read(&message));
  request.Clear();
  *request.mutable_ack()->mutable_checkpoint() = message.checkpoint();
  pb::Checkpoint& wrong = *request.mutable_ack()->add_more();
  wrong.set_lsn(1);
  wrong.set_data("what");
  stream->Write(request);
  while (stream->Read(&message)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_P(CaptureParametersTest, ADamagedEventIsReportedAfterTheBatchBeforeItAndNeverPassedOver) {
  const auto client = Open("pgcapture/a", With({{"Batched", Bool(true)}}));
  BlockBuilder builder;
  const uint32_t table = builder.AddTable({.schema = "public", .name = "t"});
  for (uint32_t seq = 1; seq <= 3; ++seq) {
    // Change{} with a table, but for the second, which is no protobuf.
    const std::string bytes = seq == 2 ? "what" : "\x1A\x03\x1A\x01t";
    uint8_t* const out =
        builder.Add(EventKind::kChange, table, {.lsn = Lsn{0x900000}, .seq = seq}, bytes.size());
    std::copy(bytes.begin(), bytes.end(), out);
  }
  log_->Append({builder.Finish()});
  CaptureBatch batch;
  ASSERT_TRUE(client->NextBatch(batch, {}).ok());
  ASSERT_EQ(batch.size(), 1U);
  EXPECT_EQ(batch[0].checkpoint().seq(), 1U);
  const absl::Status status = client->NextBatch(batch, {});
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("0/900000|2"));
}

// --- sizes

TEST_P(CaptureParametersTest, WhoTellsALimitNeverGetsALargerMessageAndLearnsWhatItWas) {
  const std::string note(200'000, 'x');
  log_->Insert({{.table = "t", .id = 1, .note = "small"}, {.table = "big", .id = 2, .note = note}});
  for (const bool batched : {false, true}) {
    const Struct parameters = With({{"From", Text("beginning")},
                                    {"Batched", Bool(batched)},
                                    {"MaxMessageBytes", Number(100'000)}});
    const std::string uri = batched ? "pgcapture/batched" : "pgcapture/single";
    auto client = Open(uri, parameters);
    const auto small = client->Next({});
    ASSERT_TRUE(small.ok()) << small.status();
    EXPECT_EQ(NoteOf(*small), "small");
    const absl::Status status = client->Next({}).status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("public.big"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("2000"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("MaxMessageBytes"));
    client = Open(uri, {});
    EXPECT_TRUE(Read(*client, 2) == (std::vector<std::string>{"1:small", "2:" + note}));
  }
}

TEST_P(CaptureParametersTest, ABatchIsNeverLargerThanTheConsumersLimit) {
  log_->InsertMany("t", 1'000, std::string(100, 'x'));
  const auto client = Open("pgcapture/a", With({{"From", Text("beginning")},
                                                {"Batched", Bool(true)},
                                                {"MaxMessageBytes", Number(4'000)}}));
  CaptureBatch batch;
  size_t most = 0;
  for (size_t seen = 0; seen < 1'000; seen += batch.size()) {
    ASSERT_TRUE(client->NextBatch(batch, {}).ok());
    EXPECT_LE(batch[0].ByteSizeLong(), 4'000U);
    most = std::max(most, batch.size());
  }
  EXPECT_GT(most, 10U);
}

// A consumer of today, with gRPC's usual limit of 4 MiB: the status that it ends with.
grpc::Status StatusOfAUsualClient(const std::string& address, const std::string& uri) {
  const auto stub =
      pb::DBLogGateway::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  const auto stream = stub->Capture(&context);
  pb::CaptureRequest request;
  request.mutable_init()->set_uri(uri);
  stream->Write(request);
  pb::CaptureMessage message;
  while (stream->Read(&message)) {
  }
  return stream->Finish();
}

TEST_P(CaptureParametersTest, AClientThatBreaksAtALargeEventTwiceIsToldWhyAtTheThird) {
  ASSERT_TRUE(Open("pgcapture/a", {})->Close().ok());
  log_->Insert({{.table = "big", .id = 1, .note = std::string(size_t{5} << 20, 'x')}});
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  int attempts = 0;
  std::string told;
  // Its own library's error says nothing of the table; a gateway that has not noticed yet that the
  // stream before is gone has nothing for it, or does not take it.
  while (told.empty() && std::chrono::steady_clock::now() < deadline) {
    const grpc::Status status = StatusOfAUsualClient(server_->address(), "pgcapture/a");
    ASSERT_FALSE(status.ok());
    if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) continue;
    ++attempts;
    if (status.error_message().find("public.big") != std::string::npos) {
      told = status.error_message();
    }
  }
  EXPECT_GE(attempts, 3);
  EXPECT_THAT(told, HasSubstr("MaxMessageBytes"));
  // Who can take it, gets it.
  const auto client = Open("pgcapture/a", {});
  EXPECT_EQ(Read(*client, 1)[0].size(), 2 + (size_t{5} << 20));
}

TEST(HugeEvents, OneOf900MegabytesIsRefusedClearlyAndStaysUnacknowledged) {
  const std::unique_ptr<EventStore> store = NewMemoryStore();
  ChangeLog log(*store);
  StoreResolver resolver(*store);
  const auto server = GatewayServer::Start({.address = "127.0.0.1:0"}, resolver);
  ASSERT_TRUE(server.ok()) << server.status();
  // NOLINTNEXTLINE(bugprone-string-constructor): it is meant to be huge
  log.Insert({{.table = "huge", .id = 1, .note = std::string(900'000'000, 'x')}});
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto client = CaptureClient::Open({.gateway = (*server)->address(),
                                             .uri = "pgcapture/a",
                                             .parameters = With({{"From", Text("beginning")}})},
                                            {});
    // The end may be there before the client has seen that it was attached.
    const absl::Status status = client.ok() ? (*client)->Next({}).status() : client.status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("public.huge"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("9000000"));
  }
  EXPECT_FALSE(StatusOfAUsualClient((*server)->address(), "pgcapture/a").ok());
}

}  // namespace
}  // namespace pgc
