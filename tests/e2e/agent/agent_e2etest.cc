#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "testing/database_test.h"
#include "testing/free_port.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr char kProgram[] = PGC_BINARY_DIR "/pgcapture";
// For a busy machine; what takes longer stands still.
constexpr seconds kWait{60};

class AgentTest : public DatabaseTest {
 protected:
  std::unique_ptr<Subprocess> Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), kProgram);
    auto process = Subprocess::Start(
        {.args = std::move(arguments), .environment = {}, .as_postgres = false, .directory = ""});
    EXPECT_TRUE(process.ok()) << process.status();
    return *std::move(process);
  }
  // With the flags that the Go program has, and the address of this test.
  std::unique_ptr<Subprocess> RunAgent() {
    auto agent = Run({"agent", "--ListenAddr=" + address_, "--Renice", "0"});
    EXPECT_TRUE(agent->WaitForLine("the agent listens", kWait).has_value());
    return agent;
  }
  std::unique_ptr<Subprocess> Configure(const std::string& command, const std::string& database) {
    const std::string url = server_->Url(database);
    return Run({"configure", "--AgentAddr", address_, "--AgentCommand", command, "--PGConnURL", url,
                "--PGReplURL=" + url + "?replication=database", "--PulsarURL",
                folder_.path() / "log", "--PulsarTopic", name_});
  }
  static void Stop(Subprocess& process) {
    process.Signal(SIGTERM);
    EXPECT_EQ(process.Wait(seconds(10)), 0) << process.errors();
  }

  const TempDir folder_;
  const FreePort port_;
  const std::string address_ = port_.address();
};

TEST_F(AgentTest, CapturesAndThenKeepsAReplicaAsConfigureAsks) {
  Sql("CREATE TABLE t (id int PRIMARY KEY)");
  Sql(fmt::format("CREATE DATABASE {}_replica TEMPLATE postgres", name_));
  auto agent = RunAgent();
  auto configure = Configure("pg2pulsar", name_);
  ASSERT_TRUE(configure->WaitForLine("\"SourceTxCounter\":", kWait).has_value())
      << configure->errors();
  Sql("INSERT INTO t VALUES (1), (2)");
  // What is confirmed is in the log.
  const std::string end = Ask("SELECT pg_current_wal_lsn()");
  EXPECT_TRUE(Eventually(fmt::format(
      "SELECT confirmed_flush_lsn >= '{}' FROM pg_replication_slots WHERE slot_name = '{}'", end,
      name_)));
  Stop(*configure);
  Stop(*agent);

  auto replica = Connection::Open(server_->Url(name_ + "_replica"));
  ASSERT_TRUE(replica.ok()) << replica.status();
  ASSERT_TRUE((*replica)->Execute("CREATE TABLE t (id int PRIMARY KEY)").ok());
  agent = RunAgent();
  configure = Configure("pulsar2pg", name_ + "_replica");
  ASSERT_TRUE(configure->WaitForLine("\"ReplicationLagMilliseconds\":", kWait).has_value())
      << configure->errors();
  const auto deadline = std::chrono::steady_clock::now() + kWait;
  std::string count;
  while (count != "2" && std::chrono::steady_clock::now() < deadline) {
    const auto rows = (*replica)->Query("SELECT count(*), pg_sleep(0.005) FROM t");
    ASSERT_TRUE(rows.ok()) << rows.status();
    count = rows->Text(0, 0);
  }
  EXPECT_EQ(count, "2");

  // An agent that was restarted is set going again.
  agent->Signal(SIGKILL);
  (void)agent->Wait(seconds(10));
  agent = RunAgent();
  EXPECT_TRUE(agent->WaitForLine("keeping a replica", kWait).has_value());
  Stop(*configure);
  Stop(*agent);
}

TEST_F(AgentTest, WhatItCannotDoIsSaid) {
  auto metrics = Run({"agent", "--ListenAddr=" + address_, "--ExportPrometheus"});
  EXPECT_EQ(metrics->Wait(kWait), 1);
  EXPECT_THAT(metrics->errors(), HasSubstr("metrics"));
  auto everywhere = Run({"agent", "--ListenAddr", ":0"});
  EXPECT_EQ(everywhere->Wait(kWait), 1);
  EXPECT_THAT(everywhere->errors(), HasSubstr("--insecure"));
  auto command = Run({"configure", "--AgentAddr", address_, "--AgentCommand", "pg2pg"});
  EXPECT_EQ(command->Wait(kWait), 2);
}

}  // namespace
}  // namespace pgc
