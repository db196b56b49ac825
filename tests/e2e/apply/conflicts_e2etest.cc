// What stops the sink, what it says then, and the ways on: rows that somebody has written on the
// target, missing tables, commands that fail, and a log whose start is gone.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "e2e/apply/apply_fixture.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// In every value, so that it is seen where it must not be.
constexpr char kSecret[] = "s3cret";

class ApplyConflicts : public Apply {
 protected:
  void SetUp() override {
    Apply::SetUp();
    Both(
        "CREATE TABLE clash (id int, part int, v text, u text UNIQUE, PRIMARY KEY (id, part));"
        "CREATE TABLE whole (a int, v text); ALTER TABLE whole REPLICA IDENTITY FULL");
  }
  // Rows on both sides, and serve in good order behind them.
  void Fill(const std::vector<std::string>& flags = {}) {
    Serve(flags);
    Sql(fmt::format(
        "INSERT INTO clash SELECT i, 1, '{0}', '{0}' || i FROM generate_series(1, 20) i;"
        "INSERT INTO whole SELECT i % 5, '{0}' FROM generate_series(1, 20) i",
        kSecret));
    WaitApplied();
  }
  // The error with which serve stops: it names the table, the key's columns and where, but no
  // values.
  void ExpectStop(const std::string& table, const std::string& columns) {
    if (HasFatalFailure()) return;
    const std::string log = WhyStopped();
    EXPECT_THAT(log,
                AllOf(HasSubstr(table), HasSubstr(columns), ContainsRegex("[0-9A-F]+/[0-9A-F]+"),
                      HasSubstr("on-conflict"), Not(HasSubstr(kSecret))));
  }
  // That the source's row of this key comes, with its values.
  void InsertTwice() {
    OnTarget(
        fmt::format("INSERT INTO clash VALUES (100, 1, '{0} of the target', 'here')", kSecret));
    Sql(fmt::format("INSERT INTO clash VALUES (100, 1, '{0} of the source', 'there')", kSecret));
    Sql("INSERT INTO clash VALUES (101, 1, NULL, NULL)");
  }
  void UpdateMissing() {
    OnTarget("DELETE FROM clash WHERE id = 5");
    Sql("UPDATE clash SET v = 'new' WHERE id BETWEEN 4 AND 6");
  }
  void DeleteMissing() {
    OnTarget("DELETE FROM clash WHERE id = 7; DELETE FROM whole WHERE a = 3");
    Sql("DELETE FROM clash WHERE id BETWEEN 6 AND 8");
    Sql("DELETE FROM whole WHERE a = 3");
  }
};

TEST_F(ApplyConflicts, ARowThatIsThereAlreadyStopsIt) {
  Fill();
  InsertTwice();
  ExpectStop("clash", "id");
  EXPECT_EQ(AskTarget("SELECT count(*) FROM clash WHERE id = 101"), "0") << "nothing after it";
  // Started again it stops again, until the row is gone; it looks by itself.
  Stop();
  Serve();
  ExpectStop("clash", "part");
  OnTarget("DELETE FROM clash WHERE id = 100");
  ExpectTarget("SELECT count(*) FROM clash WHERE id IN (100, 101)", "2");
  Stop();
  Serve();
  StopAndCompare();
}

TEST_F(ApplyConflicts, TheCommandEndsWithAnError) {
  Fill();
  Stop();
  ServeWithout();
  InsertTwice();
  (void)WaitCaptured();
  Stop();
  if (HasFatalFailure()) return;
  const auto apply = Program({"apply", "--store", data_dir().string(), "--topic", name(),
                              "--target", target_url(), "--log-format", "json"});
  EXPECT_EQ(apply->Wait(std::chrono::seconds(60)), 1);
  EXPECT_THAT(apply->errors(),
              AllOf(HasSubstr("clash"), HasSubstr("on-conflict"), Not(HasSubstr(kSecret))));
}

TEST_F(ApplyConflicts, AnotherRowWithTheSameUniqueValueStopsIt) {
  Fill();
  OnTarget("INSERT INTO clash VALUES (200, 1, NULL, 'taken')");
  Sql("INSERT INTO clash VALUES (201, 1, NULL, 'taken')");
  ExpectStop("clash", "u");
}

TEST_F(ApplyConflicts, ARowThatIsMissingStopsIt) {
  Fill();
  UpdateMissing();
  ExpectStop("clash", "id");
  EXPECT_EQ(AskTarget("SELECT count(*) FROM clash WHERE v = 'new'"), "0");
}

TEST_F(ApplyConflicts, ARowThatIsMissingForADeleteStopsIt) {
  Fill();
  DeleteMissing();
  ExpectStop("clash", "id");
  EXPECT_EQ(AskTarget("SELECT count(*) FROM clash WHERE id = 8"), "1");
}

TEST_F(ApplyConflicts, OneOfSeveralIdenticalRowsThatIsMissingStopsIt) {
  Fill();
  OnTarget("DELETE FROM whole WHERE ctid = (SELECT min(ctid) FROM whole WHERE a = 2)");
  Sql("DELETE FROM whole WHERE a = 2");
  if (HasFatalFailure()) return;
  EXPECT_THAT(WhyStopped(), AllOf(HasSubstr("whole"), Not(HasSubstr(kSecret))));
  EXPECT_EQ(AskTarget("SELECT count(*) FROM whole WHERE a = 2"), "3");
}

TEST_F(ApplyConflicts, SkippedTheTargetKeepsItsOwn) {
  Fill({"--on-conflict", "skip"});
  InsertTwice();
  UpdateMissing();
  DeleteMissing();
  WaitApplied();
  if (HasFatalFailure()) return;
  Stop();
  EXPECT_EQ(AskTarget("SELECT v FROM clash WHERE id = 100"), "s3cret of the target");
  EXPECT_EQ(AskTarget("SELECT count(*) FROM clash WHERE id = 5"), "0");
  EXPECT_EQ(AskTarget("SELECT count(*) FROM clash WHERE v = 'new'"), "1");
  EXPECT_EQ(AskTarget("SELECT count(*) FROM clash WHERE id IN (6, 7, 8, 101)"), "1");
  // Passed over, but not in silence.
  EXPECT_THAT(serve().process().errors(),
              AllOf(HasSubstr("\"warning\""), HasSubstr("clash"), Not(HasSubstr(kSecret))));
}

TEST_F(ApplyConflicts, OverwrittenTheTargetIsAsTheSource) {
  Fill({"--on-conflict", "overwrite"});
  InsertTwice();
  UpdateMissing();
  DeleteMissing();
  OnTarget("INSERT INTO clash VALUES (300, 1, NULL, 'taken')");
  Sql("INSERT INTO clash VALUES (300, 1, 'x', 'y'); UPDATE clash SET u = 'z' WHERE id = 300");
  StopAndCompare();
  EXPECT_THAT(serve().process().errors(), AllOf(HasSubstr("clash"), Not(HasSubstr(kSecret))));
}

TEST_F(ApplyConflicts, AMissingTableStopsItByName) {
  Fill();
  OnTarget("DROP TABLE clash");
  Sql("INSERT INTO clash VALUES (400, 1)");
  if (HasFatalFailure()) return;
  EXPECT_THAT(WhyStopped(), HasSubstr("clash"));
}

TEST_F(ApplyConflicts, AMissingColumnStopsItByName) {
  Fill();
  OnTarget("ALTER TABLE clash DROP v");
  Sql("UPDATE clash SET v = 'x' WHERE id = 3");
  if (HasFatalFailure()) return;
  EXPECT_THAT(WhyStopped(), AllOf(HasSubstr("clash"), HasSubstr("v")));
}

TEST_F(ApplyConflicts, ACommandThatFailsStopsItAndCanBeSkippedOnceRepaired) {
  Fill();
  OnTarget("CREATE TABLE later (id text PRIMARY KEY)");
  Sql("CREATE TABLE later (id int PRIMARY KEY)");
  Sql("INSERT INTO later VALUES (1)");
  if (HasFatalFailure()) return;
  const std::string log = WhyStopped();
  EXPECT_THAT(log, AllOf(HasSubstr("CREATE TABLE later"), HasSubstr("already exists"),
                         ContainsRegex("--skip-lsn '[0-9A-F]+/[0-9A-F]+\\|[0-9a-f]+'")));
  const std::string flag = "--skip-lsn '";
  const size_t begin = log.find(flag) + flag.size();
  ASSERT_GT(begin, flag.size()) << log;
  const std::string lsn = log.substr(begin, log.find('\'', begin) - begin);
  Stop();
  OnTarget("DROP TABLE later; CREATE TABLE later (id int PRIMARY KEY)");
  Serve({"--skip-lsn", lsn});
  Sql("ALTER TABLE later ADD v text; INSERT INTO later VALUES (2, 'x')");
  StopAndCompare();
  ExpectEqualSchema();
}

TEST_F(ApplyConflicts, ASecondSinkOfADatabaseDoesNotDisturbTheFirst) {
  Fill();
  const ServeProcess::Options options = ServeOptions();
  ServeProcess second({.program = options.program,
                       .source = options.source,
                       .data_dir = folder().path() / "second",
                       .flags = {"--topic", name() + "_second", "--replica", target_url()},
                       .wrapper = {}});
  ASSERT_TRUE(second.Launch().ok());
  // What the second has to say about it.
  EXPECT_TRUE(second.process().WaitForLine("sink", std::chrono::seconds(60)).has_value())
      << second.process().errors();
  Sql("INSERT INTO whole SELECT 7, 'x' FROM generate_series(1, 10)");
  WaitApplied();
  Sql("INSERT INTO whole SELECT 8, 'x' FROM generate_series(1, 10)");
  second.Kill();
  StopAndCompare();
  EXPECT_EQ(AskTarget("SELECT count(*) FROM pgcapture.sources WHERE commit IS NOT NULL"), "1");
}

TEST_F(ApplyConflicts, AGapInTheLogIsNeverPassedOver) {
  Fill();
  Stop();
  ServeWithout({"--hard-limit-bytes", "1MB"});
  if (HasFatalFailure()) return;
  const auto oldest = [this] {
    const auto topics = Program({"topics", "--gateway", serve().address(), "--format", "json"});
    EXPECT_EQ(topics->Wait(std::chrono::seconds(30)), 0) << topics->errors();
    std::string text;
    for (const std::string& line : topics->output_lines()) text += line;
    const size_t begin = std::min(text.find("\"oldest\":"), text.size());
    return text.substr(begin, text.find(',', begin) - begin);
  };
  const std::string first = oldest();
  EXPECT_THAT(first, HasSubstr("oldest"));
  // What does not compress.
  for (int i = 0; i < 8; ++i) {
    Sql(fmt::format(
        "INSERT INTO clash SELECT {} * 10000 + i, 2, (SELECT string_agg(md5((i * j + {})::text), "
        "'') FROM generate_series(1, 30) j), NULL FROM generate_series(1, 1000) i",
        i + 1, i));
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(90);
  while (oldest() == first) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << first;
    ASSERT_FALSE(serve().process().Wait(std::chrono::milliseconds(200)).has_value());
  }
  Stop();
  Serve();
  EXPECT_THAT(WhyStopped(), HasSubstr("removed"));
  EXPECT_EQ(AskTarget("SELECT count(*) FROM clash"), "20");
}

}  // namespace
}  // namespace pgc
