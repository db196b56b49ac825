// The extension's rows in the stream, and what a replica would make of them.
//
// Needs PostgreSQL 15 with the extension: in PGCAPTURE_EXTENSION_BIN, else where scripts/pgroot
// unpacks it and scripts/installcheck installs the extension.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "source/ddl_testing.h"
#include "testing/subprocess.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Bin() {
  const char* const given = std::getenv("PGCAPTURE_EXTENSION_BIN");
  return given != nullptr ? given : PGC_SOURCE_DIR "/build/pg/15/usr/lib/postgresql/15/bin";
}

// What the fixtures start.
// NOLINTNEXTLINE(cert-err58-cpp)
const bool kServer = setenv("PGCAPTURE_TEST_PG_BIN", Bin().c_str(), 1) == 0;

class Extension : public DdlTest {
 protected:
  Extension() : DdlTest(DdlVariant::kExtension) {}
};

class EveryCommand : public EveryCommandTest {
 protected:
  EveryCommand() : EveryCommandTest(DdlVariant::kExtension) {}

  // The statements that pg_dump writes for a database, but for those about the log of DDL.
  std::string Schema(const std::string& database) const {
    auto dump =
        pgc::Run({.args = {Bin() + "/pg_dump", "--schema-only", "--exclude-schema=pgcapture",
                           "--no-publications", "-d", server_->Url(database)},
                  .environment = {},
                  .directory = {}});
    EXPECT_TRUE(dump.ok()) << dump.status();
    std::istringstream lines(dump.value_or(""));
    std::string schema;
    for (std::string line; std::getline(lines, line);) {
      // \restrict has a key that is another one each time.
      if (line.empty() || line.starts_with("--") || line.starts_with("\\")) continue;
      if (line.find("pgcapture") == std::string::npos) schema += line + "\n";
    }
    return schema;
  }
};

TEST_F(EveryCommand, IsCapturedOnceInOrderUnderItsTag) {
  RunAlone(statements_);
  ExpectCaptured(statements_);
}

TEST_F(EveryCommand, IsTakenOutOfTheStringItCameIn) { ExpectCaptured(RunInStrings()); }

TEST_F(EveryCommand, RunAgainMakesTheSameDatabase) {
  // Up to where the list takes down what it has made.
  const auto end =
      std::find_if(statements_.begin(), statements_.end(),
                   [](const SqlStatement& one) { return one.text == "DROP TABLE t4, t5"; });
  ASSERT_NE(end, statements_.end());
  RunAlone({statements_.begin(), end});
  const std::vector<std::string> commands = CapturedCommands();
  const std::string copy = name_ + "_copy";
  Sql("CREATE DATABASE " + copy);
  auto replica = Connection::Open(server_->Url(copy));
  ASSERT_TRUE(replica.ok()) << replica.status();
  for (const std::string& command : commands) {
    const absl::Status status = (*replica)->Execute(command);
    ASSERT_TRUE(status.ok()) << status << "\n" << command;
  }
  const std::string schema = Schema(name_);
  EXPECT_GT(std::count(schema.begin(), schema.end(), '\n'), 200);
  EXPECT_EQ(Schema(copy), schema);
  Sql("DROP OWNED BY ddl_other CASCADE");
  ASSERT_TRUE((*replica)->Execute("DROP OWNED BY ddl_other CASCADE").ok());
}

TEST_F(Extension, CommandsOfFunctionsComeWithTheirText) {
  Sql("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'CREATE TABLE a (id int); DROP TABLE a'");
  Sql("SELECT f(); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1)");
  Sql("DO $$ BEGIN EXECUTE 'ALTER TABLE b ADD v text; DROP TABLE b'; END $$");
  EXPECT_THAT(Captured(),
              ElementsAre(HasSubstr("true 'CREATE FUNCTION f()"), "true 'CREATE TABLE a (id int)'",
                          "true 'DROP TABLE a'", "true 'CREATE TABLE b (id int PRIMARY KEY)'",
                          "table public.b: INSERT: id[integer]:1",
                          "true 'ALTER TABLE b ADD v text'", "true 'DROP TABLE b'"));
}

TEST_F(Extension, ATruncateOfOnePartitionIsInTheStream) {
  Sql("CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);"
      "CREATE TABLE part PARTITION OF root FOR VALUES FROM (0) TO (9); INSERT INTO root VALUES "
      "(1)");
  Sql("TRUNCATE part");
  const std::vector<std::string> events = Captured();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[2], "table public.root: INSERT: id[integer]:1");
  EXPECT_EQ(events[3], "?") << "no change";
}

TEST_F(Extension, OldRowsGoAwayUnseen) {
  Sql("CREATE TABLE a (id int PRIMARY KEY)");
  EXPECT_EQ(Ask("SELECT pgcapture.prune('0')"), "1");
  Sql("INSERT INTO a VALUES (1)");
  EXPECT_THAT(Captured(), ElementsAre("true 'CREATE TABLE a (id int PRIMARY KEY)'",
                                      "table public.a: INSERT: id[integer]:1"));
}

TEST_F(Extension, OfAnotherVersionIsNamedAndCaptures) {
  const auto log_with = [this](const std::string& version) {
    Sql("UPDATE pg_extension SET extversion = '" + version + "' WHERE extname = 'pgcapture'");
    testing::internal::CaptureStderr();
    EXPECT_TRUE(EnsureDdlCapture(*sql_, {}).ok());
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(log_with("0.1"), HasSubstr("ALTER EXTENSION pgcapture UPDATE"));
  EXPECT_THAT(log_with("0.3"), HasSubstr("newer than this program"));
  EXPECT_THAT(log_with("0.10"), HasSubstr("newer than this program"));
  EXPECT_THAT(log_with(kDdlCaptureVersion),
              AllOf(HasSubstr("captured by the extension"), Not(HasSubstr("warning"))));
}

TEST_F(Extension, AndPlainSqlTakeEachOthersPlace) {
  Sql("INSERT INTO pgcapture.sources (id, commit) VALUES ('topic', '0/12');"
      "CREATE PUBLICATION listed FOR TABLE pgcapture.ddl_logs; CREATE TABLE a (id int)");
  const std::string last = Ask("SELECT max(id) FROM pgcapture.ddl_logs");
  ASSERT_TRUE(Install(DdlVariant::kSql).ok());
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_extension WHERE extname = 'pgcapture'"), "0");
  Sql("CREATE TABLE b (id int)");
  EXPECT_EQ(Ask("SELECT min(id) > " + last + " FROM pgcapture.ddl_logs"), "t");
  ASSERT_TRUE(Install(DdlVariant::kExtension).ok());
  Sql("CREATE TABLE c (id int)");
  ASSERT_TRUE(Install(std::nullopt).ok());
  EXPECT_EQ(Ask("SELECT id || ' ' || commit FROM pgcapture.sources"), "topic 0/12");
  EXPECT_EQ(Ask("SELECT tablename FROM pg_publication_tables WHERE pubname = 'listed'"),
            "ddl_logs");
  EXPECT_THAT(Captured(),
              ElementsAre("true 'CREATE TABLE a (id int)'", "true 'CREATE TABLE b (id int)'",
                          "true 'CREATE TABLE c (id int)'"));
  Sql("DROP EXTENSION pgcapture; DROP TABLE a");
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_event_trigger"), "0");
}

}  // namespace
}  // namespace pgc
