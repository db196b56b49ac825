// Wrong input and what breaks: one clear message, the right exit code, nothing lost.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>

#include "client/capture_client.h"
#include "e2e/serve/serve_fixture.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr seconds kWait{60};

class WrongInput : public ServeTest {
 protected:
  // Starts serve with these flags and expects it to end with `code`, saying each of `parts`.
  void ExpectEnd(const std::string& source, std::vector<std::string> flags, int code,
                 const std::vector<std::string>& parts) {
    flags.insert(flags.begin(), {"serve", "--log-format", "json"});
    const auto serve = Program(std::move(flags), {"PGCAPTURE_SOURCE=" + source});
    EXPECT_EQ(serve->Wait(kWait), code) << serve->errors();
    for (const std::string& part : parts) {
      EXPECT_NE(serve->errors().find(part), std::string::npos)
          << "no '" << part << "' in: " << serve->errors();
    }
    EXPECT_TRUE(serve->output_lines().empty()) << "stdout is for data";
  }
  std::vector<std::string> Flags(std::vector<std::string> further = {}) const {
    further.insert(further.end(), {"--topic", name(), "--data-dir", data_dir().string(), "--no-ddl",
                                   "--listen", "127.0.0.1:0"});
    return further;
  }
};

TEST_F(WrongInput, WrongUsageEndsWithTwo) {
  EXPECT_EQ(Program({})->Wait(kWait), 2);
  EXPECT_EQ(Program({"serve"})->Wait(kWait), 2) << "no --source";
  EXPECT_EQ(Program({"serve", "--source", "postgres://", "--no-such-flag"})->Wait(kWait), 2);
  EXPECT_EQ(Program({"tail", "--format", "xml"})->Wait(kWait), 2);
  EXPECT_EQ(Program({"tail", "--limit", "-1"})->Wait(kWait), 2);
  EXPECT_EQ(Program({"serve", "--source", "postgres://", "--tables", "a", "--skip-tables", "b"})
                ->Wait(kWait),
            2);
  EXPECT_EQ(Program({"--help"})->Wait(kWait), 0);
  EXPECT_EQ(Program({"version"})->Wait(kWait), 0);
}

TEST_F(WrongInput, AnUnknownDatabaseIsNamed) {
  ExpectEnd(postgres_->Url("no_such_database"), Flags(), 1, {"no_such_database"});
}

TEST_F(WrongInput, AUrlThatIsNoneIsRefused) {
  ExpectEnd("this is no URL", Flags(), 2, {"--source", "postgres://"});
}

TEST_F(WrongInput, AnAddressBeyondLoopbackNeedsInsecure) {
  auto flags = Flags();
  flags.back() = "0.0.0.0:0";
  ExpectEnd(url(), flags, 1, {"0.0.0.0", "--insecure"});
}

TEST_F(WrongInput, AnAddressInUseIsNamed) {
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  auto flags = Flags();
  flags.back() = serve.address();
  flags.insert(flags.end(), {"--data-dir", (folder() / "other").string()});
  // The later --data-dir counts; without it the directory would be in use as well.
  flags.erase(flags.begin() + 2, flags.begin() + 4);
  ExpectEnd(url(), flags, 1, {serve.address()});
}

TEST_F(WrongInput, ADataDirectoryInUseIsNamed) {
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  ExpectEnd(url(), Flags(), 1, {data_dir().string(), "in use"});
}

TEST_F(WrongInput, ADataDirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(folder() / "file") << "in the way";
  auto flags = Flags();
  flags[3] = (folder() / "file/data").string();
  ASSERT_EQ(flags[2], "--data-dir");
  ExpectEnd(url(), flags, 1, {flags[3]});
}

TEST_F(WrongInput, AFolderOfOtherFilesIsNotTaken) {
  std::filesystem::create_directory(data_dir());
  std::ofstream(data_dir() / "thesis.txt") << "mine";
  ExpectEnd(url(), Flags(), 1, {data_dir().string()});
  EXPECT_TRUE(std::filesystem::exists(data_dir() / "thesis.txt"));
}

TEST_F(WrongInput, ASlotInUseIsNamedAndTheOtherGoesOn) {
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  auto flags = Flags();
  flags[3] = (folder() / "other").string();
  ExpectEnd(url(), flags, 1, {name(), "slot"});
  EXPECT_EQ(serve.Stop(), 0);
}

TEST_F(WrongInput, TablesWithoutAKeyAreListedBeforeAnythingIsChanged) {
  Sql("CREATE TABLE keyless (v int); CREATE TABLE keyed (id int PRIMARY KEY)");
  ExpectEnd(url(), Flags(), 1,
            {"public.keyless", "--replica-identity-full", "--tables", "--skip-tables"});
  Sql("INSERT INTO keyless VALUES (1); UPDATE keyless SET v = 2; DELETE FROM keyless");
  Sql("DO $$ BEGIN IF EXISTS (SELECT FROM pg_publication) THEN RAISE 'a publication'; END IF; END "
      "$$");
  ServeProcess serve(ServeOptions({"--no-ddl", "--skip-tables", "keyless"}));
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  Sql("INSERT INTO keyless VALUES (1); UPDATE keyless SET v = 2; DELETE FROM keyless");
}

TEST_F(WrongInput, ReplicaIdentityFullLetsTablesWithoutAKeyBeCaptured) {
  Sql("CREATE TABLE keyless (v int)");
  ServeProcess serve(ServeOptions({"--no-ddl", "--replica-identity-full"}));
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const auto tail = Tail(serve, name(), 2);
  Sql("INSERT INTO keyless VALUES (1); UPDATE keyless SET v = 2");
  ASSERT_EQ(tail->Wait(kWait), 0) << tail->errors();
  EXPECT_NE(tail->output_lines()[1].find(R"("new":{"v":2},"old":{"v":1})"), std::string::npos);
}

TEST_F(WrongInput, AServerWithoutLogicalDecodingIsTold) {
  auto server = PostgresServer::Start({{"wal_level", "replica"}});
  ASSERT_TRUE(server.ok()) << server.status();
  ExpectEnd((*server)->Url("postgres"), Flags(), 1, {"wal_level", "logical"});
}

TEST_F(WrongInput, ARoleThatMayNotReplicateIsNamed) {
  Sql("CREATE ROLE mere LOGIN");
  ExpectEnd(postgres_->Url(name(), "mere"), Flags(), 1, {"mere", "REPLICATION"});
}

TEST_F(WrongInput, AnOlderCopyOfTheLogIsRefused) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  ServeProcess serve(ServeOptions());
  const std::filesystem::path copy = folder() / "copy";
  for (const char* rows : {"1, 10", "11, 20"}) {
    ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
    const auto tail = Tail(serve, name(), 10);
    Sql(fmt::format("INSERT INTO t SELECT generate_series({})", rows));
    ASSERT_EQ(tail->Wait(kWait), 0);
    EXPECT_EQ(serve.Stop(), 0);
    if (!std::filesystem::exists(copy)) {
      std::filesystem::copy(data_dir(), copy, std::filesystem::copy_options::recursive);
    }
  }
  auto flags = Flags();
  flags[3] = copy.string();
  const auto doctor = [this](const std::filesystem::path& log) {
    auto process = Program(
        {"doctor", "--source", url(), "--topic", name(), "--no-ddl", "--data-dir", log.string()});
    const int code = process->Wait(kWait).value_or(-1);
    std::string text = fmt::format("{}:", code);
    for (const std::string& line : process->output_lines()) {
      if (line.find("log: ") != std::string::npos) text += line;
    }
    return text;
  };
  EXPECT_THAT(doctor(copy), AllOf(StartsWith("1:mend"), HasSubstr("past the log")));
  ExpectEnd(url(), flags, 1, {name(), "past the log", "drop the slot"});
  ASSERT_TRUE(serve.Start().ok()) << "nothing was lost: " << serve.process().errors();
  EXPECT_THAT(doctor(data_dir()), AllOf(StartsWith("0:ok"), HasSubstr("has what follows")));
  EXPECT_EQ(serve.Stop(), 0);
  Sql(fmt::format("SELECT pg_drop_replication_slot('{}')", name()));
  ExpectEnd(url(), Flags(), 1, {name(), "empty data directory"});
}

TEST_F(WrongInput, APasswordIsSeenNowhere) {
  const std::string source =
      fmt::format("postgres://postgres:hunter22@127.0.0.1:{}/{}", postgres_->port(), name());
  const auto serve = Program({"serve", "--source", source, "--topic", name(), "--data-dir",
                              data_dir().string(), "--no-ddl", "--listen", "127.0.0.1:0",
                              "--log-format", "json", "--log-level", "debug"});
  ASSERT_TRUE(serve->WaitForLine(R"("message":"capturing")", kWait).has_value()) << serve->errors();
  std::ifstream file(fmt::format("/proc/{}/cmdline", serve->pid()));
  const std::string arguments((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(arguments.find("hunter22"), std::string::npos);
  EXPECT_NE(arguments.find("postgres:***@"), std::string::npos) << "it was there to be masked";
  serve->Signal(SIGTERM);
  EXPECT_EQ(serve->Wait(kWait), 0);
  EXPECT_EQ(serve->errors().find("hunter22"), std::string::npos);
}

TEST_F(WrongInput, AFullDiskStopsCaptureAndLosesNothing) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  const std::string disk = (folder() / "disk").string();
  std::filesystem::create_directory(disk);
  auto options = ServeOptions();
  options.data_dir = disk + "/data";
  options.wrapper = OnSmallDisk(
      disk, "24m", R"(cp -a "$0.kept/." "$0" && trap 'cp -a "$0/." "$0.kept"' EXIT && "$@")");
  std::filesystem::create_directory(disk + ".kept");
  ServeProcess serve(options);
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  // Hardly compressible, and more than the disk has room for.
  Sql("INSERT INTO t SELECT i, (SELECT string_agg(md5(random()::text || i || j), '') FROM "
      "generate_series(1, 60) j) FROM generate_series(1, 40000) i");
  ASSERT_EQ(serve.process().Wait(kWait), 1) << serve.process().errors();
  EXPECT_NE(serve.process().errors().find(disk), std::string::npos) << serve.process().errors();
  EXPECT_NE(serve.process().errors().find("make room"), std::string::npos)
      << serve.process().errors();

  // The same directory on a disk with room: nothing is missing.
  auto roomy = ServeOptions();
  roomy.data_dir = disk + ".kept/data";
  ServeProcess again(roomy);
  ASSERT_TRUE(again.Start().ok()) << again.process().errors();
  auto connection = Connection::Open(url());
  ASSERT_TRUE(connection.ok());
  const auto end = (*connection)->Query("SELECT pg_current_wal_lsn()");
  ASSERT_TRUE(end.ok());
  const std::string behind = fmt::format(
      "SELECT confirmed_flush_lsn >= '{}' FROM pg_replication_slots WHERE slot_name = '{}'",
      end->Text(0, 0), name());
  const auto deadline = std::chrono::steady_clock::now() + kWait;
  bool caught_up = false;
  while (!caught_up && std::chrono::steady_clock::now() < deadline) {
    const auto result = (*connection)->Query(behind);
    ASSERT_TRUE(result.ok());
    caught_up = result->Bool(0, 0);
  }
  EXPECT_TRUE(caught_up);
  EXPECT_EQ(again.Stop(), 0) << again.process().errors();
}

TEST_F(WrongInput, AConsumerIsToldWhatIsWrong) {
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const auto tail = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"tail", "--gateway", serve.address()});
    auto process = Program(std::move(flags));
    EXPECT_EQ(process->Wait(kWait), 1);
    return process->errors();
  };
  EXPECT_NE(tail({"--uri", "nowhere"}).find("nowhere"), std::string::npos);
  EXPECT_NE(tail({"--topic", name(), "--table", "("}).find("missing )"), std::string::npos);
  auto nobody = Program({"tail", "--gateway", "127.0.0.1:1"});
  EXPECT_EQ(nobody->Wait(kWait), 1);
  EXPECT_NE(nobody->errors().find("127.0.0.1:1"), std::string::npos) << nobody->errors();
}

// Every `--word-word` in `text`.
std::set<std::string> FlagsIn(const std::string& text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz-";
  std::set<std::string> flags;
  for (size_t at = text.find("--"); at != std::string::npos; at = text.find("--", at + 2)) {
    const size_t end = std::min(text.find_first_not_of(kLetters, at), text.size());
    if (end > at + 2 && text[at + 2] != '-') flags.insert(text.substr(at, end - at));
    at = end;
  }
  return flags;
}

TEST_F(WrongInput, EveryFlagOfTheDocumentsExists) {
  std::string help;
  for (const char* command : {"serve", "tail", "topics", "doctor"}) {
    const auto process = Program({command, "--help"});
    ASSERT_EQ(process->Wait(kWait), 0);
    for (const std::string& line : process->output_lines()) help += line + "\n";
  }
  const std::set<std::string> known = FlagsIn(help);
  ASSERT_TRUE(known.contains("--source"));
  for (const char* page : {"README.md", "docs/operations.md"}) {
    std::ifstream file(std::filesystem::path(PGC_SOURCE_DIR) / page);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    ASSERT_FALSE(text.empty()) << page;
    for (const std::string& flag : FlagsIn(text)) {
      EXPECT_TRUE(known.contains(flag)) << flag << " of " << page;
    }
  }
}

}  // namespace
}  // namespace pgc
