// The main job: committed changes of a real PostgreSQL, through the real program, on a terminal.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>

#include "client/capture_client.h"
#include "e2e/serve/serve_fixture.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kWait{60};

using Stream = ServeTest;

TEST_F(Stream, TailPrintsEveryCommittedChangeInCommitOrder) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, name text, amount numeric(10,2), at timestamptz, js "
      "jsonb, tags int[])");
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const auto tail = Tail(serve, name(), 7);
  Sql("BEGIN; INSERT INTO t VALUES (1, 'one', 12.50, '2026-01-02 03:04:05.678901+00', "
      "'{\"a\": 1}', '{1,2,NULL}'); INSERT INTO t (id, name) VALUES (2, 'two'); COMMIT");
  Sql("BEGIN; INSERT INTO t VALUES (9, 'never'); ROLLBACK");
  Sql("BEGIN; SAVEPOINT a; INSERT INTO t VALUES (8, 'never'); ROLLBACK TO a; "
      "UPDATE t SET name = 'uno' WHERE id = 1; COMMIT");
  Sql("UPDATE t SET id = 3 WHERE id = 2");
  Sql("DELETE FROM t");
  Sql("INSERT INTO t (id, name) VALUES (4, E'\\u00e4 \"quoted\"\\n')");
  ASSERT_EQ(tail->Wait(kWait), 0) << tail->errors();
  EXPECT_EQ(
      WithoutLsn(tail->output_lines()),
      (std::vector<std::string>{
          R"({"seq":1,"op":"INSERT","schema":"public","table":"t","new":{"id":1,"name":"one","amount":"12.50","at":"2026-01-02T03:04:05.678901+00:00","js":{"a": 1},"tags":[1,2,null]},"old":{}})",
          R"({"seq":2,"op":"INSERT","schema":"public","table":"t","new":{"id":2,"name":"two","amount":null,"at":null,"js":null,"tags":null},"old":{}})",
          R"({"seq":1,"op":"UPDATE","schema":"public","table":"t","new":{"id":1,"name":"uno","amount":"12.50","at":"2026-01-02T03:04:05.678901+00:00","js":{"a": 1},"tags":[1,2,null]},"old":{}})",
          R"({"seq":1,"op":"UPDATE","schema":"public","table":"t","new":{"id":3,"name":"two","amount":null,"at":null,"js":null,"tags":null},"old":{"id":2}})",
          R"({"seq":1,"op":"DELETE","schema":"public","table":"t","new":{},"old":{"id":1}})",
          R"({"seq":2,"op":"DELETE","schema":"public","table":"t","new":{},"old":{"id":3}})",
          R"({"seq":1,"op":"INSERT","schema":"public","table":"t","new":{"id":4,"name":"ä \"quoted\"\n","amount":null,"at":null,"js":null,"tags":null},"old":{}})",
      }));
  EXPECT_EQ(serve.Stop(), 0);
}

TEST_F(Stream, ANamedSubscriptionGoesOnWhereItStoppedOverARestart) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const std::string uri = name() + "/mail";
  auto tail = Tail(serve, uri, 3);
  Sql("INSERT INTO t SELECT generate_series(1, 5)");
  ASSERT_EQ(tail->Wait(kWait), 0) << tail->errors();
  EXPECT_EQ(serve.Stop(), 0);
  Sql("INSERT INTO t VALUES (6)");
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  tail = Tail(serve, uri, 3);
  ASSERT_EQ(tail->Wait(kWait), 0) << tail->errors();
  std::string ids;
  for (const std::string& line : tail->output_lines()) {
    ids += line.substr(line.find("\"new\""), 14) + ";";
  }
  EXPECT_EQ(ids, R"("new":{"id":4};"new":{"id":5};"new":{"id":6};)");
}

TEST_F(Stream, WhatWasNotAcknowledgedComesAgain) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const std::string uri = name() + "/again";
  const auto first = Tail(serve, uri, 3, {"--no-ack"});
  Sql("INSERT INTO t SELECT generate_series(1, 3)");
  ASSERT_EQ(first->Wait(kWait), 0) << first->errors();
  const auto second = Tail(serve, uri, 3);
  ASSERT_EQ(second->Wait(kWait), 0) << second->errors();
  EXPECT_EQ(first->output_lines(), second->output_lines());
}

TEST_F(Stream, APartitionedTableAppearsUnderItsOwnName) {
  Sql("CREATE TABLE whole (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
      "CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (10)");
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const auto tail = Tail(serve, name(), 3);
  Sql("INSERT INTO whole VALUES (1, 'a')");
  Sql("UPDATE whole SET v = 'b'");
  Sql("DELETE FROM part");
  ASSERT_EQ(tail->Wait(kWait), 0) << tail->errors();
  for (const std::string& line : tail->output_lines()) {
    EXPECT_NE(line.find(R"("table":"whole")"), std::string::npos) << line;
  }
}

TEST_F(Stream, EachChangeHasTheCheckpointOfItsTransaction) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  auto client = CaptureClient::Open(
      {.gateway = serve.address(), .uri = name() + "/checkpoints", .parameters = {}}, {});
  ASSERT_TRUE(client.ok()) << client.status();
  Sql("INSERT INTO t SELECT generate_series(1, 2)");
  Sql("INSERT INTO t VALUES (3)");
  std::vector<pb::CaptureMessage> got;
  for (int i = 0; i < 3; ++i) {
    auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    got.push_back(*message);
  }
  EXPECT_EQ(got[0].checkpoint().lsn(), got[1].checkpoint().lsn());
  EXPECT_EQ(got[0].checkpoint().seq(), 1u);
  EXPECT_EQ(got[1].checkpoint().seq(), 2u);
  EXPECT_GT(got[2].checkpoint().lsn(), got[1].checkpoint().lsn());
  EXPECT_EQ(got[2].checkpoint().seq(), 1u);
}

TEST_F(Stream, ServeEndsInTimeWithAConsumerThatReadsNothing) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  auto client = CaptureClient::Open(
      {.gateway = serve.address(), .uri = name() + "/slow", .parameters = {}}, {});
  ASSERT_TRUE(client.ok()) << client.status();
  Sql("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i");
  EXPECT_EQ(serve.Stop(), 0);
}

TEST_F(Stream, CaptureGoesOnWhenPostgresComesBack) {
  // A server of its own: the others of the suite must not see it go.
  auto server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = Connection::Open((*server)->Url("postgres"));
  ASSERT_TRUE((*connection)->Execute("CREATE TABLE t (id int PRIMARY KEY)").ok());
  auto options = ServeOptions();
  options.source = (*server)->Url("postgres");
  ServeProcess serve(options);
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  auto client = CaptureClient::Open(
      {.gateway = serve.address(), .uri = name() + "/restart", .parameters = {}}, {});
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE((*connection)->Execute("INSERT INTO t VALUES (1)").ok());
  (*server)->Kill();
  ASSERT_TRUE(serve.process().WaitForLine("will be tried again", kWait).has_value());
  ASSERT_TRUE((*server)->Restart().ok());
  connection = Connection::Open((*server)->Url("postgres"));
  ASSERT_TRUE(connection.ok()) << connection.status();
  ASSERT_TRUE((*connection)->Execute("INSERT INTO t VALUES (2)").ok());
  // The consumer's stream lives through it.
  for (const int last : {1, 2}) {
    auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(message->change().new_(0).binary().back(), last);
  }
  EXPECT_EQ(serve.Stop(), 0) << serve.process().errors();
}

}  // namespace
}  // namespace pgc
