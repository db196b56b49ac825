#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "testing/captured.h"
#include "testing/database_test.h"
#include "testing/pglogical_server.h"

namespace pgc {

// Databases of a server with pglogical preloaded, none of them a node yet. They stay: DROP DATABASE
// can hang there.
class PglogicalDatabaseTest : public DatabaseTest {
 protected:
  static void SetUpTestSuite() {
    auto server = StartPglogicalServer();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server).release();
  }

  void MakeNode() {
    Sql("CREATE EXTENSION pglogical");
    Sql("SELECT pglogical.create_node('provider', 'dbname=' || current_database())");
  }
  void AddTable(const std::string& table, const std::string& set = "default") {
    Sql(fmt::format("SELECT pglogical.replication_set_add_table('{}', '{}')", set, table));
  }
  // With the database's name.
  void MakeSlot() {
    Sql(fmt::format("SELECT pg_create_logical_replication_slot('{}', 'pglogical_output')", name_));
  }
  // A position after all that was committed.
  Lsn End() {
    Sql("SELECT pg_logical_emit_message(true, 'pgcapture.heartbeat', '')");
    return WalEnd();
  }
  static std::vector<CapturedEvent> Read(std::unique_ptr<EventSource> source, Lsn end) {
    auto events = ReadTo(*source, end, std::chrono::seconds(120));
    EXPECT_TRUE(events.ok()) << events.status();
    return events.ok() ? *std::move(events) : std::vector<CapturedEvent>();
  }
};

}  // namespace pgc
