#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dump/dump_server.h"
#include "dump/dump_testing.h"

namespace pgc {
namespace {

using testing::HasSubstr;

using DumpServerTest = DumpTest;

constexpr char kThreeRows[] =
    "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, "
    "'')";

TEST_F(DumpServerTest, ARowHasTheBytesOfAnUpdateOfIt) {
  Sql("CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN small AS numeric(5, 2) CHECK (VALUE "
      "< 100); CREATE TYPE pair AS (a int, b text); CREATE TYPE span AS RANGE (subtype = float8);"
      "CREATE DOMAIN grants AS aclitem");
  Sql("CREATE TABLE t (id int PRIMARY KEY, gone int, bo bool, i2 int2, i8 int8, f4 float4, f8 "
      "float8, n numeric, m money, c \"char\", bc bpchar(4), v varchar(9), tx text, nm name, by "
      "bytea, d date, ti time, tz timetz, ts timestamp, tt timestamptz, iv interval, u uuid, ip "
      "inet, ci cidr, ma mac"
      "addr, po point, bx box, pg polygon, j json, jb jsonb, jp jsonpath, x "
      "xml, b bit(3), vb varbit, tv tsvector, tq tsquery, r int4range, mr int4multirange, sp span, "
      "ar int[], ae mood[], e mood, do_ small, co pair, ac aclitem, ad grants, o oid, rc regclass, "
      "l pg_lsn, xi xid8, ti_ tid, nu text, \"Mixed \"\"Case\" int, ge int GENERATED ALWAYS AS (id "
      "* 2) "
      "STORED, last int)");
  Sql("ALTER TABLE t DROP gone; ALTER TABLE t ADD added text DEFAULT 'later'");
  Capture();
  Sql("INSERT INTO t VALUES (7, true, 1, 2, 1.5, 'NaN', 12345.678, 3.5, 'x', 'ab', 'v', 'text', "
      "'name', '\\x00ff', '2020-02-29', '12:30', '12:30+02', 'infinity', '2020-01-01', '1 mon 2 "
      "days', gen_random_uuid(), '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '(1,2)', "
      "'(1,2),(3,4)', '((0,0),(1,1))', '{\"a\": 1}', '{\"b\": [1]}', '$.a', '<a/>', '101', '10', "
      "'a:1 b', 'a & b', '[1,5)', '{[1,2)}', '[1.5,2]', '{{1,2},{3,NULL}}', '{sad,glad}', 'glad', "
      "12.5, '(1,z)', 'postgres=r/postgres', 'postgres=w/postgres', 1, 'pg_class', '0/1A', '9', "
      "'(1,2)', NULL, 5, DEFAULT, 9)");
  Sql("UPDATE t SET last = 10");
  WaitUntilCaptured();
  const auto changes = Changes("t");
  ASSERT_EQ(changes.size(), 2U);
  const DumpCollector dump = Read(Server(SourceOptions()), Of("t"));
  ASSERT_EQ(dump.rows_.size(), 1U);
  const CapturedChange& row = dump.rows_[0];
  EXPECT_EQ(row.op, changes[1].op);
  EXPECT_EQ(row.schema, "public");
  EXPECT_EQ(row.table, "t");
  EXPECT_TRUE(row.old_row.empty());
  ASSERT_EQ(row.new_row.size(), changes[1].new_row.size());
  EXPECT_GT(row.new_row.size(), 50U);
  for (size_t i = 0; i < row.new_row.size(); ++i) {
    EXPECT_EQ(row.new_row[i], changes[1].new_row[i]) << row.new_row[i].name;
  }
}

TEST_F(DumpServerTest, ADumpOfTheGoProgramHasGeneratedColumnsAndBaseTypes) {
  Sql("CREATE DOMAIN d AS int8; CREATE DOMAIN dd AS d; CREATE TABLE t (id int, v dd, g int "
      "GENERATED "
      "ALWAYS AS (id * 2) STORED); INSERT INTO t VALUES (4, 5)");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  DumpRequest request = Of("t");
  EXPECT_EQ(Read(server, request).rows_.at(0).new_row.size(), 2U);
  request.generated_columns = true;
  const DumpCollector dump = Read(server, request);
  ASSERT_EQ(dump.rows_.at(0).new_row.size(), 3U);
  EXPECT_EQ(dump.rows_[0].new_row[1].oid, 20U);
  EXPECT_EQ(dump.rows_[0].new_row[2].name, "g");
  EXPECT_EQ(Numbers(dump.rows_, 2), std::vector<int32_t>{8});
}

// Copies of one server have one system identifier, and so have two databases of one.
TEST_F(DumpServerTest, ReplicasInTwoPlacesAreTwo) {
  Sql(kThreeRows);
  MakeReplica();
  const uint64_t identity = Read(Server(ReplicaOptions()), Of("t")).header_.identity;
  EXPECT_EQ(Read(Server(ReplicaOptions()), Of("t")).header_.identity, identity);
  DumpServerOptions other = ReplicaOptions();
  other.url = server_->Url("postgres");
  DumpServer& server = Server(other);
  EXPECT_TRUE(absl::IsNotFound(Fail(server, Of("t"))));
  EXPECT_NE(server.identity(), identity);
  EXPECT_NE(std::to_string(identity), Ask("SELECT system_identifier FROM pg_control_system()"));
}

TEST_F(DumpServerTest, AReplicasPlaceIsItsCheckpoint) {
  Sql(kThreeRows);
  MakeReplica("1/2A");
  DumpServer& server = Server(ReplicaOptions());
  EXPECT_EQ(server.identity(), std::nullopt);
  const DumpCollector dump = Read(server, Of("t"));
  EXPECT_EQ(Numbers(dump.rows_), UpTo(1, 3));
  EXPECT_EQ(dump.header_.applied, (Lsn{0x10000002A}));
  EXPECT_EQ(dump.header_.upper, Lsn{});
  EXPECT_EQ(dump.header_.store_position, "\x01\x02");
  EXPECT_EQ(dump.header_.pages, 1U);
  EXPECT_TRUE(dump.header_.sweep_needed);
  EXPECT_FALSE(dump.header_.no_key);
  EXPECT_EQ(server.identity(), dump.header_.identity);
  EXPECT_EQ(Ask("SELECT pg_relation_filenode('t')"), std::to_string(dump.header_.relfilenode));
  EXPECT_EQ(Ask("SELECT pg_snapshot_xmin('" + dump.header_.snapshot + "')"),
            std::to_string(dump.header_.snapshot_xmin));
}

TEST_F(DumpServerTest, TheCheckpointIsTheOneInTheSnapshot) {
  Sql(kThreeRows);
  MakeReplica("0/10");
  // The lock holds the dump back until both the row and the checkpoint are there.
  auto other = Connection::Open(server_->Url(name_));
  ASSERT_TRUE(other.ok());
  Sql("BEGIN; LOCK TABLE t; INSERT INTO t VALUES (4); UPDATE pgcapture.sources SET commit = "
      "'0/20'");
  DumpServer& server = Server(ReplicaOptions());
  DumpCollector dump;
  absl::Status status;
  std::jthread reading([&] { status = server.Read(Of("t"), dump, {}); });
  for (std::string waits; waits != "t";) {
    const auto answer = (*other)->Query(
        "SELECT count(*) > 0 FROM pg_locks WHERE relation = 't'::regclass AND NOT granted");
    ASSERT_TRUE(answer.ok()) << answer.status();
    waits = answer->Text(0, 0);
  }
  Sql("COMMIT");
  reading.join();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(dump.header_.applied, Lsn{0x20});
  EXPECT_EQ(Numbers(dump.rows_), UpTo(1, 4));
}

TEST_F(DumpServerTest, AReplicaWithoutACheckpointIsUnavailable) {
  Sql(kThreeRows);
  DumpServer& server = Server(ReplicaOptions());
  EXPECT_TRUE(absl::IsUnavailable(Fail(server, Of("t"))));
  MakeReplica();
  Sql("UPDATE pgcapture.sources SET mid = NULL");
  const absl::Status status = Fail(server, Of("t"));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no checkpoint yet"));
}

TEST_F(DumpServerTest, AnotherTopicsCheckpointDoesNotCount) {
  Sql(kThreeRows);
  MakeReplica("0/10");
  Sql("INSERT INTO pgcapture.sources SELECT 'other', '0/FF', seq, commit_ts, mid, apply_ts FROM "
      "pgcapture.sources");
  EXPECT_EQ(Read(Server(ReplicaOptions()), Of("t")).header_.applied, Lsn{0x10});
}

TEST_F(DumpServerTest, AServerBehindIsAFailedPrecondition) {
  Sql(kThreeRows);
  MakeReplica("0/10");
  DumpServer& server = Server(ReplicaOptions());
  DumpRequest request = Of("t");
  request.min_lsn = Lsn{0x10};
  EXPECT_EQ(Read(server, request).rows_.size(), 3U);
  request.min_lsn = Lsn{0x11};
  EXPECT_TRUE(absl::IsFailedPrecondition(Fail(server, request)));
  // A table that it does not have may be there by now.
  request.table = "new";
  EXPECT_TRUE(absl::IsFailedPrecondition(Fail(server, request)));
  request.min_lsn = Lsn{0x10};
  EXPECT_TRUE(absl::IsNotFound(Fail(server, request)));
  request.no_table_is_empty = true;
  for (const uint64_t asked : {0x10, 0}) {
    request.min_lsn = Lsn{asked};
    const DumpCollector none = Read(server, request);
    EXPECT_EQ(none.header_.applied, Lsn{0x10});
    EXPECT_NE(none.header_.identity, 0U);
    EXPECT_EQ(none.header_.store_position, "\x01\x02");
    EXPECT_EQ(none.header_.table, "");
    EXPECT_TRUE(none.rows_.empty());
  }
  request.min_lsn = Lsn{0x11};
  EXPECT_TRUE(absl::IsFailedPrecondition(Fail(server, request)));
  // Nor does it say so when nothing was applied to it.
  Sql("DELETE FROM pgcapture.sources");
  request.min_lsn = {};
  EXPECT_TRUE(absl::IsUnavailable(Fail(server, request)));
}

TEST_F(DumpServerTest, APageRangeHasItsRowsAndNoOthers) {
  Sql("CREATE TABLE t (id int, pad char(2000)); INSERT INTO t SELECT g, '' FROM generate_series(1, "
      "40) g");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  const auto rows_of = [&](uint32_t begin, uint32_t end) {
    DumpRequest request = Of("t");
    request.page_begin = begin;
    request.page_end = end;
    return Numbers(Read(server, request).rows_);
  };
  EXPECT_EQ(rows_of(0, UINT32_MAX), UpTo(1, 40));
  EXPECT_EQ(rows_of(0, UINT32_MAX - 1), UpTo(1, 40));
  EXPECT_EQ(rows_of(0, 0), UpTo(1, 4));
  EXPECT_EQ(rows_of(3, 4), UpTo(13, 20));
  EXPECT_EQ(rows_of(9, 1000), UpTo(37, 40));
  EXPECT_EQ(rows_of(9, UINT32_MAX), UpTo(37, 40));
  EXPECT_EQ(rows_of(10, 20), std::vector<int32_t>());
  EXPECT_EQ(rows_of(UINT32_MAX, UINT32_MAX), std::vector<int32_t>());
  DumpRequest request = Of("t");
  request.page_begin = 1000;
  EXPECT_EQ(Read(server, request).header_.pages, 10U);
}

TEST_F(DumpServerTest, WhatCannotBeDumpedIsRefusedWithTheReason) {
  Sql(kThreeRows);
  Sql("CREATE VIEW v AS TABLE t; CREATE MATERIALIZED VIEW mv AS TABLE t; CREATE SEQUENCE s; CREATE "
      "UNLOGGED TABLE un (); CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TABLE "
      "part1 "
      "PARTITION OF parted FOR VALUES IN (1); CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN "
      "DATA "
      "WRAPPER file_fdw; CREATE FOREIGN TABLE ft (a int) SERVER f OPTIONS (filename '/dev/null')");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  const auto refused = [&](const std::string& table, const std::string& why) {
    const absl::Status status = Fail(server, Of(table));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << table << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  };
  refused("v", "is a view");
  refused("mv", "is a materialized view");
  refused("s", "is a sequence");
  refused("ft", "is a foreign table");
  refused("un", "unlogged");
  refused("t_pkey", "is an index");
  refused("parted", "public.part1");
  DumpRequest request = Of("t");
  request.schema = "pg_catalog";
  request.table = "pg_class";
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request)));
  request.schema = "pgcapture";
  request.table = "sources";
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request)));
  EXPECT_TRUE(absl::IsNotFound(Fail(server, Of("nowhere"))));
  EXPECT_TRUE(absl::IsNotFound(Fail(server, Of(""))));
  EXPECT_TRUE(absl::IsNotFound(Fail(server, Of(std::string("t\0", 2)))));
  EXPECT_TRUE(absl::IsNotFound(Fail(server, Of(std::string(100, 't')))));
  request = Of("t");
  request.schema = "";
  EXPECT_TRUE(absl::IsNotFound(Fail(server, request)));
  request = Of("t");
  request.page_begin = 2;
  request.page_end = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, request)));
  EXPECT_EQ(
      Ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgcapture_dump' AND "
          "datname = current_database() AND state <> 'idle'"),
      "0");
}

TEST_F(DumpServerTest, ALongNameDoesNotFindAShorterTable) {
  const std::string name(63, 'n');
  Sql("CREATE TABLE " + name + " (id int)");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  EXPECT_TRUE(Read(server, Of(name)).begun_);
  EXPECT_TRUE(absl::IsNotFound(Fail(server, Of(name + "n"))));
}

TEST_F(DumpServerTest, ARoleThatMayNotReadTheTableIsToldSo) {
  Sql("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN");
  Sql(kThreeRows);
  MakeReplica();
  Sql("GRANT USAGE ON SCHEMA pgcapture TO reader; GRANT SELECT ON pgcapture.sources TO reader");
  DumpServerOptions options = ReplicaOptions();
  options.url = server_->Url(name_, "reader");
  DumpServer& server = Server(options);
  const absl::Status status = Fail(server, Of("t"));
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("permission denied for table t"));
  Sql("GRANT SELECT ON t TO reader; ALTER TABLE t ENABLE ROW LEVEL SECURITY");
  EXPECT_TRUE(absl::IsInvalidArgument(Fail(server, Of("t")))) << "rows must not be left out";
  Sql("ALTER TABLE t DISABLE ROW LEVEL SECURITY");
  EXPECT_EQ(Read(server, Of("t")).rows_.size(), 3U);
}

TEST_F(DumpServerTest, ATableThatIsLockedIsUnavailableAfterTheTimeout) {
  Sql(kThreeRows);
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  Sql("BEGIN; LOCK TABLE t");
  const absl::Status status = Fail(server, Of("t"));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  Sql("ROLLBACK");
  EXPECT_EQ(Read(server, Of("t")).rows_.size(), 3U);
}

TEST_F(DumpServerTest, ATableThatWasRewrittenOrDroppedEndsItsDump) {
  Sql(kThreeRows);
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  DumpRequest request = Of("t");
  request.relfilenode = Read(server, request).header_.relfilenode;
  EXPECT_EQ(Read(server, request).rows_.size(), 3U);
  Sql("TRUNCATE t");
  EXPECT_TRUE(absl::IsAborted(Fail(server, request)));
  Sql("DROP TABLE t");
  EXPECT_TRUE(absl::IsNotFound(Fail(server, request)));
}

TEST_F(DumpServerTest, ADropUnderWayWaitsForTheDump) {
  Sql("CREATE TABLE t (id int, pad text); INSERT INTO t SELECT g, repeat('x', 500) FROM "
      "generate_series(1, 20000) g");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  DumpCollector dump;
  dump.on_begin_ = [&] {
    Sql("SET lock_timeout = 50");
    EXPECT_FALSE(sql_->Execute("TRUNCATE t").ok());
  };
  const absl::Status status = server.Read(Of("t"), dump, {});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(dump.rows_.size(), 20000U);
}

TEST_F(DumpServerTest, WhatIsTruncatedWhileTheDumpWaitsForTheLockIsSeenAsTruncated) {
  Sql(kThreeRows);
  MakeReplica();
  auto other = Connection::Open(server_->Url(name_));
  ASSERT_TRUE(other.ok());
  Sql("BEGIN; TRUNCATE t; INSERT INTO t VALUES (9)");
  DumpServer& server = Server(ReplicaOptions());
  DumpCollector dump;
  absl::Status status;
  std::jthread reading([&] { status = server.Read(Of("t"), dump, {}); });
  for (std::string waits; waits != "t";) {
    const auto answer = (*other)->Query(
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = "
        "'AccessShareLock' AND database = (SELECT oid FROM pg_database WHERE datname "
        "= current_database())");
    ASSERT_TRUE(answer.ok()) << answer.status();
    waits = answer->Text(0, 0);
  }
  Sql("COMMIT");
  reading.join();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Numbers(dump.rows_), std::vector<int32_t>{9});
}

TEST_F(DumpServerTest, ChildrenByInheritanceAreTablesOfTheirOwn) {
  Sql("CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent); INSERT INTO parent "
      "VALUES (1); INSERT INTO child VALUES (2)");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  EXPECT_EQ(Numbers(Read(server, Of("parent")).rows_), UpTo(1, 1));
  const DumpCollector child = Read(server, Of("child"));
  EXPECT_EQ(Numbers(child.rows_), UpTo(2, 2));
  EXPECT_EQ(child.rows_[0].table, "child");
}

TEST_F(DumpServerTest, APartitionsRowsAreLikeChangesOfItsRoot) {
  Sql("CREATE TABLE root (id int, v text, w int) PARTITION BY RANGE (id); CREATE TABLE mid (w int, "
      "gone int, id int NOT NULL, v text) PARTITION BY RANGE (id); ALTER TABLE mid DROP gone; "
      "ALTER "
      "TABLE root ATTACH PARTITION mid FOR VALUES FROM (0) TO (100); CREATE TABLE leaf (v text, w "
      "int, "
      "id int NOT NULL); ALTER TABLE mid ATTACH PARTITION leaf FOR VALUES FROM (0) TO (10); ALTER "
      "TABLE root ADD PRIMARY KEY (id)");
  Capture();
  Sql("INSERT INTO root VALUES (1, 'a', 5)");
  WaitUntilCaptured();
  const auto changes = Changes("root");
  ASSERT_EQ(changes.size(), 1U);
  const DumpCollector dump = Read(Server(SourceOptions()), Of("leaf"));
  ASSERT_EQ(dump.rows_.size(), 1U);
  EXPECT_EQ(dump.rows_[0].table, "root");
  EXPECT_EQ(dump.rows_[0].new_row, changes[0].new_row);
  DumpServerOptions options = SourceOptions();
  options.publishes_via_root = false;
  const DumpCollector own = Read(Server(options), Of("leaf"));
  EXPECT_EQ(own.rows_.at(0).table, "leaf");
  EXPECT_EQ(own.rows_[0].new_row[0].name, "v");
  const absl::Status status = Fail(Server(SourceOptions()), Of("mid"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("public.leaf"));
}

TEST_F(DumpServerTest, SaysWhichTablesHaveNoKeyAndNeedNoSweep) {
  Sql("CREATE TABLE bare (id int); CREATE TABLE keyed (id int NOT NULL); CREATE UNIQUE INDEX k ON "
      "keyed (id); ALTER TABLE keyed REPLICA IDENTITY USING INDEX k; CREATE TABLE none ()");
  Sql("INSERT INTO none DEFAULT VALUES");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  EXPECT_TRUE(Read(server, Of("bare")).header_.no_key);
  EXPECT_FALSE(Read(server, Of("bare")).header_.sweep_needed);
  EXPECT_FALSE(Read(server, Of("keyed")).header_.no_key);
  const DumpCollector none = Read(server, Of("none"));
  EXPECT_TRUE(none.begun_);
  EXPECT_TRUE(none.rows_.empty()) << "a row without columns has no change either";
}

TEST_F(DumpServerTest, ListsTheTablesThatCanBeDumped) {
  Sql("CREATE SCHEMA \"A b\"; CREATE TABLE \"A b\".\"T\" (id int); CREATE TABLE t (id int); INSERT "
      "INTO t SELECT generate_series(1, 5000); CREATE TABLE root (id int) PARTITION BY LIST (id); "
      "CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1); CREATE VIEW v AS TABLE t; CREATE "
      "UNLOGGED TABLE u (); CREATE TEMP TABLE tt ()");
  MakeReplica();
  const auto tables = Server(ReplicaOptions()).Tables({});
  ASSERT_TRUE(tables.ok()) << tables.status();
  std::vector<std::string> names;
  for (const DumpTable& table : *tables) {
    names.push_back(fmt::format("{}.{} {}.{}", table.schema, table.table, table.published_schema,
                                table.published_table));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"A b.T A b.T", "public.leaf public.root",
                                             "public.t public.t"}));
  EXPECT_GT(tables->at(2).bytes, 100'000U);
  DumpServerOptions options = ReplicaOptions();
  options.publishes_via_root = false;
  EXPECT_EQ(Server(options).Tables({})->at(1).published_table, "leaf");
}

TEST_F(DumpServerTest, ASweepHasTheRowsWrittenSince) {
  Sql(kThreeRows);
  const std::string from = Ask("SELECT pg_snapshot_xmin(pg_current_snapshot())");
  Sql("UPDATE t SET note = 'new' WHERE id = 2; INSERT INTO t VALUES (4)");
  MakeReplica();
  DumpServer& server = Server(ReplicaOptions());
  DumpRequest request = Of("t");
  request.sweep = true;
  request.sweep_from = std::stoull(from);
  EXPECT_EQ(Numbers(Read(server, request).rows_), (std::vector<int32_t>{2, 4}));
  // Numbers go round: from far behind all are newer, from ahead none is.
  request.sweep_from = std::stoull(from) + (uint64_t{5} << 32) - 1'000'000;
  EXPECT_EQ(Numbers(Read(server, request).rows_), UpTo(1, 4));
  request.sweep_from = std::stoull(from) + (uint64_t{5} << 32) + 1'000'000;
  EXPECT_TRUE(Read(server, request).rows_.empty());
}

}  // namespace
}  // namespace pgc
