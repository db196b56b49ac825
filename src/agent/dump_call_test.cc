// The calls over a real gRPC connection, with servers that answer as they are told.
#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/agent_service.h"
#include "agent/agent_testing.h"
#include "gateway/listener.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;
using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// Bytes of rows as a DumpWriter gets them, with these names of tables.
std::string RowsOf(const std::vector<std::string>& tables) {
  pb::AgentDumpResponse rows;
  for (const std::string& table : tables) {
    pb::Change& change = *rows.add_change();
    change.set_op(pb::Change::UPDATE);
    change.set_table(table);
  }
  return rows.SerializeAsString();
}

// One row of about this many bytes.
std::string RowOfBytes(size_t bytes) {
  pb::AgentDumpResponse rows;
  rows.add_change()->add_new_()->set_binary(std::string(bytes, 'x'));
  return rows.SerializeAsString();
}

class DumpCallTest : public testing::Test {
 protected:
  void Start(std::vector<std::shared_ptr<DumpServer>> servers, AgentOptions options = {}) {
    service_ = std::make_unique<AgentService>(std::move(options), std::move(servers));
    auto listener =
        Listener::Start({.address = "127.0.0.1:0", .health_names = {}}, {service_->service()});
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    // The least that a client takes unasked.
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(listener_->address(), grpc::InsecureChannelCredentials(),
                                         arguments);
    stub_ = pb::Agent::NewStub(channel_);
  }
  void TearDown() override {
    if (service_ != nullptr) service_->Shutdown();
    if (listener_ != nullptr) listener_->Shutdown();
  }

  static pb::AgentDumpRequest Request(const std::string& server = "") {
    pb::AgentDumpRequest request;
    request.mutable_info()->set_schema("public");
    request.mutable_info()->set_table("t");
    request.mutable_info()->set_server(server);
    return request;
  }
  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + kAgentTestTimeout);
  }
  grpc::Status DumpPages(const pb::AgentDumpRequest& request,
                         std::vector<pb::AgentDumpResponse>* answers = nullptr) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto reader = stub_->DumpPages(&context, request);
    for (pb::AgentDumpResponse answer; reader->Read(&answer);) {
      if (answers != nullptr) answers->push_back(answer);
    }
    return reader->Finish();
  }
  grpc::Status StreamDump(const pb::AgentDumpRequest& request,
                          std::vector<std::string>* tables = nullptr) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto reader = stub_->StreamDump(&context, request);
    for (pb::Change change; reader->Read(&change);) {
      if (tables != nullptr) tables->push_back(change.table());
    }
    return reader->Finish();
  }
  grpc::Status Dump(const pb::AgentDumpRequest& request, pb::AgentDumpResponse* answer = nullptr) {
    grpc::ClientContext context;
    SetDeadline(context);
    pb::AgentDumpResponse ignored;
    return stub_->Dump(&context, request, answer != nullptr ? answer : &ignored);
  }

  std::unique_ptr<AgentService> service_;
  std::unique_ptr<Listener> listener_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::Agent::Stub> stub_;
};

std::shared_ptr<FakeDumpServer> Server(uint64_t identifier, const std::vector<std::string>& rows) {
  const DumpHeader header = FakeDumpServer(identifier, nullptr).Header();
  return std::make_shared<FakeDumpServer>(
      identifier, [header, rows](const DumpRequest&, DumpWriter& out, const std::stop_token&) {
        absl::Status status = out.Begin(header);
        for (const std::string& bytes : rows) {
          if (status.ok()) status = out.Rows(bytes, 1);
        }
        return status;
      });
}

TEST_F(DumpCallTest, TheHeaderComesWithTheFirstRowsAndLastAtTheEnd) {
  Start({Server(17, {RowsOf({"a", "b"}), RowsOf({"c"})})});
  std::vector<pb::AgentDumpResponse> answers;
  const grpc::Status status = DumpPages(Request(), &answers);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(answers, SizeIs(3));
  EXPECT_EQ(answers[0].applied_lsn(), 0x100u);
  EXPECT_EQ(answers[0].upper_lsn(), 0x200u);
  EXPECT_EQ(answers[0].snapshot(), "7:9:8");
  EXPECT_EQ(answers[0].system_identifier(), 17u);
  EXPECT_EQ(answers[0].relfilenode(), 42u);
  EXPECT_EQ(answers[0].pages(), 3u);
  EXPECT_EQ(answers[0].store_position(), "mid");
  EXPECT_TRUE(answers[0].sweep_needed());
  EXPECT_TRUE(answers[0].no_key());
  ASSERT_THAT(answers[0].change(), SizeIs(2));
  EXPECT_EQ(answers[0].change(1).table(), "b");
  EXPECT_FALSE(answers[0].last());
  EXPECT_EQ(answers[1].applied_lsn(), 0u);
  ASSERT_THAT(answers[1].change(), SizeIs(1));
  EXPECT_TRUE(answers[2].last());
  EXPECT_THAT(answers[2].change(), SizeIs(0));
}

TEST_F(DumpCallTest, AnEmptyDumpIsTheHeaderWithLast) {
  Start({Server(17, {})});
  std::vector<pb::AgentDumpResponse> answers;
  ASSERT_TRUE(DumpPages(Request(), &answers).ok());
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_TRUE(answers[0].last());
  EXPECT_EQ(answers[0].applied_lsn(), 0x100u);
}

TEST_F(DumpCallTest, StreamDumpSendsOneRowAMessageAndDumpAllInOne) {
  Start({Server(17, {RowsOf({"a", "b"}), RowsOf({"c", ""})})});
  std::vector<std::string> tables;
  ASSERT_TRUE(StreamDump(Request(), &tables).ok());
  EXPECT_THAT(tables, ElementsAre("a", "b", "c", ""));
  pb::AgentDumpResponse answer;
  ASSERT_TRUE(Dump(Request(), &answer).ok());
  ASSERT_THAT(answer.change(), SizeIs(4));
  EXPECT_EQ(answer.change(2).table(), "c");
  EXPECT_EQ(answer.applied_lsn(), 0u) << "an addition that nobody asked for";
}

TEST_F(DumpCallTest, TheRequestReachesTheServerAsItIs) {
  Mutex mutex;
  std::map<std::string, DumpRequest> seen;
  std::string call;
  Start({std::make_shared<FakeDumpServer>(
      1, [&](const DumpRequest& request, DumpWriter& out, const std::stop_token&) {
        MutexLock lock(mutex);
        seen[call] = request;
        return out.Begin(DumpHeader());
      })});
  pb::AgentDumpRequest request = Request();
  request.set_min_lsn(77);
  pb::DumpInfoResponse& info = *request.mutable_info();
  info.set_page_begin(3);
  info.set_page_end(5);
  info.set_where("a > 1");
  info.add_columns("a");
  info.add_keys("(1)");
  info.set_sweep(true);
  info.set_sweep_from(9);
  info.set_relfilenode(11);
  call = "DumpPages";
  ASSERT_TRUE(DumpPages(request).ok());
  call = "StreamDump";
  ASSERT_TRUE(StreamDump(request).ok());
  call = "Dump";
  ASSERT_TRUE(Dump(request).ok());
  for (const auto& [name, got] : seen) {
    EXPECT_EQ(got.schema, "public");
    EXPECT_EQ(got.table, "t");
    EXPECT_EQ(got.page_begin, 3u);
    EXPECT_EQ(got.page_end, 5u);
    EXPECT_EQ(got.min_lsn, Lsn{77});
    EXPECT_EQ(got.where, "a > 1");
    EXPECT_THAT(got.columns, ElementsAre("a"));
    EXPECT_THAT(got.keys, ElementsAre("(1)"));
    EXPECT_TRUE(got.sweep);
    EXPECT_EQ(got.sweep_from, 9u);
    EXPECT_EQ(got.relfilenode, 11u);
    EXPECT_EQ(got.generated_columns, name != "DumpPages") << name;
  }
  EXPECT_THAT(seen, SizeIs(3));
}

TEST_F(DumpCallTest, ErrorsKeepTheirCodes) {
  absl::Status error;
  Start({std::make_shared<FakeDumpServer>(1, [&error](const DumpRequest&, DumpWriter&,
                                                      const std::stop_token&) { return error; })},
        {.catch_up_time = std::chrono::milliseconds(1)});
  for (const auto& [code, grpc_code] : std::vector<std::pair<absl::StatusCode, StatusCode>>{
           {absl::StatusCode::kNotFound, StatusCode::NOT_FOUND},
           {absl::StatusCode::kUnavailable, StatusCode::UNAVAILABLE},
           {absl::StatusCode::kFailedPrecondition, StatusCode::FAILED_PRECONDITION},
           {absl::StatusCode::kAborted, StatusCode::ABORTED},
           {absl::StatusCode::kInvalidArgument, StatusCode::INVALID_ARGUMENT},
           {absl::StatusCode::kResourceExhausted, StatusCode::RESOURCE_EXHAUSTED}}) {
    error = absl::Status(code, "why");
    for (const grpc::Status& status :
         {DumpPages(Request()), StreamDump(Request()), Dump(Request())}) {
      EXPECT_EQ(status.error_code(), grpc_code);
      EXPECT_EQ(status.error_message(), "why");
    }
  }
}

TEST_F(DumpCallTest, WithoutAServerTheContractsCallsAreAborted) {
  Start({});
  for (const grpc::Status& status : {StreamDump(Request()), Dump(Request())}) {
    EXPECT_EQ(status.error_code(), StatusCode::ABORTED);
    EXPECT_THAT(status.error_message(), HasSubstr("no pulsar2pg configured"));
  }
  // Aborted would mean another table.
  EXPECT_EQ(DumpPages(Request()).error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(DumpCallTest, WrongRequestsAreRefusedBeforeAnyServerIsAsked) {
  const auto server = Server(1, {});
  Start({server});
  pb::AgentDumpRequest no_table = Request();
  no_table.mutable_info()->clear_table();
  for (const auto& [request, code] : std::vector<std::pair<pb::AgentDumpRequest, StatusCode>>{
           {pb::AgentDumpRequest(), StatusCode::INVALID_ARGUMENT},
           {no_table, StatusCode::NOT_FOUND},
           {Request("me"), StatusCode::INVALID_ARGUMENT}}) {
    EXPECT_EQ(DumpPages(request).error_code(), code);
    EXPECT_EQ(StreamDump(request).error_code(), code);
    EXPECT_EQ(Dump(request).error_code(), code);
  }
  EXPECT_EQ(server->reads(), 0);
}

TEST_F(DumpCallTest, BytesThatAreNoRequestAreRefused) {
  Start({Server(1, {})});
  const grpc::Slice slice("\xFF\xFF garbage");
  const grpc::ByteBuffer garbage(&slice, 1);
  for (const char* method : {"Dump", "Configure", "ListTables"}) {
    grpc::ClientContext context;
    SetDeadline(context);
    grpc::ByteBuffer response;
    const std::string path = std::string("/pgcapture.Agent/") + method;
    const grpc::Status status = grpc::internal::BlockingUnaryCall(
        channel_.get(),
        grpc::internal::RpcMethod(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC), &context,
        garbage, &response);
    EXPECT_FALSE(status.ok()) << method;
  }
}

TEST_F(DumpCallTest, OnlyTheNamedServerAnswers) {
  Start({Server(1, {RowsOf({"one"})}), Server(2, {RowsOf({"two"})})});
  for (int i = 0; i < 3; ++i) {
    std::vector<std::string> tables;
    ASSERT_TRUE(StreamDump(Request("2"), &tables).ok());
    EXPECT_THAT(tables, ElementsAre("two"));
    std::vector<pb::AgentDumpResponse> answers;
    ASSERT_TRUE(DumpPages(Request("1"), &answers).ok());
    EXPECT_EQ(answers[0].system_identifier(), 1u);
    pb::AgentDumpResponse answer;
    ASSERT_TRUE(Dump(Request("2"), &answer).ok());
    EXPECT_EQ(answer.change(0).table(), "two");
  }
  const grpc::Status status = DumpPages(Request("3"));
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("3"));
}

TEST_F(DumpCallTest, AServerThatBreaksBeforeItsFirstRowIsReplaced) {
  const auto breaks = [](const DumpRequest&, DumpWriter& out, const std::stop_token&) {
    const absl::Status begun = out.Begin(DumpHeader());
    return begun.ok() ? absl::UnavailableError("gone") : begun;
  };
  Start({std::make_shared<FakeDumpServer>(1, breaks), Server(2, {RowsOf({"two"})})});
  for (int i = 0; i < 3; ++i) {
    std::vector<pb::AgentDumpResponse> answers;
    ASSERT_TRUE(DumpPages(Request(), &answers).ok());
    EXPECT_EQ(answers[0].system_identifier(), 2u);
  }
}

TEST_F(DumpCallTest, AServerThatBreaksAfterItsFirstRowEndsTheCallWithoutLast) {
  const auto breaks = [](const DumpRequest&, DumpWriter& out, const std::stop_token&) {
    absl::Status status = out.Begin(DumpHeader());
    if (status.ok()) status = out.Rows(RowsOf({"a"}), 1);
    return status.ok() ? absl::UnavailableError("gone") : status;
  };
  Start({std::make_shared<FakeDumpServer>(1, breaks), std::make_shared<FakeDumpServer>(2, breaks)});
  std::vector<pb::AgentDumpResponse> answers;
  EXPECT_EQ(DumpPages(Request(), &answers).error_code(), StatusCode::UNAVAILABLE);
  for (const auto& answer : answers) EXPECT_FALSE(answer.last());
}

TEST_F(DumpCallTest, RowsThatAreNoneEndTheCall) {
  Start({Server(1, {"\x12\x01x"})});
  EXPECT_EQ(StreamDump(Request()).error_code(), StatusCode::INTERNAL);
}

TEST_F(DumpCallTest, DumpRefusesMoreThanItsLimitAndNamesTheWayOut) {
  Start({Server(1, {RowOfBytes(600), RowOfBytes(600)})}, {.max_dump_bytes = 1'000});
  const grpc::Status status = Dump(Request());
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("StreamDump"));
  EXPECT_TRUE(DumpPages(Request()).ok());
}

// Counts the bytes that a call has taken, without end.
struct Endless {
  std::atomic<uint64_t> taken{0};
  TestEvent started;
  TestEvent ended;

  std::shared_ptr<FakeDumpServer> NewServer() {
    return std::make_shared<FakeDumpServer>(
        1, [this](const DumpRequest&, DumpWriter& out, const std::stop_token& stop) {
          const std::string row = RowOfBytes(64'000);
          absl::Status status = out.Begin(DumpHeader());
          started.Set();
          while (status.ok() && !stop.stop_requested()) {
            status = out.Rows(row, 1);
            if (status.ok()) taken += row.size();
          }
          ended.Set();
          return status.ok() ? absl::CancelledError("stopped") : status;
        });
  }
};

TEST_F(DumpCallTest, ReadingWaitsForAPeerThatDoesNotRead) {
  Endless endless;
  Start({endless.NewServer()}, {.stall_timeout = std::chrono::milliseconds(1'000)});
  grpc::ClientContext context;
  SetDeadline(context);
  const auto reader = stub_->DumpPages(&context, Request());
  ASSERT_TRUE(endless.ended.Wait());
  // What gRPC and the sockets hold, on both sides, comes on top of the 256 KiB.
  EXPECT_LT(endless.taken, 16u << 20);
  pb::AgentDumpResponse answer;
  while (reader->Read(&answer)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("not taken for 1 s"));
}

TEST_F(DumpCallTest, ACallThatIsCancelledStopsItsQuery) {
  for (const bool pages : {true, false}) {
    Endless endless;
    TearDown();
    Start({endless.NewServer()});
    grpc::ClientContext context;
    if (pages) {
      const auto reader = stub_->DumpPages(&context, Request());
      pb::AgentDumpResponse answer;
      ASSERT_TRUE(reader->Read(&answer));
      context.TryCancel();
      EXPECT_TRUE(endless.ended.Wait());
      EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
    } else {
      const auto reader = stub_->StreamDump(&context, Request());
      pb::Change answer;
      ASSERT_TRUE(reader->Read(&answer));
      context.TryCancel();
      EXPECT_TRUE(endless.ended.Wait());
    }
    TearDown();
    service_ = nullptr;
    listener_ = nullptr;
  }
}

TEST_F(DumpCallTest, ADumpInOneMessageThatIsCancelledStopsItsQuery) {
  TestEvent started;
  TestEvent ended;
  Start({std::make_shared<FakeDumpServer>(
      1, [&](const DumpRequest&, DumpWriter&, const std::stop_token& stop) {
        started.Set();
        TestEvent never;
        (void)never.Wait(stop);
        ended.Set();
        return absl::CancelledError("stopped");
      })});
  grpc::ClientContext context;
  std::jthread canceller([&] {
    (void)started.Wait();
    context.TryCancel();
  });
  pb::AgentDumpResponse answer;
  EXPECT_EQ(stub_->Dump(&context, Request(), &answer).error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(ended.Wait());
}

TEST_F(DumpCallTest, MoreCallsThanMayWaitAreResourceExhausted) {
  Endless endless;
  Start({endless.NewServer()}, {.dump_connections = 1, .max_waiting_dumps = 0});
  EXPECT_EQ(DumpPages(Request()).error_code(), StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(DumpCallTest, ShutdownEndsCallsWithUnavailable) {
  Endless endless;
  Start({endless.NewServer()});
  grpc::ClientContext context;
  const auto reader = stub_->DumpPages(&context, Request());
  pb::AgentDumpResponse answer;
  ASSERT_TRUE(reader->Read(&answer));
  service_->Shutdown();
  while (reader->Read(&answer)) continue;
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(DumpPages(Request()).error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(DumpCallTest, ListTablesAnswersFromTheFirstServerThatDoes) {
  const auto gone = Server(1, {});
  gone->set_tables(absl::UnavailableError("gone"));
  Start({gone, Server(2, {})});
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    SetDeadline(context);
    pb::ListTablesResponse response;
    const grpc::Status status = stub_->ListTables(&context, {}, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_THAT(response.tables(), SizeIs(2));
    EXPECT_EQ(response.tables(0).table(), "p1");
    EXPECT_EQ(response.tables(0).published_table(), "p");
    EXPECT_EQ(response.tables(1).bytes(), 16384u);
  }
}

TEST_F(DumpCallTest, AnAgentWithoutStoresConfiguresNothing) {
  Start({});
  grpc::ClientContext context;
  SetDeadline(context);
  pb::AgentConfigResponse response;
  EXPECT_EQ(stub_->Configure(&context, {}, &response).error_code(),
            StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace pgc
