#include <gtest/gtest.h>

#include "pg/connection.h"
#include "testing/postgres_server.h"

namespace pgc {
namespace {

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

}  // namespace
}  // namespace pgc
