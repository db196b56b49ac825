// What the tests of the program with a Pulsar broker share.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "testing/database_diff.h"
#include "testing/database_test.h"
#include "testing/pulsar_broker.h"
#include "testing/subprocess.h"

namespace pgc {

inline constexpr char kProgram[] = PGC_BINARY_DIR "/pgcapture";
// For a busy machine; what takes longer stands still.
inline constexpr std::chrono::seconds kWait{120};

// The broker of this test program, started at its first use.
class BrokerOfAll : public testing::Environment {
 public:
  static PulsarBroker* Get() {
    if (broker_ == nullptr) {
      auto broker = PulsarBroker::Start();
      EXPECT_TRUE(broker.ok()) << broker.status();
      if (broker.ok()) broker_ = *std::move(broker);
    }
    return broker_.get();
  }
  void TearDown() override { broker_.reset(); }

 private:
  static inline std::unique_ptr<PulsarBroker> broker_;
};
inline const testing::Environment* const g_broker_of_all =
    testing::AddGlobalTestEnvironment(new BrokerOfAll());

class PulsarE2e : public DatabaseTest {
 protected:
  static void SetUpTestSuite() {
    DatabaseTest::SetUpTestSuite();
    broker_ = BrokerOfAll::Get();
    ASSERT_NE(broker_, nullptr);
  }
  void SetUp() override {
    DatabaseTest::SetUp();
    Sql(fmt::format("CREATE DATABASE {}_replica", name_));
    auto replica = Connection::Open(replica_url());
    ASSERT_TRUE(replica.ok()) << replica.status();
    replica_ = *std::move(replica);
  }

  std::string replica_url() const { return server_->Url(name_ + "_replica"); }
  std::string topic_path() const { return fmt::format("public/default/{}", topic_name_); }
  std::string topic() const { return "persistent://" + topic_path(); }

  static std::unique_ptr<Subprocess> Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), kProgram);
    auto process = Subprocess::Start(
        {.args = std::move(arguments), .environment = {}, .as_postgres = false, .directory = ""});
    EXPECT_TRUE(process.ok()) << process.status();
    return *std::move(process);
  }
  std::unique_ptr<Subprocess> Capture() const {
    return Run({"capture", "--source", server_->Url(name_), "--store", broker_->url(), "--topic",
                topic(), "--pulsar-library", PulsarBroker::Library()});
  }
  std::unique_ptr<Subprocess> Apply() const {
    return Run({"apply", "--store", broker_->url(), "--topic", topic(), "--target", replica_url(),
                "--pulsar-library", PulsarBroker::Library()});
  }
  static void Kill(Subprocess& process) {
    process.Signal(SIGKILL);
    (void)process.Wait(std::chrono::seconds(10));
  }
  // Ends it in good order.
  static void Stop(Subprocess& process) {
    process.Signal(SIGTERM);
    EXPECT_EQ(process.Wait(std::chrono::seconds(60)), 0) << process.errors();
  }

  // Some rows come, some change, some go; now and then a table gets a column.
  void Transaction(std::mt19937_64& random, int number) {
    if (number % 40 == 20) Sql(fmt::format("ALTER TABLE t ADD COLUMN c{} int", number));
    const uint64_t row = random() % 200;
    Sql(
        fmt::format("BEGIN; INSERT INTO t (id, v) SELECT i, md5(i::text || {0}) FROM "
                    "generate_series({1}, {1} + {2}) i ON CONFLICT (id) DO UPDATE SET v = "
                    "excluded.v; DELETE FROM t WHERE id = {3}; COMMIT",
                    number, row, random() % 20, random() % 200));
  }
  bool WaitApplied() {
    const std::string mark = fmt::format("mark{}", ++marks_);
    Sql(fmt::format("INSERT INTO marks VALUES ('{}')", mark));
    const auto deadline = std::chrono::steady_clock::now() + kWait;
    while (std::chrono::steady_clock::now() < deadline) {
      const auto rows =
          replica_->Query(fmt::format("SELECT to_regclass('marks') IS NOT NULL, pg_sleep(0.01)"));
      if (!rows.ok()) return false;
      if (!rows->Bool(0, 0)) continue;
      const auto found =
          replica_->Query(fmt::format("SELECT count(*) FROM marks WHERE name = '{}'", mark));
      if (found.ok() && found->Text(0, 0) == "1") return true;
    }
    return false;
  }
  void ExpectEqual() {
    const auto diff = CompareDatabases(server_->Url(name_), replica_url());
    ASSERT_TRUE(diff.ok()) << diff.status();
    EXPECT_THAT(diff->differences, testing::IsEmpty());
    EXPECT_GE(diff->tables, 2U);
    EXPECT_GT(diff->rows, 0);
  }

  static inline PulsarBroker* broker_ = nullptr;
  static inline int topics_ = 0;
  // Databases of other suites have the same name, and their topics are here.
  const std::string topic_name_ = fmt::format("topic_{}", ++topics_);
  std::unique_ptr<Connection> replica_;
  int marks_ = 0;
};

}  // namespace pgc
