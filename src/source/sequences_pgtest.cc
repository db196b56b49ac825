// Positions of sequences in the stream of a real server.
#include <gmock/gmock.h>

#include <algorithm>

#include "source/postgres_source.h"
#include "source/sequences.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kSync[] = "SELECT pg_logical_emit_message(true, 'pgcapture.sync_sequences', '')";

class SequencePositions : public DatabaseTest {
 protected:
  // Only what is asked for is read again, unless told.
  PostgresSourceOptions Options(std::chrono::milliseconds interval = std::chrono::hours(1)) const {
    auto options = OptionsOf<PostgresSourceOptions>();
    options.sequence_interval = interval;
    return options;
  }
};

TEST_F(SequencePositions, AllComeAtTheStartAndThenThoseThatMoved) {
  Sql("CREATE SCHEMA \"S\"; CREATE SCHEMA pgcapture; CREATE SEQUENCE pgcapture.own;"
      "CREATE TEMP SEQUENCE temporary; CREATE SEQUENCE unused;"
      "CREATE SEQUENCE \"S\".\"it's\" INCREMENT -7 START -5; SELECT nextval('\"S\".\"it''s\"');"
      "SELECT nextval('\"S\".\"it''s\"'); CREATE TABLE t (id bigserial PRIMARY KEY);"
      "INSERT INTO t DEFAULT VALUES");
  SourceReader reader(NewPostgresSource(Options(std::chrono::milliseconds(20))));
  const auto first = reader.WaitForSequences(1);
  ASSERT_THAT(first, SizeIs(1)) << reader.Stop();
  EXPECT_THAT(first[0], AllOf(HasSubstr(" public.unused=1 next"), HasSubstr(" S.it's=-12"),
                              HasSubstr(" public.t_id_seq=1")));
  EXPECT_THAT(first[0], Not(AnyOf(HasSubstr("temporary"), HasSubstr("own"))));
  Sql("SELECT nextval('t_id_seq')");
  EXPECT_THAT(reader.WaitForSequences(2), Contains("sequences: public.t_id_seq=2"));
  Sql("SELECT setval('t_id_seq', 2, false)");
  EXPECT_THAT(reader.WaitForSequences(3), Contains("sequences: public.t_id_seq=2 next"));
  Sql("ALTER SEQUENCE t_id_seq RENAME TO ids");
  EXPECT_THAT(reader.WaitForSequences(4), Contains("sequences: public.ids=2 next"));
  Sql("DROP SEQUENCE unused; SELECT nextval('ids')");
  EXPECT_THAT(reader.WaitForSequences(5), Contains("sequences: public.ids=2"));
  EXPECT_THAT(reader.events(), SizeIs(0)) << "messages leave nothing else";
}

TEST_F(SequencePositions, NothingIsWrittenWhileNothingMoves) {
  Sql("CREATE SEQUENCE s");
  PostgresSourceOptions options = Options(std::chrono::milliseconds(1));
  options.heartbeat_interval = std::chrono::hours(1);
  SourceReader reader(NewPostgresSource(options));
  ASSERT_THAT(reader.WaitForSequences(1), SizeIs(1)) << reader.Stop();
  Sql("SELECT pg_stat_reset()");
  const Lsn before = WalEnd();
  // Rounds that can be seen: each reads the sequence.
  ASSERT_TRUE(
      Eventually("SELECT coalesce(sum(blks_hit + blks_read), 0) > 20 FROM "
                 "pg_statio_all_sequences WHERE relname = 's'"));
  const auto wrote = Ask(fmt::format("SELECT pg_current_wal_lsn() - '{}'", ToString(before)));
  // What other processes of the server write, snapshots of running transactions for one.
  EXPECT_LT(std::stoll(wrote), 2'000);
  EXPECT_THAT(reader.WaitForSequences(1), SizeIs(1));
}

TEST_F(SequencePositions, WhoeverAsksGetsAllAtOnce) {
  Sql("CREATE SEQUENCE a; CREATE SEQUENCE b; SELECT nextval('a')");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_THAT(reader.WaitForSequences(1), SizeIs(1)) << reader.Stop();
  Sql("SELECT setval('b', 70)");
  for (size_t times = 2; times < 5; ++times) {
    Sql(kSync);
    const auto all = reader.WaitForSequences(times);
    ASSERT_THAT(all, SizeIs(times));
    EXPECT_THAT(all.back(), AllOf(HasSubstr(" public.a=1"), HasSubstr(" public.b=70")));
  }
  EXPECT_THAT(reader.events(), SizeIs(0));
}

TEST_F(SequencePositions, TheyStandAfterWhatWasCommittedBeforeTheyWereRead) {
  Sql("CREATE TABLE t (id serial PRIMARY KEY)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_THAT(reader.WaitForSequences(1), SizeIs(1)) << reader.Stop();
  Sql("INSERT INTO t DEFAULT VALUES");
  Sql(kSync);
  ASSERT_THAT(reader.WaitForSequences(2), SizeIs(2));
  EXPECT_THAT(reader.events(),
              ElementsAre("BEGIN", "table public.t: INSERT: id[integer]:1", "COMMIT"));
}

TEST_F(SequencePositions, WhatAnybodyElseWritesIsDropped) {
  Sql("CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY)");
  SourceReader reader(NewPostgresSource(Options()));
  ASSERT_THAT(reader.WaitForSequences(1), SizeIs(1)) << reader.Stop();
  for (const char* transactional : {"true", "false"}) {
    for (const char* content : {"''", "'x'", "'\\x0a0d0a067075626c69631201731863'::bytea",
                                "'\\x00000000000000000000000000000000"
                                "0a0d0a067075626c69631201731863'::bytea"}) {
      Sql(fmt::format("SELECT pg_logical_emit_message({}, 'pgcapture.sequences', {})",
                      transactional, content));
    }
  }
  Sql("INSERT INTO t VALUES (1)");
  EXPECT_THAT(reader.WaitForEvents(3), SizeIs(3));
  EXPECT_THAT(reader.WaitForSequences(1), ElementsAre("sequences: public.s=1 next"));
}

TEST_F(SequencePositions, ThoseOfAnEarlierRunAreDroppedAndAllComeAgain) {
  Sql("CREATE SEQUENCE s");
  {
    SourceReader reader(NewPostgresSource(Options()), {}, false);
    ASSERT_THAT(reader.WaitForSequences(1), SizeIs(1)) << reader.Stop();
  }
  Sql("SELECT nextval('s')");
  SourceReader reader(NewPostgresSource(Options()));
  EXPECT_THAT(reader.WaitForSequences(1), ElementsAre("sequences: public.s=1"));
}

TEST_F(SequencePositions, OneThatMayNotBeReadIsCountedAndHoldsBackNone) {
  const std::string role = "reader_of_" + name_;
  Sql("CREATE TABLE t (id int PRIMARY KEY); CREATE SEQUENCE open; CREATE SEQUENCE closed;"
      "CREATE SCHEMA hidden; CREATE SEQUENCE hidden.s; CREATE ROLE " +
      role + " LOGIN REPLICATION; GRANT SELECT ON open, hidden.s TO " + role +
      "; CREATE PUBLICATION " + name_ + " FOR ALL TABLES WITH (publish_via_partition_root = true)");
  ::testing::internal::CaptureStderr();
  {
    PostgresSourceOptions options = Options(std::chrono::milliseconds(1));
    options.url = server_->Url(name_, role);
    SourceReader reader(NewPostgresSource(options));
    EXPECT_THAT(reader.WaitForSequences(1), ElementsAre("sequences: public.open=1 next"))
        << reader.Stop();
    Sql("SELECT nextval('open')");
    EXPECT_THAT(reader.WaitForSequences(2), Contains("sequences: public.open=1"));
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  const size_t line = log.find("sequences=2");
  EXPECT_NE(line, std::string::npos) << log;
  EXPECT_EQ(log.find("sequences=2", line + 1), std::string::npos) << log;
  EXPECT_THAT(log, Not(HasSubstr("failed")));
  Sql("DROP OWNED BY " + role + "; DROP ROLE " + role);
}

TEST_F(SequencePositions, ALockedOneHoldsBackNoneAndComesLater) {
  Sql("CREATE SEQUENCE before; CREATE SEQUENCE other");
  SourceReader reader(NewPostgresSource(Options(std::chrono::milliseconds(20))));
  ASSERT_THAT(reader.WaitForSequences(1), SizeIs(1)) << reader.Stop();
  Sql("BEGIN; ALTER SEQUENCE before RENAME TO after; SELECT nextval('other')");
  EXPECT_THAT(reader.WaitForSequences(2), Contains("sequences: public.other=1"));
  Sql("COMMIT");
  EXPECT_THAT(reader.WaitForSequences(3), Contains("sequences: public.after=1 next"));
}

TEST_F(SequencePositions, ManyComeInSeveralMessagesWhileOthersAreMadeAndDropped) {
  Sql("DO $$ BEGIN FOR i IN 1..1200 LOOP"
      " EXECUTE format('CREATE SEQUENCE %I', 's' || repeat('x', 50) || i); END LOOP; END $$");
  SourceReader reader(NewPostgresSource(Options(std::chrono::milliseconds(1))));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  for (int i = 0; i < 50; ++i) {
    Sql("CREATE SEQUENCE passing");
    Sql("DROP SEQUENCE passing");
  }
  Sql("SELECT nextval('s" + std::string(50, 'x') + "1200')");
  std::vector<std::string> lines;
  const auto has_last = [&] {
    return std::any_of(lines.begin(), lines.end(),
                       [](const std::string& line) { return line.ends_with("x1200=1"); });
  };
  while (!has_last()) {
    const size_t before = lines.size();
    lines = reader.WaitForSequences(before + 1);
    ASSERT_GT(lines.size(), before);
  }
  size_t positions = 0;
  for (const std::string& line : lines) {
    EXPECT_LT(line.size(), 200'000U);
    for (size_t at = 0; (at = line.find(" public.sx", at)) != std::string::npos; ++at) ++positions;
  }
  EXPECT_GE(positions, 1'200U);
  EXPECT_GE(lines.size(), 2U);
}

}  // namespace
}  // namespace pgc
