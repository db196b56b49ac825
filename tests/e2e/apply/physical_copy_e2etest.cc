// A target that was made as a physical copy of the source's server, and promoted.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>

#include "e2e/apply/apply_fixture.h"

namespace pgc {
namespace {

using std::chrono::seconds;

class ApplyPhysicalCopy : public Apply {
 protected:
  static std::string AskOn(Connection& sql, const std::string& query) {
    const auto rows = sql.Query(query);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() && rows->rows() == 1 ? std::string(rows->Text(0, 0)) : "?";
  }
  // Asks until the answer is this one.
  static void Expect(Connection& sql, const std::string& query, const std::string& answer) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(30);
    std::string got;
    while ((got = AskOn(sql, query)) != answer && std::chrono::steady_clock::now() < deadline) {
      (void)AskOn(sql, "SELECT pg_sleep(0.02)");
    }
    EXPECT_EQ(got, answer) << query;
  }
};

TEST_F(ApplyPhysicalCopy, GoesOnWhereItsServersLogSaysThatItStood) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql("INSERT INTO t SELECT i, 'before' FROM generate_series(1, 100) i");
  ServeWithout();
  Sql("SELECT pg_create_physical_replication_slot('copy')");
  auto copy = PostgresServer::StartStandby(
      *source_, "copy", {{"logging_collector", "on"}, {"log_filename", "server.log"}});
  ASSERT_TRUE(copy.ok()) << copy.status();
  const auto sql = Connect((*copy)->Url(name()));
  ASSERT_NE(sql, nullptr);
  // In the log, and in the copy: applied again, each would be in its own way.
  for (int i = 101; i <= 150; ++i)
    Sql("INSERT INTO t VALUES (" + std::to_string(i) + ", 'copied')");
  Expect(*sql, "SELECT count(*) FROM t", "150");
  EXPECT_EQ(AskOn(*sql, "SELECT pg_promote()"), "t");
  // In the log only.
  Sql("INSERT INTO t SELECT i, 'applied' FROM generate_series(151, 200) i");
  Sql("UPDATE t SET v = 'changed' WHERE id % 10 = 0");
  Sql("DELETE FROM t WHERE id % 7 = 0");
  (void)WaitCaptured();
  Stop();

  const auto log = (*copy)->folder() / "data" / "log" / "server.log";
  const auto apply =
      Program({"apply", "--store", data_dir().string(), "--topic", name(), "--target",
               (*copy)->Url(name()), "--pg-log-path", log.string(), "--log-format", "json"});
  const std::string all = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t";
  Expect(*sql, all, Ask(all));
  apply->Signal(SIGTERM);
  EXPECT_EQ(apply->Wait(seconds(20)), 0) << apply->errors();
  copy->reset();
  Sql("SELECT pg_drop_replication_slot('copy')");
}

}  // namespace
}  // namespace pgc
