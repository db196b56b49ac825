// Dumps that are asked for wrongly: what the program says, and how it ends.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "e2e/dump/dump_fixture.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class DumpRequests : public ServedDumps {
 protected:
  // A serve with a replica, and one consumer of the default subscription that acknowledges all.
  void ServeAndRead(std::vector<std::string> flags = {}) {
    Serve(std::move(flags));
    if (HasFatalFailure()) return;
    WaitApplied();
    Read();
  }
  void Read() {
    reader_ = std::make_unique<DumpsReader>(
        DumpsReader::Options{.gateway = serve().address(), .uri = Uri()});
    ASSERT_TRUE(reader_->WaitAttached());
  }
  // The table is set aside, for this reason.
  void ExpectFailure(std::vector<std::string> args, const std::string& reason) {
    const Ran ran = Dump(std::move(args));
    EXPECT_EQ(ran.code, 0) << ran.errors;
    WaitStatus(Uri(), "an end", [](const auto& status) { return !status.scheduled(); });
    EXPECT_THAT(Dump({"--status"}).out, AllOf(HasSubstr("1 failed"), HasSubstr(reason)));
  }
  // The ids of the rows that the consumer got since the last call.
  std::set<int64_t> NewRows() {
    const auto lines = reader_->lines();
    std::set<int64_t> ids;
    for (size_t at = read_; at < lines.size(); ++at) {
      const auto message = nlohmann::json::parse(lines[at]);
      if (!message.contains("dump")) continue;
      last_ = message["new"];
      ids.insert(last_.value("id", int64_t{0}));
    }
    read_ = lines.size();
    return ids;
  }

  std::unique_ptr<DumpsReader> reader_;
  size_t read_ = 0;
  nlohmann::json last_;
};

TEST_F(DumpRequests, ATableThatDoesNotExistIsDone) {
  ServeAndRead();
  const Ran ran = Dump({"--table", "nowhere", "--table", "no_schema.nowhere", "--wait"});
  EXPECT_EQ(ran.code, 0) << ran.errors;
  EXPECT_THAT(ran.errors, HasSubstr("2 of 2 tables, 0 rows"));
  EXPECT_THAT(Dump({"--status"}).out, AllOf(HasSubstr(": done"), HasSubstr("2 of 2 done, 0 failed"),
                                            HasSubstr("public.nowhere")));
}

TEST_F(DumpRequests, WhatHasNoRowsToDumpFailsAtOnceAndTheTablesBesideItGoOn) {
  MakeTable("t", 60);
  Everywhere(
      "CREATE VIEW a_view AS SELECT * FROM t; CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM "
      "t; CREATE UNLOGGED TABLE an_unlogged (id int PRIMARY KEY); CREATE SEQUENCE a_sequence; "
      "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); "
      "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10); "
      "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20); "
      "INSERT INTO parted SELECT generate_series(0, 19);"
      "CREATE FOREIGN DATA WRAPPER wrapper; CREATE SERVER elsewhere FOREIGN DATA WRAPPER wrapper; "
      "CREATE FOREIGN TABLE a_foreign (id int) SERVER elsewhere");
  ServeAndRead();
  std::vector<std::string> args{"--wait"};
  for (const char* table : {"a_view", "a_matview", "an_unlogged", "a_sequence", "a_foreign",
                            "pg_catalog.pg_class", "parted", "t"}) {
    args.insert(args.end(), {"--table", table});
  }
  const Ran ran = Dump(args);
  EXPECT_EQ(ran.code, 1) << ran.errors;
  EXPECT_THAT(ran.out, HasSubstr("9 tables scheduled"));
  EXPECT_THAT(ran.errors,
              AllOf(HasSubstr("6 of 9 tables failed"), HasSubstr("public.a_view is a view"),
                    HasSubstr("public.a_matview is a materialized view"),
                    HasSubstr("public.an_unlogged is temporary or unlogged"),
                    HasSubstr("public.a_sequence is a sequence"),
                    HasSubstr("public.a_foreign is a foreign table"),
                    HasSubstr("pg_catalog.pg_class is a system's table")));
  EXPECT_EQ(reader_->dump_rows(), 80U) << "of t, and of both partitions";
  // None of them is what a pattern finds.
  EXPECT_THAT(Dump({"--table", "a_*"}).errors, HasSubstr("no table is found by 'a_*'"));
}

TEST_F(DumpRequests, PagesPastTheEndAreAnEmptyDump) {
  MakeTable("t", 2 * kRowsPerPage);
  ServeAndRead();
  for (const char* pages : {"2-7", "100-", "4294967294-4294967295"}) {
    const Ran ran = Dump({"--table", "t", "--pages", pages, "--wait"});
    EXPECT_EQ(ran.code, 0) << pages << ": " << ran.errors;
    EXPECT_THAT(ran.errors, HasSubstr("1 of 1 tables, 0 rows")) << pages;
  }
  EXPECT_EQ(Dump({"--table", "t", "--pages", "1-9", "--wait"}).code, 0);
  EXPECT_EQ(NewRows().size(), size_t{kRowsPerPage});
}

TEST_F(DumpRequests, PagesThatEndBeforeTheyBeginAreRefused) {
  MakeTable("t", 10);
  ServeAndRead();
  const Ran ran = Dump({"--table", "t", "--pages", "3-2", "--wait"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.errors, AllOf(HasSubstr("public.t"), HasSubstr("begin")));
  for (const char* pages : {"x", "1-2-3", "-1", "4294967296", "1,2"}) {
    const Ran wrong = Dump({"--table", "t", "--pages=" + std::string(pages)});
    EXPECT_EQ(wrong.code, 1) << pages;
    EXPECT_THAT(wrong.errors, HasSubstr("is no page")) << pages;
  }
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr("nothing is scheduled"));
}

TEST_F(DumpRequests, ASecondScheduleIsRefusedUntilTheFirstIsDone) {
  MakeTable("t", 10);
  Serve();
  WaitApplied();
  EXPECT_EQ(Dump({"--table", "t"}).code, 0);
  const Ran second = Dump({"--table", "u"});
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.errors, HasSubstr("already scheduled"));
  // Of another consumer it is another.
  EXPECT_EQ(Dump({"--uri", Uri("other"), "--table", "t"}).code, 0);
  EXPECT_THAT(Dump({"--status"}).out, HasSubstr("no consumer of this uri is connected"));
  Read();
  EXPECT_EQ(Dump({"--wait"}).code, 0);
  EXPECT_EQ(Dump({"--table", "t", "--wait"}).code, 0);
  EXPECT_EQ(reader_->dump_rows(), 20U);
}

TEST_F(DumpRequests, ARoleThatMayNotReadTheTableIsToldSo) {
  MakeTable("t", 10);
  MakeTable("u", 10);
  Serve();
  WaitApplied();
  OnReplica(
      fmt::format("CREATE ROLE reader_{0} LOGIN; GRANT USAGE ON SCHEMA pgcapture TO "
                  "reader_{0}; GRANT SELECT ON pgcapture.sources, u TO reader_{0}",
                  name()));
  ASSERT_EQ(serve().Stop(), 0);
  ServeOnly({"--dump-from", Replica(0).Url(name(), "reader_" + name())});
  Read();
  const Ran ran = Dump({"--table", "t", "--table", "u", "--wait"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.errors,
              AllOf(HasSubstr("1 of 2 tables failed"), HasSubstr("permission denied for table t"),
                    Not(HasSubstr("postgres://"))));
  EXPECT_EQ(reader_->dump_rows(), 10U);
}

TEST_F(DumpRequests, PartsOfATableAreDumpedAlone) {
  MakeTable("t", 200);
  ServeAndRead();
  EXPECT_EQ(
      Dump({"--table", "t", "--where", "id BETWEEN 7 AND 9 OR note LIKE 'row 100.%'", "--wait"})
          .code,
      0);
  EXPECT_EQ(NewRows(), (std::set<int64_t>{7, 8, 9, 100}));
  EXPECT_EQ(Dump({"--table", "t", "--keys", "(5)", "--keys", "(\"150\")", "--keys", "(999)",
                  "--columns", "n,id", "--wait"})
                .code,
            0);
  EXPECT_EQ(NewRows(), (std::set<int64_t>{5, 150}));
  EXPECT_EQ(last_.size(), 2U) << last_;
  EXPECT_EQ(Dump({"--table", "t", "--keys", "(5)", "--where", "id = 6", "--wait"}).code, 0);
  EXPECT_THAT(NewRows(), IsEmpty());
}

// Nothing that the flags say is more than a part of one question to the server, in a transaction
// that writes nothing.
TEST_F(DumpRequests, WrongAndHostilePartsFailTheirTableAndChangeNothing) {
  MakeTable("t", 10);
  Everywhere(
      "CREATE SEQUENCE counter; CREATE FUNCTION writes() RETURNS bool LANGUAGE sql AS "
      "'DELETE FROM public.t; SELECT true'; ALTER FUNCTION writes() VOLATILE");
  ServeAndRead();
  const std::pair<const char*, const char*> conditions[] = {
      {"id = 1); DROP TABLE t; --", "parenthesis too many"},
      {"id = 1; DROP TABLE t", "has a `;`"},
      {"true) UNION SELECT 1, 2, 'x' FROM t WHERE (true", "parenthesis too many"},
      {"id = 1 -- and no more", "has a comment"},
      {"note = $$x$$", "has a `$`"},
      {"note = 'x", "quote that does not end"},
      {"nextval('public.counter') > 0", "read-only transaction"},
      {"public.writes()", "read-only transaction"},
      {"no_such_column = 1", "no_such_column"},
      {"id = ", "syntax error"},
      {"note", "must be type boolean"},
      {"1 / (id - id) = 1", "division by zero"},
      {"count(*) > 1", "aggregate functions are not allowed"},
  };
  for (const auto& [condition, reason] : conditions) {
    SCOPED_TRACE(condition);
    ExpectFailure({"--table", "t", "--where", condition}, reason);
  }
  ExpectFailure({"--table", "t", "--columns", "id,nowhere"}, "no column \"nowhere\"");
  ExpectFailure({"--table", "t", "--columns", "id FROM t; DROP TABLE t; --"}, "no column");
  ExpectFailure({"--table", "t", "--keys", "(1,2)"}, "a key has 2 fields, and the table's has 1");
  ExpectFailure({"--table", "t", "--keys", "1"}, "is not the text of a row");
  ExpectFailure({"--table", "t", "--keys", "(one)"}, "invalid input syntax for type integer");
  ExpectFailure({"--table", "t", "--keys", "(1'); DROP TABLE t; --)"}, "not the text of a row");
  ExpectFailure({"--table", "t", "--keys", "()"}, "NULL");
  EXPECT_EQ(reader_->dump_rows(), 0U);
  EXPECT_EQ(AskReplica("SELECT count(*) FROM t"), "10");
  EXPECT_EQ(AskReplica("SELECT is_called FROM counter"), "f");
}

TEST_F(DumpRequests, AConditionThatIsTooLongIsRefused) {
  MakeTable("t", 10);
  ServeAndRead();
  ExpectFailure({"--table", "t", "--where", "id = 1 OR note = '" + std::string(70'000, 'x') + "'"},
                "is longer than 65536 bytes");
  // Of all tables together there is a limit to what is kept of them.
  std::vector<std::string> args;
  for (int table = 0; table < 12; ++table) {
    args.insert(args.end(), {"--table", fmt::format("t{}", table)});
  }
  args.insert(args.end(), {"--where", "note = '" + std::string(100'000, 'x') + "'"});
  const Ran ran = Dump(args);
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.errors, HasSubstr("1048576 bytes"));
}

TEST_F(DumpRequests, WhatIsAskedForIsOneThing) {
  MakeTable("t", 10);
  ServeAndRead();
  EXPECT_EQ(Dump({}).code, 2);
  EXPECT_EQ(Dump({"--table", "t", "--stop"}).code, 2);
  EXPECT_EQ(Dump({"--pause", "--resume"}).code, 2);
  EXPECT_EQ(Dump({"--table", "t", "--no-such-flag"}).code, 2);
  const Ran no_duration = Dump({"--cool-down", "soon"});
  EXPECT_EQ(no_duration.code, 1);
  EXPECT_THAT(no_duration.errors, HasSubstr("'soon' is no duration"));
  const Ran nothing = Dump({"--wait"});
  EXPECT_EQ(nothing.code, 1);
  EXPECT_THAT(nothing.errors, HasSubstr("nothing is scheduled"));
  const auto away = Start({"dump", "--controller", "127.0.0.1:1", "--table", "t"});
  const Ran unreachable = Finish(*away);
  EXPECT_EQ(unreachable.code, 1);
  EXPECT_THAT(unreachable.errors, HasSubstr("controller 127.0.0.1:1: "));
}

}  // namespace
}  // namespace pgc
