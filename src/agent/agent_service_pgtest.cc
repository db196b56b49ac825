#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/agent_service.h"
#include "agent/agent_testing.h"
#include "base/pause.h"
#include "gateway/listener.h"
#include "pgcapture.grpc.pb.h"
#include "testing/database_test.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;
using google::protobuf::Struct;
using grpc::StatusCode;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

// What the sink of a replica keeps there, standing at an LSN.
std::string CheckpointSql(const std::string& id, Lsn commit) {
  return fmt::format(
      "CREATE SCHEMA IF NOT EXISTS pgcapture; CREATE TABLE pgcapture.sources (id text PRIMARY KEY, "
      "commit pg_lsn, seq int, commit_ts timestamptz, mid bytea, apply_ts timestamptz); "
      "INSERT INTO pgcapture.sources VALUES ('{}', '{}', 1, now(), 'm', now())",
      id, ToString(commit));
}

// An agent and a client of it.
class TestAgent {
 public:
  TestAgent(AgentOptions options, std::vector<std::shared_ptr<DumpServer>> servers)
      : service_(std::move(options), std::move(servers)) {
    auto listener =
        Listener::Start({.address = "127.0.0.1:0", .health_names = {}}, {service_.service()});
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    stub_ = pb::Agent::NewStub(
        grpc::CreateChannel(listener_->address(), grpc::InsecureChannelCredentials()));
  }
  ~TestAgent() {
    service_.Shutdown();
    listener_->Shutdown();
  }

  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + kAgentTestTimeout);
  }
  grpc::Status Configure(const Struct& parameters, Struct* report = nullptr) {
    grpc::ClientContext context;
    SetDeadline(context);
    pb::AgentConfigRequest request;
    *request.mutable_parameters() = parameters;
    pb::AgentConfigResponse response;
    grpc::Status status = stub_->Configure(&context, request, &response);
    if (report != nullptr) *report = response.report();
    return status;
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
                          std::vector<pb::Change>* changes = nullptr) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto reader = stub_->StreamDump(&context, request);
    for (pb::Change change; reader->Read(&change);) {
      if (changes != nullptr) changes->push_back(change);
    }
    return reader->Finish();
  }
  grpc::Status Dump(const pb::AgentDumpRequest& request, pb::AgentDumpResponse* answer) {
    grpc::ClientContext context;
    SetDeadline(context);
    return stub_->Dump(&context, request, answer);
  }
  pb::Agent::Stub& stub() { return *stub_; }

 private:
  AgentService service_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<pb::Agent::Stub> stub_;
};

pb::AgentDumpRequest Request(const std::string& table, Lsn min_lsn = {}) {
  pb::AgentDumpRequest request;
  request.set_min_lsn(min_lsn.value);
  request.mutable_info()->set_schema("public");
  request.mutable_info()->set_table(table);
  request.mutable_info()->set_page_end(UINT32_MAX);
  return request;
}

class AgentServiceTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    Sql("CREATE DATABASE " + ReplicaName());
    auto replica = Connection::Open(server_->Url(ReplicaName()));
    ASSERT_TRUE(replica.ok()) << replica.status();
    replica_ = *std::move(replica);
  }
  void TearDown() override {
    agents_.clear();
    replica_ = nullptr;
    DatabaseTest::TearDown();
  }

  std::string ReplicaName() const { return name_ + "r"; }
  TestAgent& NewAgent(AgentOptions options = {},
                      std::vector<std::shared_ptr<DumpServer>> servers = {}) {
    options.stores = stores_;
    agents_.push_back(std::make_unique<TestAgent>(std::move(options), std::move(servers)));
    return *agents_.back();
  }
  static Struct Of(const std::vector<std::pair<std::string, std::string>>& texts) {
    Struct parameters;
    for (const auto& [key, text] : texts) {
      (*parameters.mutable_fields())[key].set_string_value(text);
    }
    return parameters;
  }
  Struct Capture() const {
    // Trust is how this server lets in: the password is there to be masked.
    const std::string url =
        fmt::format("postgres://postgres:geheim@127.0.0.1:{}/{}", server_->port(), name_);
    return Of({{"Command", "pg2pulsar"},
               {"PGConnURL", url},
               {"PGReplURL", url + "?replication=database"},
               {"PulsarURL", "file://" + (folder_.path() / "log").string()},
               {"PulsarTopic", name_},
               {"DecodePlugin", "pgoutput"}});
  }
  Struct Apply() const {
    return Of({{"Command", "pulsar2pg"},
               {"PGConnURL", server_->Url(ReplicaName())},
               {"PulsarURL", folder_.path() / "log"},
               {"PulsarTopic", name_}});
  }
  static Struct Status() { return Of({{"Command", "status"}}); }
  std::string AskReplica(const std::string& query) {
    const auto rows = replica_->Query(query);
    return rows.ok() && rows->rows() == 1 ? std::string(rows->Text(0, 0)) : "";
  }
  // Asks again until the answer is `t`; an error is none.
  bool EventuallyOnReplica(const std::string& query) {
    return Until([&] { return AskReplica(query) == "t"; });
  }
  template <typename Condition>
  bool Until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      Sql("SELECT pg_sleep(0.005)");
    }
    return true;
  }
  // A server to dump the database of this test from, as if a sink kept it.
  std::shared_ptr<DumpServer> AsReplica() {
    Sql(CheckpointSql(name_, WalEnd()));
    return DumpServer::New({.url = server_->Url(name_), .topic = name_, .connections = 2});
  }

  const TempDir folder_;
  StoreProvider stores_ = AllStores("/nowhere/libpulsar.so");
  std::unique_ptr<Connection> replica_;
  std::vector<std::unique_ptr<TestAgent>> agents_;
};

TEST_F(AgentServiceTest, CapturesKeepsAReplicaAndAnswersDumpsFromIt) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)");
  ASSERT_TRUE(replica_
                  ->Execute("CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS "
                            "(id * 2) STORED)")
                  .ok());
  TestAgent& source = NewAgent();
  TestAgent& sink = NewAgent();
  Struct report;
  grpc::Status status = source.Configure(Capture(), &report);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(report.fields().at("PulsarTopic").string_value(), name_);
  EXPECT_THAT(report.DebugString(), Not(HasSubstr("geheim")));
  ASSERT_TRUE(report.fields().contains("SourceTxCounter"));

  status = sink.Configure(Apply(), &report);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(report.fields().at("ReplicationLagMilliseconds").number_value(), -1);
  // Nothing was applied yet.
  EXPECT_EQ(sink.DumpPages(Request("t")).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(sink.StreamDump(Request("t")).error_code(), StatusCode::UNAVAILABLE);

  Sql("INSERT INTO t SELECT generate_series(1, 1000)");
  ASSERT_TRUE(EventuallyOnReplica("SELECT count(*) = 1000 FROM t"));
  std::vector<pb::AgentDumpResponse> answers;
  status = sink.DumpPages(Request("t"), &answers);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(ToString(Lsn{answers[0].applied_lsn()}),
            AskReplica("SELECT commit FROM pgcapture.sources"));
  EXPECT_NE(answers[0].system_identifier(), 0U);
  EXPECT_TRUE(answers.back().last());
  int rows = 0;
  for (const auto& answer : answers) rows += answer.change_size();
  EXPECT_EQ(rows, 1000);
  EXPECT_THAT(answers[0].change(0).new_(), SizeIs(1)) << "what changes have";

  std::vector<pb::Change> changes;
  ASSERT_TRUE(sink.StreamDump(Request("t"), &changes).ok());
  ASSERT_THAT(changes, SizeIs(1000));
  EXPECT_EQ(changes[0].op(), pb::Change::UPDATE);
  EXPECT_THAT(changes[0].new_(), SizeIs(2)) << "generated ones too";
  pb::AgentDumpResponse all;
  ASSERT_TRUE(sink.Dump(Request("t"), &all).ok());
  EXPECT_THAT(all.change(), SizeIs(1000));

  EXPECT_TRUE(Until([&] {
    return source.Configure(Status(), &report).ok() &&
           report.fields().at("SourceTxCounter").number_value() > 0;
  }));
  EXPECT_TRUE(Until([&] {
    return sink.Configure(Status(), &report).ok() &&
           report.fields().at("ReplicationLagMilliseconds").number_value() >= 0;
  }));
}

TEST_F(AgentServiceTest, OnceConfiguredAFurtherCallOnlyReports) {
  TestAgent& agent = NewAgent();
  Struct report;
  ASSERT_TRUE(agent.Configure(Status(), &report).ok());
  EXPECT_THAT(report.fields(), SizeIs(0)) << "nothing is configured";
  ASSERT_TRUE(agent.Configure(Capture()).ok());
  ASSERT_TRUE(agent.Configure(Apply(), &report).ok());
  EXPECT_EQ(report.fields().at("Command").string_value(), "pg2pulsar");
  ASSERT_TRUE(agent.Configure(Of({{"Command", "nonsense"}}), &report).ok());
  EXPECT_EQ(report.fields().at("Command").string_value(), "pg2pulsar");
}

TEST_F(AgentServiceTest, WhatIsWrongInTheParametersChangesNothing) {
  TestAgent& agent = NewAgent();
  Struct garbage;
  (*garbage.mutable_fields())["Command"].mutable_list_value();
  grpc::Status status = agent.Configure(garbage);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("Command"));
  Struct incomplete = Capture();
  incomplete.mutable_fields()->erase("PGReplURL");
  status = agent.Configure(incomplete);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("PGReplURL"));
  EXPECT_TRUE(agent.Configure(Status()).ok());
  EXPECT_TRUE(agent.Configure(Capture()).ok());
}

TEST_F(AgentServiceTest, AfterAFailureStatusTellsItAndTheNextCallStartsAnew) {
  TestAgent& agent = NewAgent({.start_time = std::chrono::seconds(20)});
  Struct wrong = Capture();
  (*wrong.mutable_fields())["PGConnURL"].set_string_value(server_->Url("nowhere"));
  (*wrong.mutable_fields())["PGReplURL"].set_string_value(server_->Url("nowhere"));
  for (const Struct& parameters : {wrong, Status(), Status()}) {
    const grpc::Status status = agent.Configure(parameters);
    EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(status.error_message(), HasSubstr("nowhere"));
  }
  Struct pulsar = Capture();
  (*pulsar.mutable_fields())["PulsarURL"].set_string_value("pulsar://127.0.0.1:6650");
  for (const Struct& parameters : {pulsar, Status()}) {
    const grpc::Status status = agent.Configure(parameters);
    EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(status.error_message(), HasSubstr("--pulsar-library"));
  }
  Struct report;
  EXPECT_TRUE(agent.Configure(Capture(), &report).ok());
  EXPECT_TRUE(report.fields().contains("SourceTxCounter"));
}

TEST_F(AgentServiceTest, AReplicaThatFailsIsNotDumpedFromAnyMore) {
  TestAgent& source = NewAgent();
  TestAgent& sink = NewAgent();
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_TRUE(source.Configure(Capture()).ok());
  ASSERT_TRUE(sink.Configure(Apply()).ok());
  // The replica has no such table.
  Sql("INSERT INTO t VALUES (1)");
  EXPECT_TRUE(Until([&] { return !sink.Configure(Status()).ok(); }));
  const grpc::Status status = sink.StreamDump(Request("t"));
  EXPECT_EQ(status.error_code(), StatusCode::ABORTED) << status.error_message();
  ASSERT_TRUE(replica_->Execute("CREATE TABLE t (id int PRIMARY KEY)").ok());
  ASSERT_TRUE(sink.Configure(Apply()).ok());
  EXPECT_TRUE(EventuallyOnReplica("SELECT count(*) = 1 FROM t"));
}

TEST_F(AgentServiceTest, ANewLogBeginsAtTheLsnThatItIsGiven) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_TRUE(replica_->Execute("CREATE TABLE t (id int PRIMARY KEY)").ok());
  Sql(fmt::format("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", name_));
  Sql(fmt::format("CREATE PUBLICATION {} FOR ALL TABLES", name_));
  Sql("INSERT INTO t VALUES (1)");
  Struct capture = Capture();
  (*capture.mutable_fields())["StartLSN"].set_string_value(ToString(WalEnd()));
  Sql("INSERT INTO t VALUES (2)");
  ASSERT_TRUE(NewAgent().Configure(capture).ok());
  ASSERT_TRUE(NewAgent().Configure(Apply()).ok());
  Sql("INSERT INTO t VALUES (3)");
  ASSERT_TRUE(EventuallyOnReplica("SELECT count(*) > 0 FROM t WHERE id = 3"));
  EXPECT_EQ(AskReplica("SELECT string_agg(id::text, ',' ORDER BY id) FROM t"), "2,3");
}

TEST_F(AgentServiceTest, BehindMinLsnIsFailedPreconditionUnlessTheReplicaCatchesUp) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  Sql("INSERT INTO t VALUES (1)");
  const std::shared_ptr<DumpServer> server = AsReplica();
  TestAgent& hasty = NewAgent({.catch_up_time = std::chrono::milliseconds(50)}, {server});
  const Lsn later{WalEnd().value + (uint64_t{1} << 30)};
  EXPECT_EQ(hasty.DumpPages(Request("t", later)).error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(hasty.StreamDump(Request("t", later)).error_code(), StatusCode::FAILED_PRECONDITION);
  pb::AgentDumpResponse answer;
  EXPECT_EQ(hasty.Dump(Request("t", later), &answer).error_code(), StatusCode::FAILED_PRECONDITION);

  TestAgent& patient = NewAgent({.catch_up_time = kAgentTestTimeout}, {server});
  std::jthread catching_up([&] {
    // Asked at least once by then.
    EXPECT_TRUE(
        Eventually("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = "
                   "current_database() AND application_name LIKE 'pgcapture%' AND pid <> "
                   "pg_backend_pid()"));
    Sql(fmt::format("UPDATE pgcapture.sources SET commit = '{}'", ToString(later)));
  });
  std::vector<pb::AgentDumpResponse> answers;
  const grpc::Status status = patient.DumpPages(Request("t", later), &answers);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(answers[0].applied_lsn(), later.value);
}

TEST_F(AgentServiceTest, WhatCannotBeDumpedHasItsCode) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  Sql("CREATE VIEW v AS SELECT 1 AS one");
  TestAgent& agent = NewAgent({}, {AsReplica()});
  EXPECT_EQ(agent.StreamDump(Request("missing")).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(agent.StreamDump(Request("")).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(agent.StreamDump(Request("v")).error_code(), StatusCode::INVALID_ARGUMENT);
  pb::AgentDumpRequest request = Request("t");
  request.mutable_info()->set_relfilenode(1);
  EXPECT_EQ(agent.DumpPages(request).error_code(), StatusCode::ABORTED);
  request = Request("t");
  request.mutable_info()->set_page_begin(9);
  request.mutable_info()->set_page_end(8);
  EXPECT_EQ(agent.DumpPages(request).error_code(), StatusCode::INVALID_ARGUMENT);
  request.mutable_info()->set_page_end(10);
  std::vector<pb::AgentDumpResponse> answers;
  ASSERT_TRUE(agent.DumpPages(request, &answers).ok());
  ASSERT_THAT(answers, SizeIs(1)) << "past the end: an empty dump";
  EXPECT_TRUE(answers[0].last());
}

class AgentPartitions : public AgentServiceTest {
 protected:
  // The name that a partition's row has in a dump, after one was captured and applied.
  std::string NameOfRow() {
    for (Connection* const sql : {sql_.get(), replica_.get()}) {
      const absl::Status made = sql->Execute(
          "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION "
          "OF p FOR VALUES FROM (0) TO (100)");
      EXPECT_TRUE(made.ok()) << made;
    }
    EXPECT_TRUE(NewAgent().Configure(Capture()).ok());
    TestAgent& sink = NewAgent();
    EXPECT_TRUE(sink.Configure(Apply()).ok());
    Sql("INSERT INTO p VALUES (1)");
    EXPECT_TRUE(EventuallyOnReplica("SELECT count(*) = 1 FROM p"));
    std::vector<pb::AgentDumpResponse> answers;
    EXPECT_TRUE(sink.DumpPages(Request("p1"), &answers).ok());
    if (answers.empty() || answers[0].change_size() != 1) return "no row";
    EXPECT_EQ(answers[0].schema(), "public");
    EXPECT_EQ(answers[0].table(), answers[0].change(0).table());
    return answers[0].table();
  }
};

TEST_F(AgentPartitions, HaveTheNameOfTheirRootInALogOfOurOwn) { EXPECT_EQ(NameOfRow(), "p"); }

TEST_F(AgentPartitions, HaveTheirOwnNameInALogThatOthersRead) {
  stores_ = [all = stores_](const StoreUse& use) {
    auto store = all(use);
    if (store.ok()) store->is_shared = true;
    return store;
  };
  EXPECT_EQ(NameOfRow(), "p1");
}

TEST_F(AgentServiceTest, OnlyTheServerThatIsNamedIsRead) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  TestAgent& agent = NewAgent({}, {AsReplica()});
  pb::AgentDumpRequest request = Request("t");
  std::vector<pb::AgentDumpResponse> answers;
  ASSERT_TRUE(agent.DumpPages(request, &answers).ok());
  request.mutable_info()->set_server(std::to_string(answers.at(0).system_identifier()));
  EXPECT_TRUE(agent.DumpPages(request).ok());
  request.mutable_info()->set_server("12345");
  const grpc::Status status = agent.DumpPages(request);
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("12345"));
}

TEST_F(AgentServiceTest, ListsTheTablesOfTheReplica) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  Sql("INSERT INTO t VALUES (1)");
  TestAgent& agent = NewAgent({}, {AsReplica()});
  grpc::ClientContext context;
  TestAgent::SetDeadline(context);
  pb::ListTablesResponse response;
  const grpc::Status status = agent.stub().ListTables(&context, {}, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(response.tables(), SizeIs(1));
  EXPECT_EQ(response.tables(0).table(), "t");
  EXPECT_GT(response.tables(0).bytes(), 0u);
}

// The dump connections of this test's database that are in a statement.
constexpr char kReading[] =
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND "
    "state <> 'idle'";

TEST_F(AgentServiceTest, APeerThatDoesNotReadHoldsTheServerBackAndItsEndEndsTheQuery) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i");
  TestAgent& agent = NewAgent({}, {AsReplica()});
  grpc::ClientContext context;
  const auto reader = agent.stub().DumpPages(&context, Request("t"));
  pb::AgentDumpResponse answer;
  ASSERT_TRUE(reader->Read(&answer));
  EXPECT_TRUE(
      Eventually(fmt::format("SELECT count(*) > 0 {} AND wait_event = 'ClientWrite'", kReading)));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually(fmt::format("SELECT count(*) = 0 {}", kReading)));
  EXPECT_TRUE(agent.DumpPages(Request("t")).ok()) << "the next dump";
}

TEST_F(AgentServiceTest, AServerThatIsKilledUnderADumpIsUnavailableAndComesBack) {
  auto server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  {
    auto sql = Connection::Open((*server)->Url("postgres"));
    ASSERT_TRUE(sql.ok()) << sql.status();
    ASSERT_TRUE((*sql)->Execute(CheckpointSql("topic", Lsn{0x100})).ok());
    ASSERT_TRUE((*sql)
                    ->Execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT "
                              "i, repeat('x', 1000) FROM generate_series(1, 50000) i; CHECKPOINT")
                    .ok());
  }
  TestAgent& agent = NewAgent(
      {},
      {DumpServer::New({.url = (*server)->Url("postgres"), .topic = "topic", .connections = 2})});
  grpc::ClientContext context;
  TestAgent::SetDeadline(context);
  const auto reader = agent.stub().DumpPages(&context, Request("t"));
  pb::AgentDumpResponse answer;
  ASSERT_TRUE(reader->Read(&answer));
  (*server)->Kill();
  while (reader->Read(&answer)) EXPECT_FALSE(answer.last());
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_EQ(agent.DumpPages(Request("t")).error_code(), StatusCode::UNAVAILABLE);
  const absl::Status restarted = (*server)->Restart();
  ASSERT_TRUE(restarted.ok()) << restarted;
  std::vector<pb::AgentDumpResponse> answers;
  EXPECT_TRUE(agent.DumpPages(Request("t"), &answers).ok());
  EXPECT_TRUE(answers.back().last());
}

}  // namespace
}  // namespace pgc
