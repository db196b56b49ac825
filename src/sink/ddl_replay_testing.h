// Fixtures for tests of the replay of DDL.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sink/ddl_replay.h"
#include "sink/session.h"
#include "testing/captured.h"
#include "testing/database_test.h"

namespace pgc {

// The captured row as a sink reads it; views of `captured`.
inline Change ChangeOf(const CapturedChange& captured) {
  Change change;
  change.op = static_cast<Operation>(captured.op);
  change.schema = captured.schema;
  change.table = captured.table;
  for (const CapturedField& field : captured.new_row) {
    FieldValue value{.kind = FieldValue::Kind::kNull, .bytes = {}};
    if (field.value.has_value()) {
      value.kind = field.is_text ? FieldValue::Kind::kText : FieldValue::Kind::kBinary;
      value.bytes = {reinterpret_cast<const uint8_t*>(field.value->data()), field.value->size()};
    }
    change.new_row.push_back({.name = field.name, .oid = field.oid, .value = value});
  }
  return change;
}

// What the program writes to stderr in a scope: the log.
class LogText {
 public:
  LogText() { testing::internal::CaptureStderr(); }
  ~LogText() {
    if (!taken_) (void)Take();
  }
  LogText(const LogText&) = delete;
  LogText& operator=(const LogText&) = delete;
  std::string Take() {
    taken_ = true;
    return testing::internal::GetCapturedStderr();
  }

 private:
  bool taken_ = false;
};

// A session of a target, prepared as a sink's is.
class TargetSession {
 public:
  explicit TargetSession(const std::string& url) {
    auto connection = Connection::Open(url);
    EXPECT_TRUE(connection.ok()) << connection.status();
    if (!connection.ok()) return;
    connection_ = *std::move(connection);
    const absl::Status status = PrepareSession(*connection_, true, {});
    EXPECT_TRUE(status.ok()) << status;
    settings_ = Settings();
  }

  Connection& operator*() { return *connection_; }
  Connection* operator->() { return connection_.get(); }

  // As a sink does: outside a transaction, or in one. Its settings are afterwards as before.
  absl::Status Run(DdlReplay& replay, const DdlCommand& command) {
    const bool alone = replay.RunsAlone(command);
    const auto sql = [this, alone](const char* statement) {
      if (alone) return;
      EXPECT_TRUE(connection_->Execute(statement).ok()) << statement;
    };
    sql("BEGIN");
    absl::Status status = replay.Run(*connection_, command, {});
    if (status.ok()) ExpectSettings();
    sql(status.ok() ? "COMMIT" : "ROLLBACK");
    ExpectSettings();
    return status;
  }

 private:
  // Of PostgreSQL itself: extensions bring more when they are loaded.
  void ExpectSettings() { EXPECT_TRUE(Settings() == settings_) << Settings() << settings_; }
  std::string Settings() {
    const auto settings = connection_->Query(
        "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) || current_setting('role') "
        "FROM pg_settings WHERE name NOT LIKE '%.%'");
    EXPECT_TRUE(settings.ok()) << settings.status();
    return settings.ok() ? std::string(settings->Text(0, 0)) : "?";
  }

  std::unique_ptr<Connection> connection_;
  std::string settings_;
};

// A database to repeat commands in, which are written by hand.
class DdlReplayTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    target_ = std::make_unique<TargetSession>(server_->Url(name_));
  }
  void TearDown() override {
    target_ = nullptr;
    DatabaseTest::TearDown();
  }

  static DdlCommand Command(std::string query, std::string tag, std::string objects = "[]") {
    static uint32_t seq = 0;
    DdlCommand command;
    command.checkpoint = {.lsn = {0x1600000000}, .seq = ++seq};
    command.query = std::move(query);
    command.tags = {std::move(tag)};
    command.search_path = "public";
    command.role = "postgres";
    command.objects = std::move(objects);
    command.exact = true;
    return command;
  }
  static DdlCommand Inexact(std::string query, std::string tag) {
    DdlCommand command = Command(std::move(query), std::move(tag));
    command.exact = false;
    return command;
  }
  static std::string Object(const std::string& tag, const std::string& type,
                            const std::string& schema, const std::string& name) {
    return R"([{"command_tag": ")" + tag + R"(", "object_type": ")" + type +
           R"(", "schema_name": ")" + schema + R"(", "object_identity": ")" + schema + "." + name +
           R"("}])";
  }
  void Repeat(const DdlCommand& command) {
    const absl::Status status = target_->Run(replay_, command);
    EXPECT_TRUE(status.ok()) << status;
  }
  // The code and the message with which the target, or the replay, refuses.
  std::string Refusal(DdlReplay& replay, const DdlCommand& command) {
    const absl::Status status = target_->Run(replay, command);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  }
  bool Exists(const std::string& relation) {
    return Ask("SELECT to_regclass('" + relation + "') IS NOT NULL") == "t";
  }

  DdlReplay replay_{DdlOptions{}};
  std::unique_ptr<TargetSession> target_;
};

}  // namespace pgc
