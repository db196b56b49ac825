#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "sink/ddl_replay_testing.h"
#include "source/ddl_testing.h"
#include "testing/subprocess.h"

namespace pgc {
namespace {

// Every kind of command, captured from one database and repeated on another.
class EveryCommandReplayed : public EveryCommandTest {
 protected:
  EveryCommandReplayed() : EveryCommandTest(DdlVariant::kSql) {}

  void SetUp() override {
    EveryCommandTest::SetUp();
    auto admin = Connection::Open(server_->Url("postgres"));
    ASSERT_TRUE(admin.ok()) << admin.status();
    ASSERT_TRUE((*admin)->Execute("CREATE DATABASE " + target_name()).ok());
    target_ = std::make_unique<TargetSession>(server_->Url(target_name()));
    // The replica's own event triggers, for a capture of the replica.
    const auto installed = InstallDdlCapture(**target_, variant_, {});
    ASSERT_TRUE(installed.ok()) << installed.status();
    target_ = std::make_unique<TargetSession>(server_->Url(target_name()));
  }
  void TearDown() override {
    target_ = nullptr;
    auto admin = Connection::Open(server_->Url("postgres"));
    ASSERT_TRUE(admin.ok()) << admin.status();
    EXPECT_TRUE((*admin)->Execute("DROP DATABASE " + target_name()).ok());
    EveryCommandTest::TearDown();
  }
  std::string target_name() const { return name_ + "_target"; }

  // What was captured since the last call, on the target.
  void Replay() {
    const auto source = NewPostgresSource(options_);
    const auto events = ReadTo(*source, WalEnd(), kTestTimeout);
    ASSERT_TRUE(events.ok()) << events.status();
    for (const CapturedEvent& event : *events) {
      if (event.kind == EventKind::kBegin) replay_.BeginTransaction();
      const CapturedChange captured = ParseChange(event);
      if (captured.table != "ddl_logs") continue;
      const auto command = ParseDdlCommand(ChangeOf(captured), event.checkpoint);
      ASSERT_TRUE(command.ok()) << command.status();
      const absl::Status status = target_->Run(replay_, *command);
      ASSERT_TRUE(status.ok()) << status;
      ++replayed_;
    }
  }
  // The statements that pg_dump writes for a database.
  std::string Dump(const std::string& database) {
    const std::string bin = Ask("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
    const auto dump = pgc::Run({.args = {bin + "/pg_dump", "--schema-only", "--no-publications",
                                         "-d", server_->Url(database)},
                                .environment = {},
                                .directory = {}});
    EXPECT_TRUE(dump.ok()) << dump.status();
    std::istringstream lines(dump.value_or(""));
    std::string statements;
    for (std::string line; std::getline(lines, line);) {
      // \restrict has a key that is another one each time.
      if (!line.starts_with("--") && !line.starts_with("\\")) statements += line + "\n";
    }
    return statements;
  }
  void ExpectSameSchemas() {
    const std::string source = Dump(name_);
    ASSERT_GT(source.size(), 1000u);
    ASSERT_EQ(source, Dump(target_name()));
  }

  DdlReplay replay_{DdlOptions{}};
  std::unique_ptr<TargetSession> target_;
  size_t replayed_ = 0;
};

TEST_F(EveryCommandReplayed, MakesTheSameSchemaAndTheSameLog) {
  constexpr size_t kStep = 25;
  for (size_t begin = 0; begin < statements_.size(); begin += kStep) {
    const size_t end = std::min(begin + kStep, statements_.size());
    RunAlone({statements_.begin() + static_cast<ptrdiff_t>(begin),
              statements_.begin() + static_cast<ptrdiff_t>(end)});
    ASSERT_NO_FATAL_FAILURE(Replay());
    ASSERT_NO_FATAL_FAILURE(ExpectSameSchemas()) << "after " << statements_[end - 1].text;
  }
  EXPECT_EQ(replayed_, statements_.size());
  constexpr char kLog[] =
      "SELECT string_agg(tags[1], ' ' ORDER BY id) FROM pgcapture.ddl_logs WHERE exact";
  const auto logged = (*target_)->Query(kLog);
  ASSERT_TRUE(logged.ok()) << logged.status();
  std::string made = Ask(kLog);
  for (size_t at = made.find("SELECT"); at != std::string::npos; at = made.find("SELECT", at)) {
    made.replace(at, 6, "CREATE TABLE AS");
  }
  EXPECT_EQ(logged->Text(0, 0), made);
}

TEST_F(EveryCommandReplayed, MakesTheSameSchemaFromStringsOfSeveral) {
  const std::vector<SqlStatement> sent = RunInStrings();
  ASSERT_NO_FATAL_FAILURE(Replay());
  EXPECT_EQ(replayed_, sent.size());
  ExpectSameSchemas();
}

}  // namespace
}  // namespace pgc
