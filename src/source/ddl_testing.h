// Fixtures for tests of the capture of DDL, whichever way it is captured.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "source/ddl_capture.h"
#include "source/postgres_source.h"
#include "sql/statement.h"
#include "testing/database_test.h"
#include "testing/source_reader.h"

namespace pgc {

// A row of the log of DDL as `exact query`, the query as a literal; other events as they are.
inline std::string ShortDdl(const std::string& event) {
  if (!event.starts_with("table pgcapture.ddl_logs: INSERT:")) return event;
  const auto value = [&event](const std::string& column) {
    const size_t begin = event.find(" " + column + ":") + column.size() + 2;
    size_t end = begin;
    // Up to the end of a literal, or of the word.
    bool quoted = false;
    while (end < event.size() && (quoted || event[end] != ' ')) {
      if (event[end] == '\'') quoted = !quoted;
      ++end;
    }
    return event.substr(begin, end - begin);
  };
  return value("exact[boolean]") + " " + value("query[text]");
}

// A database in which `variant` captures DDL, and a slot from before anything was done.
class DdlTest : public DatabaseTest {
 protected:
  explicit DdlTest(DdlVariant variant) : variant_(variant) {}

  void SetUp() override {
    DatabaseTest::SetUp();
    Sql("CREATE PUBLICATION topic FOR ALL TABLES WITH (publish_via_partition_root = true)");
    Sql("SELECT pg_create_logical_replication_slot('topic', 'pgoutput')");
    options_.url = server_->Url(name_);
    options_.topic = "topic";
    const auto installed = Install(variant_);
    ASSERT_TRUE(installed.ok()) << installed.status();
  }
  absl::StatusOr<DdlVariant> Install(std::optional<DdlVariant> wanted) {
    return InstallDdlCapture(*sql_, wanted, {});
  }
  // What has been captured, in short, without Begin and Commit.
  std::vector<std::string> Captured() {
    SourceReader reader(NewPostgresSource(options_));
    EXPECT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    std::vector<std::string> events;
    for (const std::string& event : reader.WaitForPosition(WalEnd())) {
      if (event != "BEGIN" && event != "COMMIT") events.push_back(ShortDdl(event));
    }
    return events;
  }
  // The texts of the commands that were captured. All of them are exact.
  std::vector<std::string> CapturedCommands() {
    constexpr std::string_view kExact = "true '";
    std::vector<std::string> commands;
    for (const std::string& event : Captured()) {
      if (event.starts_with("table ")) continue;
      EXPECT_EQ(event.substr(0, kExact.size()), kExact) << event;
      std::string text;
      for (size_t i = kExact.size(); i + 1 < event.size(); ++i) {
        text += event[i];
        if (event[i] == '\'') ++i;  // it stands twice
      }
      commands.push_back(text);
    }
    return commands;
  }

  const DdlVariant variant_;
  PostgresSourceOptions options_;
};

// The list of commands that every kind of DDL is in, as statements.
class EveryCommandTest : public DdlTest {
 protected:
  using DdlTest::DdlTest;

  void SetUp() override {
    DdlTest::SetUp();
    std::ifstream file(PGC_SOURCE_DIR "/tests/ddl/commands.sql");
    text_.assign(std::istreambuf_iterator<char>(file), {});
    auto statements = SplitSql(text_);
    ASSERT_TRUE(statements.ok()) << statements.status();
    statements_ = *std::move(statements);
    ASSERT_GT(statements_.size(), 150u);
    Sql("CREATE ROLE ddl_other");
  }
  void TearDown() override {
    Sql("DROP OWNED BY ddl_other CASCADE; DROP ROLE ddl_other");
    DdlTest::TearDown();
  }
  void RunAlone(const std::vector<SqlStatement>& statements) {
    for (const SqlStatement& statement : statements) {
      const absl::Status status = sql_->Execute(std::string(statement.text));
      ASSERT_TRUE(status.ok()) << status << "\n" << statement.text;
    }
  }
  // In strings of a dozen, with others between them; what must be alone is left out. Those that
  // ran.
  std::vector<SqlStatement> RunInStrings() {
    std::vector<SqlStatement> sent;
    std::string string;
    for (const SqlStatement& statement : statements_) {
      if (statement.text.find("CONCURRENTLY") != std::string_view::npos) continue;
      sent.push_back(statement);
      string += std::string(statement.text) + (sent.size() % 2 == 0 ? "\n;;" : " ;SELECT 1; ");
      if (sent.size() % 12 != 0) continue;
      const absl::Status status = sql_->Execute(string);
      EXPECT_TRUE(status.ok()) << status << "\n" << string;
      string.clear();
    }
    EXPECT_TRUE(sql_->Execute(string + "SELECT 2").ok());
    return sent;
  }
  // Each of `statements` exactly once, in order, under its tag. A comment before it may be there.
  void ExpectCaptured(const std::vector<SqlStatement>& statements) {
    const std::vector<std::string> commands = CapturedCommands();
    const auto tags = sql_->Query("SELECT tags[1] FROM pgcapture.ddl_logs ORDER BY id");
    ASSERT_TRUE(tags.ok()) << tags.status();
    for (size_t i = 0; i < std::min(commands.size(), statements.size()); ++i) {
      const auto captured = SplitSql(commands[i]);
      ASSERT_TRUE(captured.ok()) << captured.status();
      ASSERT_EQ(captured->size(), 1u) << commands[i];
      ASSERT_EQ(captured->front().text, statements[i].text) << i;
      std::string tag(tags->Text(static_cast<int>(i), 0));
      if (tag == "SELECT") tag = "SELECT INTO";
      ASSERT_EQ(tag, statements[i].tag) << statements[i].text;
    }
    EXPECT_EQ(commands.size(), statements.size());
  }

  std::string text_;
  std::vector<SqlStatement> statements_;
};

}  // namespace pgc
