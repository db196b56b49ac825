// Dumps of a replica on PostgreSQL 13, which cannot scan a range of pages.
//
// Needs PostgreSQL 13: in PGCAPTURE_PG13_BIN, else where scripts/pgroot unpacks it.
#include <gtest/gtest.h>

#include <cstdlib>

#include "dump/dump_testing.h"

namespace pgc {
namespace {

std::string Bin() {
  const char* const given = std::getenv("PGCAPTURE_PG13_BIN");
  return given != nullptr ? given : PGC_SOURCE_DIR "/build/pg/13/usr/lib/postgresql/13/bin";
}

class OldServer : public DumpTest {
 protected:
  static void SetUpTestSuite() {
    auto server = PostgresServer::StartOf(Bin(), {});
    ASSERT_TRUE(server.ok()) << "no PostgreSQL 13 in " << Bin() << ": run scripts/pgroot 13; "
                             << server.status();
    server_ = std::move(*server).release();
  }
  void SetUp() override {
    DumpTest::SetUp();
    MakeReplica("0/10");
  }
  static DumpRequest Pages(uint32_t begin, uint32_t end) {
    DumpRequest request = Of("t");
    request.page_begin = begin;
    request.page_end = end;
    return request;
  }
};

TEST_F(OldServer, APageRangeHasItsRowsAndNoOthers) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, pad char(2000)); INSERT INTO t SELECT g, '' FROM "
      "generate_series(1, 40) g");
  DumpServer& server = Server(ReplicaOptions());
  EXPECT_EQ(Numbers(Read(server, Pages(0, UINT32_MAX)).rows_), UpTo(1, 40));
  EXPECT_EQ(Numbers(Read(server, Pages(0, 0)).rows_), UpTo(1, 4));
  EXPECT_EQ(Numbers(Read(server, Pages(3, 4)).rows_), UpTo(13, 20));
  EXPECT_EQ(Numbers(Read(server, Pages(9, 1000)).rows_), UpTo(37, 40));
  const DumpCollector past = Read(server, Pages(10, 20));
  EXPECT_TRUE(past.rows_.empty());
  EXPECT_EQ(past.header_.pages, 10U);
  EXPECT_EQ(past.header_.applied, Lsn{0x10});
  EXPECT_TRUE(Read(server, Pages(UINT32_MAX, UINT32_MAX)).rows_.empty());
}

TEST_F(OldServer, AllRowsThatAPageCanHaveAreRead) {
  Sql("CREATE TABLE t (); INSERT INTO t SELECT FROM generate_series(1, 1000); ALTER TABLE t ADD id "
      "int");
  // Without columns a page is full of the smallest rows there are.
  EXPECT_EQ(Ask("SELECT max((ctid::text::point)[1]) FROM t"), "291");
  const DumpCollector dump = Read(Server(ReplicaOptions()), Of("t"));
  EXPECT_EQ(dump.rows_.size(), 1000U);
}

TEST_F(OldServer, ManyPagesAreReadInPiecesOfOneSnapshot) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, pad char(5000)) WITH (autovacuum_enabled = off); ALTER "
      "TABLE t ALTER pad SET STORAGE PLAIN; INSERT INTO t SELECT g, '' FROM generate_series(1, "
      "700) "
      "g");
  DumpServer& server = Server(ReplicaOptions());
  DumpCollector dump;
  dump.on_begin_ = [&] { Sql("UPDATE t SET pad = 'x'"); };
  const absl::Status status = server.Read(Of("t"), dump, {});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(dump.header_.pages, 700U);
  EXPECT_EQ(Numbers(dump.rows_), UpTo(1, 700));
  EXPECT_EQ(Numbers(Read(server, Of("t")).rows_), UpTo(1, 700));
}

TEST_F(OldServer, ConditionsKeysAndSweepsChooseRows) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t SELECT generate_series(1, 9)");
  DumpServer& server = Server(ReplicaOptions());
  DumpRequest request = Of("t");
  request.where = "id > 7 OR id = 1";
  EXPECT_EQ(Numbers(Read(server, request).rows_), (std::vector<int32_t>{1, 8, 9}));
  request.where = "1e'\\'";
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request)));
  request = Of("t");
  request.keys = {"(3)", "(5)"};
  EXPECT_EQ(Numbers(Read(server, request).rows_), (std::vector<int32_t>{3, 5}));
  request = Of("t");
  request.sweep = true;
  request.sweep_from = std::stoull(Ask("SELECT pg_snapshot_xmax(pg_current_snapshot())"));
  EXPECT_TRUE(Read(server, request).rows_.empty());
  Sql("UPDATE t SET note = 'x' WHERE id = 4");
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(4, 4));
  request = Of("nowhere");
  EXPECT_TRUE(absl::IsNotFound(Fail(server, request)));
  EXPECT_EQ(Server(ReplicaOptions()).Tables({})->size(), 1U);
}

}  // namespace
}  // namespace pgc
