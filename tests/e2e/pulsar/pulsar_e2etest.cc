// PostgreSQL, capture, a Pulsar broker, apply, PostgreSQL.
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
#include "testing/environment.h"
#include "testing/pulsar_broker.h"
#include "testing/subprocess.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr char kProgram[] = PGC_BINARY_DIR "/pgcapture";
// For a busy machine; what takes longer stands still.
constexpr seconds kWait{120};

class PulsarE2e : public DatabaseTest {
 protected:
  static void SetUpTestSuite() {
    DatabaseTest::SetUpTestSuite();
    auto broker = PulsarBroker::Start();
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = broker->release();
  }
  static void TearDownTestSuite() {
    delete broker_;
    broker_ = nullptr;
    DatabaseTest::TearDownTestSuite();
  }
  void SetUp() override {
    DatabaseTest::SetUp();
    Sql(fmt::format("CREATE DATABASE {}_replica", name_));
    auto replica = Connection::Open(replica_url());
    ASSERT_TRUE(replica.ok()) << replica.status();
    replica_ = *std::move(replica);
  }

  std::string replica_url() const { return server_->Url(name_ + "_replica"); }
  std::string topic() const { return "persistent://public/default/" + name_; }

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
    (void)process.Wait(seconds(10));
  }
  // Ends it in good order.
  static void Stop(Subprocess& process) {
    process.Signal(SIGTERM);
    EXPECT_EQ(process.Wait(seconds(60)), 0) << process.errors();
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

  static PulsarBroker* broker_;
  std::unique_ptr<Connection> replica_;
  int marks_ = 0;
};

PulsarBroker* PulsarE2e::broker_ = nullptr;

TEST_F(PulsarE2e, AReplicaIsEqualThoughEverythingIsKilled) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  const auto count = static_cast<int>(FromEnvironment("PGCAPTURE_TRANSACTIONS", 200));
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  Sql("CREATE TABLE marks (name text PRIMARY KEY)");
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  auto apply = Apply();
  ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
  const int broker_dies = static_cast<int>(random() % count);
  for (int i = 0; i < count; ++i) {
    ASSERT_NO_FATAL_FAILURE(Transaction(random, i));
    if (i == broker_dies) {
      broker_->Kill();
      ASSERT_TRUE(broker_->Launch().ok());
    }
    switch (random() % 50) {
      case 0:
        Kill(*capture);
        capture = Capture();
        break;
      case 1:
        Kill(*apply);
        apply = Apply();
        break;
      case 2:
        EXPECT_TRUE(broker_->Unload("public/default/" + name_).ok());
        break;
      default:
        break;
    }
  }
  ASSERT_TRUE(WaitApplied()) << "capture: " << capture->errors() << "apply: " << apply->errors();
  Stop(*apply);
  Stop(*capture);
  ExpectEqual();
}

TEST_F(PulsarE2e, EachGoesOnWhereItStoppedInGoodOrder) {
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  Sql("CREATE TABLE marks (name text PRIMARY KEY)");
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  for (int round = 0; round < 3; ++round) {
    auto apply = Apply();
    Sql(fmt::format("INSERT INTO t SELECT {0} * 1000 + i, 'v' FROM generate_series(1, 500) i",
                    round));
    ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
    Stop(*apply);
    EXPECT_THAT(apply->errors(), testing::Not(HasSubstr("all of it is read")));
    Stop(*capture);
    // What came while nobody captured.
    Sql(fmt::format("INSERT INTO t SELECT {0} * 1000 + 500 + i, 'v' FROM generate_series(1, 9) i",
                    round));
    capture = Capture();
    ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  }
  auto apply = Apply();
  ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
  Stop(*apply);
  Stop(*capture);
  ExpectEqual();
}

TEST_F(PulsarE2e, ASecondCaptureOfATopicIsRefused) {
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  auto second = Capture();
  EXPECT_EQ(second->Wait(kWait), 1);
  EXPECT_THAT(second->errors(), HasSubstr("ProducerBusy"));
  Stop(*capture);
}

TEST_F(PulsarE2e, WithoutTheLibraryTheWaysToGetItAreSaid) {
  auto apply = Run({"apply", "--store", broker_->url(), "--topic", topic(), "--target",
                    replica_url(), "--pulsar-library", "/nowhere/libpulsar.so"});
  EXPECT_EQ(apply->Wait(kWait), 1);
  EXPECT_THAT(apply->errors(), HasSubstr("--pulsar-library"));
}

}  // namespace
}  // namespace pgc
