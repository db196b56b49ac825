#include <gmock/gmock.h>

#include "source/postgres_source.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

using ::testing::ElementsAre;

// What must come at once comes before what the timer, of 5 s, would send.
constexpr std::chrono::seconds kSoonerThanTheTimer{4};

class PostgresSource : public DatabaseTest {
 protected:
  PostgresSourceOptions Options() const { return OptionsOf<PostgresSourceOptions>(); }
};

TEST_F(PostgresSource, StreamsInsertsUpdatesAndDeletesInCommitOrder) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO t VALUES (1, 'a'), (2, NULL)");
  Sql("UPDATE t SET v = 'it''s' WHERE id = 1");
  Sql("UPDATE t SET id = 3 WHERE id = 2");
  Sql("DELETE FROM t WHERE id = 1");
  EXPECT_THAT(
      reader.WaitForEvents(13),
      ElementsAre("BEGIN", "table public.t: INSERT: id[integer]:1 v[text]:'a'",
                  "table public.t: INSERT: id[integer]:2 v[text]:null", "COMMIT", "BEGIN",
                  "table public.t: UPDATE: id[integer]:1 v[text]:'it''s'", "COMMIT", "BEGIN",
                  "table public.t: UPDATE: old-key: id[integer]:2 new-tuple: "
                  "id[integer]:3 v[text]:null",
                  "COMMIT", "BEGIN", "table public.t: DELETE: id[integer]:1", "COMMIT"));
  EXPECT_TRUE(absl::IsCancelled(reader.Stop()));
}

TEST_F(PostgresSource, StreamsOverAUnixSocketToo) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  PostgresSourceOptions options = Options();
  options.url = server_->SocketUrl(name_);
  SourceReader reader(NewPostgresSource(options));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO t SELECT generate_series(1, 20000)");
  EXPECT_EQ(reader.WaitForEvents(20'002).size(), 20'002U);
}

TEST_F(PostgresSource, StopsWithoutWaitingForTheTimerAndFreesTheSlot) {
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(absl::IsCancelled(reader.Stop()));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, kSoonerThanTheTimer);
  EXPECT_TRUE(
      Eventually("SELECT NOT active FROM pg_replication_slots WHERE slot_name = '" + name_ + "'"));
}

TEST_F(PostgresSource, ConfirmsWithoutWaitingForTheTimerOnceAllIsAcknowledged) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  for (int i = 0; i < 5; ++i) {
    Sql(fmt::format("INSERT INTO t VALUES ({})", i));
    const Lsn end = WalEnd();
    EXPECT_TRUE(
        Eventually(fmt::format("SELECT flush_lsn >= '{}' FROM pg_stat_replication WHERE pid ="
                               " (SELECT active_pid FROM pg_replication_slots WHERE "
                               "slot_name = '{}')",
                               ToString(end), name_),
                   kSoonerThanTheTimer));
  }
}

TEST_F(PostgresSource, ConfirmsNothingThatWasNotAcknowledged) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  SourceReader reader(NewPostgresSource(Options()), {}, false);
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  const std::string confirmed = Ask("SELECT confirmed_flush_lsn FROM pg_replication_slots");
  Sql("INSERT INTO t VALUES (1)");
  ASSERT_EQ(reader.WaitForEvents(3).size(), 3U);
  EXPECT_TRUE(absl::IsCancelled(reader.Stop()));
  EXPECT_EQ(Ask("SELECT confirmed_flush_lsn FROM pg_replication_slots"), confirmed);
  // So it comes again.
  SourceReader again(NewPostgresSource(Options()));
  EXPECT_EQ(again.WaitForEvents(3).size(), 3U);
}

TEST_F(PostgresSource, AnAcknowledgedTransactionIsNotSentAgain) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  ResumePoint resume;
  {
    SourceReader reader(NewPostgresSource(Options()));
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    Sql("INSERT INTO t VALUES (1)");
    ASSERT_EQ(reader.WaitForEvents(3).size(), 3U);
    resume = reader.resume();
  }
  Sql("INSERT INTO t VALUES (2)");
  SourceReader reader(NewPostgresSource(Options()), resume);
  EXPECT_THAT(reader.WaitForEvents(3),
              ElementsAre("BEGIN", "table public.t: INSERT: id[integer]:2", "COMMIT"));
}

TEST_F(PostgresSource, TheHeartbeatMovesTheSlotOfAnIdleDatabase) {
  PostgresSourceOptions options = Options();
  options.heartbeat_interval = std::chrono::milliseconds(100);
  SourceReader reader(NewPostgresSource(options));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  for (int i = 0; i < 3; ++i) {
    const std::string confirmed = Ask("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    EXPECT_TRUE(
        Eventually("SELECT confirmed_flush_lsn > '" + confirmed + "' FROM pg_replication_slots",
                   std::chrono::seconds(5)));
  }
  EXPECT_TRUE(reader.events().empty());
}

TEST_F(PostgresSource, KeepsTheConnectionWhileTheSinkBlocks) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql("ALTER ROLE postgres SET wal_sender_timeout = '6s'");
  const auto source = NewPostgresSource(Options());
  ASSERT_TRUE(source->Open({}, {}).ok());
  Sql("ALTER ROLE postgres RESET wal_sender_timeout");
  // More than the socket's buffers hold, so that the server is in the midst of sending.
  Sql("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) i");
  const Lsn end = WalEnd();
  ASSERT_TRUE(source->Next({}).ok());
  // The sink's Append, as far as the source can tell.
  Sql("SELECT pg_sleep(12)");
  for (Lsn captured; captured < end;) {
    const auto batch = source->Next({});
    ASSERT_TRUE(batch.ok()) << batch.status();
    captured = batch->captured;
  }
}

TEST_F(PostgresSource, HandsOutLargeRowsWhole) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO t SELECT i, repeat(chr(64 + i), 20000000) FROM generate_series(1, 3) i");
  const auto events = reader.WaitForEvents(5);
  ASSERT_EQ(events.size(), 5U);
  for (size_t i = 1; i <= 3; ++i) {
    std::string value;
    value.resize(20'000'000, static_cast<char>(64 + i));
    EXPECT_EQ(events[i],
              fmt::format("table public.t: INSERT: id[integer]:{} v[text]:'{}'", i, value));
  }
}

TEST_F(PostgresSource, HandsOutManySmallRowsInBoundedBatches) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 100000) i");
  EXPECT_EQ(reader.WaitForEvents(100'002).size(), 100'002U);
  EXPECT_LE(reader.largest_batch_bytes(), size_t{1} << 20);
}

TEST_F(PostgresSource, LeavesOutUnchangedToastButNotUnderReplicaIdentityFull) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, n int, v text); ALTER TABLE t ALTER v SET STORAGE "
      "EXTERNAL; CREATE TABLE f (LIKE t INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL;"
      "INSERT INTO t VALUES (1, 1, repeat('x', 5000)); INSERT INTO f SELECT * FROM t");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("UPDATE t SET n = 2");
  Sql("UPDATE f SET n = 2");
  const std::string v = "v[text]:'" + std::string(5000, 'x') + "'";
  EXPECT_THAT(
      reader.WaitForEvents(6),
      ElementsAre("BEGIN", "table public.t: UPDATE: id[integer]:1 n[integer]:2", "COMMIT", "BEGIN",
                  "table public.f: UPDATE: old-key: id[integer]:1 n[integer]:1 " + v +
                      " new-tuple: id[integer]:1 n[integer]:2 " + v,
                  "COMMIT"));
}

TEST_F(PostgresSource, APartitionedTableComesUnderItsOwnName) {
  Sql("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
      "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO p VALUES (1, 'a'), (11, 'b')");
  Sql("UPDATE p SET id = 12 WHERE id = 1");
  EXPECT_THAT(reader.WaitForEvents(8),
              ElementsAre("BEGIN", "table public.p: INSERT: id[integer]:1 v[text]:'a'",
                          "table public.p: INSERT: id[integer]:11 v[text]:'b'", "COMMIT", "BEGIN",
                          "table public.p: DELETE: id[integer]:1",
                          "table public.p: INSERT: id[integer]:12 v[text]:'a'", "COMMIT"));
}

TEST_F(PostgresSource, AKeyedPartitionUnderAFullRootDoesNotTurnUnchangedToastIntoNull) {
  Sql("CREATE TABLE p (id int PRIMARY KEY, n int, v text) PARTITION BY RANGE (id);"
      "ALTER TABLE p REPLICA IDENTITY FULL;"
      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
      "ALTER TABLE p1 ALTER v SET STORAGE EXTERNAL; INSERT INTO p VALUES (1, 1, repeat('x', "
      "5000))");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("UPDATE p SET id = 2");
  EXPECT_THAT(reader.WaitForEvents(3),
              ElementsAre("BEGIN",
                          "table public.p: UPDATE: old-key: id[integer]:1 new-tuple: "
                          "id[integer]:2 n[integer]:1",
                          "COMMIT"));
}

TEST_F(PostgresSource, ATransactionOfSomethingElseMovesOnlyThePosition) {
  Sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)");
  PostgresSourceOptions options = Options();
  options.tables = {"t"};
  SourceReader reader(NewPostgresSource(options));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO other VALUES (1)");
  const Lsn end = WalEnd();
  EXPECT_TRUE(reader.WaitForPosition(end).empty());
  EXPECT_GE(reader.resume().captured, end);
}

TEST_F(PostgresSource, AKilledConnectionIsUnavailableAndTheNextSourceGoesOn) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Sql("INSERT INTO t VALUES (1)");
  ASSERT_EQ(reader.WaitForEvents(3).size(), 3U);
  Sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
  const absl::Status ended = reader.End();
  EXPECT_TRUE(absl::IsUnavailable(ended)) << ended;
  Sql("INSERT INTO t VALUES (2)");
  SourceReader next(NewPostgresSource(Options()), reader.resume());
  EXPECT_THAT(next.WaitForEvents(3),
              ElementsAre("BEGIN", "table public.t: INSERT: id[integer]:2", "COMMIT"));
}

}  // namespace
}  // namespace pgc
