#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "event/lsn.h"
#include "pg/connection.h"
#include "testing/postgres_server.h"
#include "testing/source_reader.h"

namespace pgc {

// A database of its own for each test, on one server for all of a suite.
class DatabaseTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server).release();
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void SetUp() override {
    static int number = 0;
    name_ = fmt::format("db{}", ++number);
    auto admin = Connection::Open(server_->Url("postgres"));
    ASSERT_TRUE(admin.ok()) << admin.status();
    ASSERT_TRUE((*admin)->Execute("CREATE DATABASE " + name_).ok());
    Connect();
  }
  void TearDown() override {
    sql_ = nullptr;
    // Slots are few; those of a test that failed must not make others fail.
    auto admin = Connection::Open(server_->Url("postgres"));
    if (admin.ok()) {
      (void)(*admin)->Execute(
          "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE active");
      (void)(*admin)->Execute(
          "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    }
  }
  void Connect() {
    auto sql = Connection::Open(server_->Url(name_));
    ASSERT_TRUE(sql.ok()) << sql.status();
    sql_ = *std::move(sql);
  }

  void Sql(const std::string& statements) {
    const absl::Status status = sql_->Execute(statements);
    ASSERT_TRUE(status.ok()) << status;
  }
  std::string Ask(const std::string& query) {
    const auto rows = sql_->Query(query);
    EXPECT_TRUE(rows.ok()) << rows.status();
    if (!rows.ok()) return "?";
    std::string text;
    for (int i = 0; i < rows->rows(); ++i) {
      text += fmt::format("{}{}", i > 0 ? "," : "", rows->Text(i, 0));
    }
    return text;
  }
  // Asks again until the answer is `t`.
  bool Eventually(const std::string& query, std::chrono::milliseconds limit = kTestTimeout) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (Ask(query) != "t") {
      if (std::chrono::steady_clock::now() > deadline) return false;
      Sql("SELECT pg_sleep(0.005)");
    }
    return true;
  }
  // Of a source of this database: topic, slot and publication have the database's name.
  template <typename SourceOptions>
  SourceOptions OptionsOf() const {
    SourceOptions options;
    options.url = server_->Url(name_);
    options.topic = name_;
    options.no_ddl = true;
    return options;
  }
  Lsn WalEnd() { return ParseLsn(Ask("SELECT pg_current_wal_lsn()")).value_or(Lsn{}); }

  static inline PostgresServer* server_ = nullptr;
  std::string name_;
  std::unique_ptr<Connection> sql_;
};

}  // namespace pgc
