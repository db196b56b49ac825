#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>

#include "pg/connection.h"
#include "source/doctor.h"
#include "source/slot.h"
#include "testing/postgres_server.h"
#include "testing/slots.h"

namespace pgc {
namespace {

using Level = Finding::Level;

std::vector<Finding> ExamineAll(const PostgresSourceOptions& options,
                                const std::optional<ResumePoint>& log = {}) {
  LogReader read_log;
  if (log.has_value()) read_log = [&log] { return *log; };
  auto findings = Examine(options, read_log, {});
  EXPECT_TRUE(findings.ok()) << findings.status();
  return findings.ok() ? *std::move(findings) : std::vector<Finding>();
}

const Finding* Find(const std::vector<Finding>& findings, std::string_view check) {
  for (const Finding& finding : findings) {
    if (finding.check == check) return &finding;
  }
  return nullptr;
}

// What there is to mend, by the name of its check.
std::vector<std::string> ToMend(const std::vector<Finding>& findings) {
  std::vector<std::string> checks;
  for (const Finding& finding : findings) {
    if (finding.level != Level::kMend) continue;
    checks.push_back(finding.check);
    EXPECT_FALSE(finding.remedy.empty()) << finding.check;
  }
  return checks;
}

using Checks = std::vector<std::string>;

TEST(Doctor, FindsNothingToMendOnAServerThatServeCanUse) {
  auto server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  PostgresSourceOptions options;
  options.url = (*server)->Url("postgres");
  const auto findings = ExamineAll(options);
  EXPECT_EQ(ToMend(findings), Checks());
  ASSERT_NE(Find(findings, "ddl"), nullptr);
  options.no_ddl = true;
  EXPECT_EQ(Find(ExamineAll(options), "ddl"), nullptr);

  auto connection = Connection::Open(options.url);
  ASSERT_TRUE(connection.ok());
  EXPECT_EQ((*connection)->Query("SELECT count(*) FROM pg_replication_slots")->Int(0, 0), 0);
  EXPECT_EQ((*connection)->Query("SELECT count(*) FROM pg_publication")->Int(0, 0), 0);
}

TEST(Doctor, NamesEachThingToMend) {
  auto server = PostgresServer::Start({{"wal_level", "replica"}});
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = Connection::Open((*server)->Url("postgres"));
  ASSERT_TRUE(connection.ok());
  ASSERT_TRUE((*connection)
                  ->Execute("CREATE ROLE mere LOGIN; CREATE TABLE keyless (v int);"
                            "CREATE TABLE keyed (id int PRIMARY KEY)")
                  .ok());
  PostgresSourceOptions options;
  options.url = (*server)->Url("postgres", "mere");
  auto findings = ExamineAll(options);
  EXPECT_EQ(ToMend(findings),
            (Checks{"wal_level", "replication", "walsender", "publication", "replica identity"}));
  EXPECT_NE(Find(findings, "replica identity")->message.find("public.keyless"), std::string::npos);

  options.tables = {"keyed", "missing"};
  findings = ExamineAll(options);
  ASSERT_NE(Find(findings, "tables"), nullptr);
  EXPECT_NE(Find(findings, "tables")->message.find("public.missing"), std::string::npos);

  options.topic = "Upper";
  EXPECT_EQ(ToMend(ExamineAll(options)), (Checks{"topic"}));
}

TEST(Doctor, ASlotThatIsNotOursIsToBeMended) {
  auto server = PostgresServer::Start({{"max_replication_slots", "1"}});
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = Connection::Open((*server)->Url("postgres"));
  ASSERT_TRUE(connection.ok());
  ASSERT_TRUE((*connection)
                  ->Query("SELECT pg_create_logical_replication_slot('taken', 'test_decoding')")
                  .ok());
  PostgresSourceOptions options;
  options.url = (*server)->Url("postgres");
  options.topic = "taken";
  EXPECT_EQ(ToMend(ExamineAll(options)), (Checks{"slot"}));
  options.topic = "other";
  const auto findings = ExamineAll(options);
  ASSERT_NE(Find(findings, "max_replication_slots"), nullptr);
  EXPECT_EQ(Find(findings, "max_replication_slots")->level, Level::kMend);
}

TEST(Doctor, LooksWhetherTheSlotHasWhatFollowsTheLog) {
  auto server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = Connection::Open((*server)->Url("postgres"));
  ASSERT_TRUE(connection.ok());
  PostgresSourceOptions options;
  options.url = (*server)->Url("postgres");
  options.no_ddl = true;
  ResumePoint log;
  EXPECT_EQ(Find(ExamineAll(options), "log"), nullptr);
  EXPECT_EQ(Find(ExamineAll(options, log), "log")->level, Level::kFine);

  ASSERT_TRUE(NewPostgresSource(options)->Open({}, {}).ok());
  ASSERT_TRUE(WaitUntilSlotsAreFree(**connection).ok());
  const auto confirmed =
      (*connection)
          ->Query(
              "SELECT confirmed_flush_lsn, (SELECT system_identifier FROM pg_control_system())"
              " FROM pg_replication_slots");
  ASSERT_TRUE(confirmed.ok());
  log.captured = *ParseLsn(confirmed->Text(0, 0));
  log.origin =
      fmt::format("system={} timeline=1 database=postgres", std::string(confirmed->Text(0, 1)));
  auto findings = ExamineAll(options, log);
  EXPECT_EQ(ToMend(findings), Checks());
  EXPECT_NE(Find(findings, "log")->message.find(ToString(log.captured)), std::string::npos);

  ResumePoint older = log;
  --older.captured.value;
  findings = ExamineAll(options, older);
  EXPECT_EQ(ToMend(findings), (Checks{"log"}));
  EXPECT_NE(Find(findings, "log")->message.find("past the log"), std::string::npos);

  ResumePoint other = log;
  other.origin = "system=1 timeline=1 database=postgres";
  findings = ExamineAll(options, other);
  EXPECT_EQ(ToMend(findings), (Checks{"log"}));
  EXPECT_NE(Find(findings, "log")->message.find("system identifier 1"), std::string::npos);

  ASSERT_TRUE((*connection)->Execute("DROP PUBLICATION pgcapture").ok());
  findings = ExamineAll(options, log);
  EXPECT_EQ(Find(findings, "publication")->level, Level::kWarning);
  ASSERT_TRUE((*connection)->Execute("SELECT pg_drop_replication_slot('pgcapture')").ok());
  EXPECT_EQ(ToMend(ExamineAll(options, log)), (Checks{"log"}));
}

TEST(Doctor, WarnsOfAFailoverThatCaptureWouldNotSurvive) {
  auto server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = Connection::Open((*server)->Url("postgres"));
  ASSERT_TRUE(connection.ok());
  PostgresSourceOptions options;
  options.url = (*server)->Url("postgres");
  options.no_ddl = true;
  EXPECT_EQ(Find(ExamineAll(options), "failover")->level, Level::kFine);
  ASSERT_TRUE((*connection)->Execute("SELECT pg_create_physical_replication_slot('standby')").ok());
  const auto findings = ExamineAll(options);
  EXPECT_EQ(Find(findings, "failover")->level, Level::kWarning);
  EXPECT_FALSE(Find(findings, "failover")->remedy.empty());
  if ((*connection)->server_version() < kFailoverVersion) return;
  // A slot that nobody follows yet, and that capture would wait for.
  ASSERT_TRUE(
      (*connection)->Execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby';").ok());
  ASSERT_TRUE((*server)->Restart().ok());
  EXPECT_EQ(Find(ExamineAll(options), "failover")->level, Level::kFine);
}

TEST(Doctor, AServerThatIsNotThereIsAFinding) {
  PostgresSourceOptions options;
  options.url = "postgres://postgres@127.0.0.1:1/postgres";
  EXPECT_EQ(ToMend(ExamineAll(options)), (Checks{"connection"}));
}

}  // namespace
}  // namespace pgc
