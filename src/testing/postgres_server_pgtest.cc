#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "pg/connection.h"
#include "testing/postgres_server.h"

namespace pgc {
namespace {

// It may be there until somebody asks for its exit code, and has no memory any more.
bool HasEnded(int64_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text;
  return !std::getline(file, text) || text.find(") Z ") != std::string::npos;
}

TEST(PostgresServer, KeepsItsDataAndPortOverAKill) {
  auto server = PostgresServer::Start({{"wal_level", "replica"}});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string url = (*server)->Url("postgres");
  {
    auto connection = Connection::Open(url);
    ASSERT_TRUE(connection.ok()) << connection.status();
    ASSERT_TRUE((*connection)->Execute("CREATE TABLE t AS SELECT 7 AS n").ok());
    (*server)->Kill();
    EXPECT_TRUE(absl::IsUnavailable((*connection)->Execute("SELECT 1")));
  }
  ASSERT_TRUE((*server)->Restart({{"wal_level", "logical"}}).ok());
  auto connection = Connection::Open(url);
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_EQ((*connection)->Query("SELECT n FROM t")->Int(0, 0), 7);
  EXPECT_EQ((*connection)->Query("SHOW wal_level")->Text(0, 0), "logical");
}

TEST(PostgresServer, NothingOfItIsLeftAfterAKill) {
  auto server = PostgresServer::Start({{"max_connections", "60"}});
  ASSERT_TRUE(server.ok()) << server.status();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<Connection>> connections;
    std::vector<int64_t> processes;
    for (int i = 0; i < 50; ++i) {
      auto connection = Connection::Open((*server)->Url("postgres"));
      ASSERT_TRUE(connection.ok()) << connection.status();
      processes.push_back((*connection)->Query("SELECT pg_backend_pid()")->Int(0, 0));
      connections.push_back(*std::move(connection));
    }
    (*server)->Kill();
    for (const int64_t process : processes) EXPECT_TRUE(HasEnded(process)) << process;
    const absl::Status started = (*server)->Restart();
    ASSERT_TRUE(started.ok()) << started;
  }
}

}  // namespace
}  // namespace pgc
