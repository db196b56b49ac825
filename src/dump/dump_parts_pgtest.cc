// Dumps of a part of a table, and what they cost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>

#include "dump/dump_testing.h"
#include "dump/page_query.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// The compiler's own header of it is not installed.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace pgc {
namespace {

using testing::HasSubstr;

class DumpPartsTest : public DumpTest {
 protected:
  DumpServer& Replica() {
    MakeReplica();
    return Server(ReplicaOptions());
  }
};

TEST_F(DumpPartsTest, AConditionChoosesRowsWithinThePages) {
  Sql("CREATE TABLE t (id int, pad char(2000)); INSERT INTO t SELECT g, '' FROM generate_series(1, "
      "40) g");
  DumpServer& server = Replica();
  DumpRequest request = Of("t");
  request.where = "id > 10 OR id = 1";
  EXPECT_EQ(Read(server, request).rows_.size(), 31U);
  request.page_begin = 2;
  request.page_end = 3;
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(11, 16));
}

TEST_F(DumpPartsTest, AConditionFindsWhatTheRoleFinds) {
  Sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE FUNCTION "
      "public.wanted(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 = 2'; CREATE TABLE ids AS SELECT "
      "1 "
      "AS id");
  DumpServer& server = Replica();
  DumpRequest request = Of("t");
  request.where = "wanted(id)";
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(2, 2));
  request.where = "t.id IN (SELECT ids.id FROM ids)";
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(1, 1));
  request.where = "";
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(1, 2));
}

TEST_F(DumpPartsTest, AConditionThatTheServerRefusesIsTheCallers) {
  Sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0); CREATE FUNCTION writes() "
      "RETURNS bool LANGUAGE sql AS 'INSERT INTO t VALUES (5) RETURNING true'");
  DumpServer& server = Replica();
  for (const char* const where :
       {"id", "nowhere = 1", "id = ", "1 / id = 1", "writes()", "id = $1", "true) OR (true",
        "true); SELECT (true", "true UNION SELECT 1", "id, id", "true LIMIT 1",
        "true)) TO PROGRAM 'true' --", "id = 'x'::int"}) {
    DumpRequest request = Of("t");
    request.where = where;
    const absl::Status status = Fail(server, request);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << where << ": " << status;
  }
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), "1");
}

TEST_F(DumpPartsTest, AConditionThatTakesTooLongIsEnded) {
  Sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
  MakeReplica();
  DumpServerOptions options = ReplicaOptions();
  options.statement_timeout = std::chrono::milliseconds(200);
  DumpServer& server = Server(options);
  DumpRequest request = Of("t");
  request.where = "pg_sleep(1000) IS NOT NULL";
  EXPECT_TRUE(absl::IsResourceExhausted(Fail(server, request)));
  EXPECT_TRUE(Eventually(
      "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgcapture_dump' AND "
      "datname = current_database() AND state = 'active'"))
      << "the server must not go on";
}

TEST_F(DumpPartsTest, ColumnsAreThoseAskedForInTheTablesOrder) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, \"B \"\"b\" int, c int, g int GENERATED ALWAYS AS (id) "
      "STORED); INSERT INTO t VALUES (1, 2, 3)");
  DumpServer& server = Replica();
  DumpRequest request = Of("t");
  request.columns = {"c", "B \"b"};
  const DumpCollector dump = Read(server, request);
  ASSERT_EQ(dump.rows_.at(0).new_row.size(), 2U);
  EXPECT_EQ(dump.rows_[0].new_row[0].name, "B \"b");
  EXPECT_EQ(Numbers(dump.rows_, 1), UpTo(3, 3));
  for (const char* const column : {"d", "g", "ctid", "id, c", ""}) {
    request.columns = {"id", column};
    EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request))) << column;
  }
}

TEST_F(DumpPartsTest, KeysAreComparedAsTheirTypes) {
  Sql("CREATE TABLE t (id int, name varchar(3), v int, PRIMARY KEY (name, id)); INSERT INTO t "
      "VALUES "
      "(1, 'a', 1), (2, 'a', 2), (3, 'b,\"', 3), (4, '', 4)");
  DumpServer& server = Replica();
  DumpRequest request = Of("t");
  request.keys = {"(a,02)", "(\"b,\"\"\",3)", "(\"\",4)", "(a,7)", "(a,2)", "(abcd,1)"};
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(2, 4));
  request.keys = {"(a,x)"};
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request)));
  request.keys = {"(a,)"};
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request)));
  request.keys = {"(\"'); DROP TABLE t; --\",1)"};
  EXPECT_TRUE(Read(server, request).rows_.empty());
  Sql("ALTER TABLE t DROP CONSTRAINT t_pkey");
  request.keys = {"(a,1)"};
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request)));
}

TEST_F(DumpPartsTest, PagesAreReadByATidRangeScan) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, pad char(500)); INSERT INTO t SELECT g, '' FROM "
      "generate_series(1, 5000) g; ANALYZE t");
  TableFacts table;
  table.block_bytes = 8192;
  table.pages = 400;
  const std::vector<DumpColumn> columns{{.name = "id", .type_oid = 23, .as_text = false}};
  for (const auto& [begin, end] : {std::pair<uint32_t, uint32_t>{0, UINT32_MAX}, {5, 10}}) {
    DumpRequest request = Of("t");
    request.page_begin = begin;
    request.page_end = end;
    auto query = PageQuery::New(request, table, columns, {}, true);
    ASSERT_TRUE(query.ok());
    std::string statement = query->Next();
    statement = statement.substr(6, statement.rfind(") TO STDOUT") - 6);
    // As its sessions are set.
    Sql("SET enable_seqscan = off");
    EXPECT_THAT(Ask("EXPLAIN " + statement), HasSubstr("Tid Range Scan")) << begin;
  }
}

TEST_F(DumpPartsTest, ALargeRowComesWholeAndItsMemoryIsGivenBack) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, b bytea); ALTER TABLE t ALTER b SET STORAGE EXTERNAL; "
      "INSERT INTO t SELECT g, decode(repeat('0a', 50000000), 'hex') FROM generate_series(1, 2) g");
  MakeReplica();
  DumpServerOptions options = ReplicaOptions();
  options.connections = 1;
  DumpServer& server = Server(options);
  const DumpCollector dump = Read(server, Of("t"));
  ASSERT_EQ(dump.rows_.size(), 2U);
  EXPECT_EQ(dump.rows_[0].new_row[1].value->size(), 50'000'000U);
  EXPECT_GT(dump.largest_piece_, 50'000'000U);
  EXPECT_LT(dump.largest_piece_, 51'000'000U);
  EXPECT_TRUE(Eventually(
      "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgcapture_dump' AND "
      "datname = current_database()"))
      << "libpq keeps its memory as long as its connection";
  EXPECT_EQ(Read(server, Of("t")).rows_.size(), 2U);
}

// What the process has allocated and not freed.
size_t AllocatedBytes() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return __sanitizer_get_current_allocated_bytes();
#else
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
#endif
}

// Counts, and keeps nothing.
class Counter : public DumpWriter {
 public:
  absl::Status Begin(const DumpHeader&) override { return absl::OkStatus(); }
  absl::Status Rows(std::string_view changes, uint64_t count) override {
    rows += count;
    bytes += changes.size();
    most_allocated = std::max(most_allocated, AllocatedBytes());
    if (on_rows) return on_rows();
    return absl::OkStatus();
  }
  uint64_t rows = 0;
  uint64_t bytes = 0;
  size_t most_allocated = 0;
  std::function<absl::Status()> on_rows;
};

TEST_F(DumpPartsTest, ADumpTakesNoMoreMemoryThanItsPieces) {
  Sql("CREATE TABLE t (id int, pad text); INSERT INTO t SELECT g, repeat('x', 1000) FROM "
      "generate_series(1, 100000) g");
  DumpServer& server = Replica();
  Counter counter;
  const size_t before = AllocatedBytes();
  ASSERT_TRUE(server.Read(Of("t"), counter, {}).ok());
  EXPECT_EQ(counter.rows, 100'000U);
  EXPECT_GT(counter.bytes, 100'000'000U);
  EXPECT_LT(counter.most_allocated, before + (size_t{4} << 20));
}

TEST_F(DumpPartsTest, WhatTheWriterAnswersEndsTheDump) {
  Sql("CREATE TABLE t (id int, pad text); INSERT INTO t SELECT g, repeat('x', 1000) FROM "
      "generate_series(1, 20000) g");
  DumpServer& server = Replica();
  Counter counter;
  counter.on_rows = [&] { return absl::FailedPreconditionError("enough"); };
  const absl::Status status = server.Read(Of("t"), counter, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(status.message(), "enough");
  EXPECT_TRUE(Eventually(
      "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgcapture_dump' AND "
      "datname = current_database() AND state <> 'idle'"));
  counter.on_rows = nullptr;
  EXPECT_TRUE(server.Read(Of("t"), counter, {}).ok());
}

TEST_F(DumpPartsTest, StopsInTheMiddle) {
  Sql("CREATE TABLE t (id int, pad text); INSERT INTO t SELECT g, repeat('x', 1000) FROM "
      "generate_series(1, 20000) g");
  DumpServer& server = Replica();
  std::stop_source stop;
  Counter counter;
  counter.on_rows = [&] {
    stop.request_stop();
    return absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(server.Read(Of("t"), counter, stop.get_token())));
}

TEST_F(DumpPartsTest, DumpsWaitForAConnectionThatIsFree) {
  Sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
  MakeReplica();
  DumpServerOptions options = ReplicaOptions();
  options.connections = 1;
  DumpServer& server = Server(options);
  std::jthread second;
  DumpCollector dump;
  Counter counter;
  counter.on_rows = [&] {
    second = std::jthread([&] { dump = Read(server, Of("t")); });
    while (server.in_use() < 2) std::this_thread::yield();
    std::stop_source stopped;
    stopped.request_stop();
    DumpCollector none;
    EXPECT_TRUE(absl::IsCancelled(server.Read(Of("t"), none, stopped.get_token())));
    EXPECT_EQ(Ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgcapture_dump' "
                  "AND datname = current_database()"),
              "1");
    return absl::OkStatus();
  };
  ASSERT_TRUE(server.Read(Of("t"), counter, {}).ok());
  second.join();
  EXPECT_EQ(dump.rows_.size(), 1U);
  EXPECT_EQ(server.in_use(), 0);
}

TEST_F(DumpPartsTest, AConnectionThatDiedIsReplaced) {
  Sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
  DumpServer& server = Replica();
  EXPECT_EQ(Read(server, Of("t")).rows_.size(), 1U);
  Sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = "
      "'pgcapture_dump' AND datname = current_database()");
  EXPECT_EQ(Read(server, Of("t")).rows_.size(), 1U);
}

TEST_F(DumpPartsTest, AStatementIsPreparedOnceInASession) {
  const auto sql = Connection::Open(server_->Url(name_));
  ASSERT_TRUE(sql.ok()) << sql.status();
  const Connection::Parameter seven[] = {"7"};
  for (int i = 0; i < 3; ++i) {
    const auto row = (*sql)->QueryPrepared("SELECT 1 + $1::int", seven);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_EQ(row->Int(0, 0), 8);
  }
  EXPECT_FALSE((*sql)->QueryPrepared("SELECT nothing, $1::int", seven).ok());
  ASSERT_TRUE((*sql)->Execute("DEALLOCATE ALL").ok());
  EXPECT_FALSE((*sql)->QueryPrepared("SELECT 1 + $1::int", seven).ok());
  EXPECT_EQ((*sql)->QueryPrepared("SELECT 1 + $1::int", seven)->Int(0, 0), 8);
  EXPECT_EQ((*sql)->QueryPrepared("SELECT 2 + $1::int", seven)->Int(0, 0), 9);
  const auto count = (*sql)->Query("SELECT count(*) FROM pg_prepared_statements");
  EXPECT_EQ(count->Int(0, 0), 2);
}

TEST_F(DumpPartsTest, AServerThatCannotBeReachedIsUnavailable) {
  DumpServerOptions options = ReplicaOptions();
  options.url = "postgres://postgres@127.0.0.1:1/x";
  EXPECT_TRUE(absl::IsUnavailable(Fail(Server(options), Of("t"))));
  options.url = server_->Url("no_such_database");
  EXPECT_TRUE(absl::IsUnavailable(Fail(Server(options), Of("t"))));
  EXPECT_TRUE(absl::IsUnavailable(Server(options).Tables({}).status()));
}

}  // namespace
}  // namespace pgc
