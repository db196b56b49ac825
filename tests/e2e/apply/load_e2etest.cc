// Load: pgbench, and one large transaction in little memory.
//
// PGCAPTURE_APPLY_SCALE is pgbench's scale, PGCAPTURE_APPLY_ROWS the rows of the transaction,
// PGCAPTURE_APPLY_KEYLESS those of a table without a key.
#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "e2e/apply/apply_fixture.h"
#include "testing/environment.h"

namespace pgc {
namespace {

using std::chrono::seconds;

class ApplyLoad : public Apply {
 protected:
  static void Pgbench(const std::string& url, std::vector<std::string> args) {
    args.insert(args.begin(), ExtensionBin() + "/pgbench");
    args.push_back(url);
    const auto ran = pgc::Run(
        {.args = std::move(args), .environment = {}, .as_postgres = false, .directory = {}},
        seconds(600));
    ASSERT_TRUE(ran.ok()) << ran.status();
  }
};

TEST_F(ApplyLoad, PgbenchWithAllItsTransactionsAndAPauseOfTheSink) {
  const std::string scale = std::to_string(FromEnvironment("PGCAPTURE_APPLY_SCALE", 1));
  for (const std::string& url : {source_url(), target_url()}) {
    Pgbench(url, {"-i", "-q", "-I", "dtGvp", "-s", scale});
  }
  Both("ALTER TABLE pgbench_history REPLICA IDENTITY FULL");
  Serve();
  const auto bench = [this](int clients, int transactions) {
    Pgbench(source_url(),
            {"-n", "-c", std::to_string(clients), "-j", "2", "-t", std::to_string(transactions),
             "-b", "tpcb-like@3", "-b", "simple-update@2", "-b", "select-only@1"});
  };
  for (int round = 0; round < 3; ++round) {
    bench(8, 300);
    WaitApplied();
  }
  Stop();
  bench(4, 1000);
  Serve();
  bench(4, 1000);
  StopAndCompare();
  EXPECT_EQ(
      AskTarget(
          "SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts"),
      "t");
}

uint64_t PeakMemoryMb(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) / 1024;
  }
  return 0;
}

TEST_F(ApplyLoad, ALargeTransactionNeedsLittleMemory) {
  const uint64_t rows = FromEnvironment("PGCAPTURE_APPLY_ROWS", 1'000'000);
  Both(
      "CREATE TABLE large (id int PRIMARY KEY, v text, n int);"
      "CREATE TABLE keyless (v text); ALTER TABLE keyless REPLICA IDENTITY FULL");
  Serve();
  Sql(
      fmt::format("INSERT INTO large SELECT i, md5(i::text), 0 FROM generate_series(1, {0}) i;"
                  "INSERT INTO keyless SELECT md5(i::text) FROM generate_series(1, {1}) i;"
                  "UPDATE large SET n = n + 1 WHERE id % 5 = 0;"
                  "UPDATE large SET id = -id WHERE id % 100 = 0;"
                  "DELETE FROM large WHERE id % 7 = 0",
                  rows * 6 / 10, rows / 10));
  WaitApplied();
  if (HasFatalFailure()) return;
  const uint64_t peak_mb = PeakMemoryMb(serve().process().pid());
  fmt::print("{} rows; peak resident memory {} MB\n", rows, peak_mb);
  EXPECT_LT(peak_mb, 200u);
  EXPECT_GT(peak_mb, 1u);
  StopAndCompare();
}

TEST_F(ApplyLoad, ManyRowsWithoutAKeyAreFound) {
  const uint64_t rows = FromEnvironment("PGCAPTURE_APPLY_KEYLESS", 4000);
  Both(
      "CREATE TABLE keyless (a int, v text); ALTER TABLE keyless REPLICA IDENTITY FULL;"
      "CREATE TABLE alike (a int); ALTER TABLE alike REPLICA IDENTITY FULL");
  Serve();
  Sql(
      fmt::format("INSERT INTO keyless SELECT i, md5(i::text) FROM generate_series(1, {0}) i;"
                  "INSERT INTO alike SELECT 1 FROM generate_series(1, {0})",
                  rows));
  Sql("UPDATE keyless SET a = a + 1 WHERE a % 2 = 0");
  Sql(fmt::format("DELETE FROM alike WHERE ctid IN (SELECT ctid FROM alike LIMIT {})", rows / 2));
  Sql("DELETE FROM keyless WHERE a % 3 = 0");
  StopAndCompare();
}

}  // namespace
}  // namespace pgc
