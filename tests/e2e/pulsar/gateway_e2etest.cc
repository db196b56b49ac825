// PostgreSQL, capture, a Pulsar broker, a gateway, consumers.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/pause.h"
#include "client/capture_client.h"
#include "e2e/pulsar/pulsar_fixture.h"
#include "pulsar/message_id.h"
#include "testing/environment.h"
#include "testing/free_port.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using Entry = std::pair<int64_t, int64_t>;  // ledger and entry

int32_t IdOf(const pb::Change& change) {
  uint32_t id = 0;
  for (const char byte : change.new_(0).binary()) id = id << 8 | static_cast<uint8_t>(byte);
  return static_cast<int32_t>(id);
}

Entry EntryOf(const pb::Checkpoint& checkpoint) {
  const auto id = pulsar::ParseMessageId(checkpoint.data());
  EXPECT_TRUE(id.ok()) << id.status();
  return id.ok() ? Entry{id->ledger, id->entry} : Entry{};
}

// What the consumers of one subscription got.
struct Received {
  Mutex mutex;
  CondVar changed;
  std::map<int32_t, int> delivered PGC_GUARDED_BY(mutex);
  std::map<int32_t, Entry> acknowledged PGC_GUARDED_BY(mutex);
  std::set<Entry> not_whole PGC_GUARDED_BY(mutex);  // entries with a requeued row
};

class GatewayE2e : public PulsarE2e {
 protected:
  std::unique_ptr<Subprocess> Gateway() const {
    auto gateway =
        Run({"gateway", "--listen-addr", address_, "--pulsar-library", PulsarBroker::Library(),
             "--controller-addr", controller_, "--resolver-config", config()});
    EXPECT_TRUE(gateway->WaitForLine("the gateway listens", kWait).has_value());
    return gateway;
  }
  std::string config() const {
    return fmt::format(
        R"({{"shop": {{"PulsarURL": "{}", "PulsarTopic": "{}", "PulsarSubscription": "s", "AgentURL": "{}"}}}})",
        broker_->url(), topic(), agent_);
  }
  absl::StatusOr<std::unique_ptr<CaptureClient>> Open(const std::string& uri) const {
    CaptureClientOptions options{.gateway = address_, .uri = uri, .parameters = {}};
    (*options.parameters.mutable_fields())["TableRegex"].set_string_value("^t$");
    return CaptureClient::Open(options, {});
  }

  // Takes changes until `stop`; acknowledges most, and requeues one in `requeues` (0: none).
  std::jthread Consume(Received& received, uint64_t seed, uint64_t requeues) const {
    return std::jthread([this, &received, random = std::mt19937_64(seed),
                         requeues](const std::stop_token& stop) mutable {
      auto client = Open("shop");
      ASSERT_TRUE(client.ok()) << client.status();
      while (true) {
        const auto message = (*client)->Next(stop);
        if (absl::IsCancelled(message.status())) break;
        ASSERT_TRUE(message.ok()) << message.status();
        const int32_t id = IdOf(message->change());
        const bool again = requeues > 0 && random() % requeues == 0;
        {
          MutexLock lock(received.mutex);
          ++received.delivered[id];
          if (again) {
            received.not_whole.insert(EntryOf(message->checkpoint()));
          } else {
            received.acknowledged[id] = EntryOf(message->checkpoint());
          }
          received.changed.NotifyAll();
        }
        const absl::Status status = again ? (*client)->Requeue(message->checkpoint(), "again")
                                          : (*client)->Ack(message->checkpoint());
        ASSERT_TRUE(status.ok()) << status;
      }
      EXPECT_TRUE((*client)->Close().ok());
    });
  }
  static bool WaitDelivered(Received& received, const std::set<int32_t>& wanted) {
    MutexLock lock(received.mutex);
    return received.changed.WaitUntil(received.mutex, {}, std::chrono::steady_clock::now() + kWait,
                                      [&]() PGC_REQUIRES(received.mutex) {
                                        return std::all_of(
                                            wanted.begin(), wanted.end(),
                                            [&](int32_t id) PGC_REQUIRES(received.mutex) {
                                              return received.delivered.contains(id);
                                            });
                                      });
  }

  const FreePort port_;
  const std::string address_ = port_.address();
  // Of those that the tests of dumps start.
  const FreePort controller_port_;
  const std::string controller_ = controller_port_.address();
  const FreePort agent_port_;
  const std::string agent_ = agent_port_.address();
};

// Rows that are there come from a replica, which an agent keeps.
class SnapshotE2e : public GatewayE2e {
 protected:
  static constexpr size_t kRows = 300;

  void LaunchWithRows() {
    Start({"capture", "--source", server_->Url(name_), "--store", broker_->url(), "--topic",
           topic(), "--pulsar-library", PulsarBroker::Library()},
          "capturing");
    Sql("CREATE TABLE marks (name text PRIMARY KEY)");
    Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    Sql(fmt::format("INSERT INTO t SELECT i, 'old' FROM generate_series(1, {}) i", kRows));
    Start({"agent", "--listen-addr", agent_, "--renice", "0", "--pulsar-library",
           PulsarBroker::Library()},
          "the agent listens");
    Start({"configure", "--AgentAddr", agent_, "--AgentCommand", "pulsar2pg", "--PGConnURL",
           replica_url(), "--PulsarURL", broker_->url(), "--PulsarTopic", topic()},
          "\"ReplicationLagMilliseconds\":");
    ASSERT_TRUE(WaitApplied()) << "the replica does not get the rows";
    Start({"controller", "--listen-addr", controller_, "--data-dir",
           (dir_.path() / "schedule").string()},
          "the controller listens");
  }
  // Those that run until the end of the test.
  void Start(std::vector<std::string> arguments, const std::string& says) {
    programs_.push_back(Run(std::move(arguments)));
    ASSERT_TRUE(programs_.back()->WaitForLine(says, kWait).has_value())
        << programs_.back()->errors();
  }
  std::unique_ptr<Subprocess> Tail(const std::vector<std::string>& flags) const {
    std::vector<std::string> arguments{"tail",    "--gateway", address_,   "--from", "snapshot",
                                       "--table", "^t$",       "--format", "json"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return Run(std::move(arguments));
  }
  // As JSON without spaces.
  std::string DumpStatus() const {
    const auto dump =
        Run({"dump", "--controller", controller_, "--uri", "shop", "--status", "--format", "json"});
    EXPECT_EQ(dump->Wait(kWait), 0) << dump->errors();
    std::string status;
    for (const std::string& line : dump->output_lines()) status += line;
    std::erase(status, ' ');
    return status;
  }
  static size_t RowsOfDumps(const Subprocess& tail) {
    const std::vector<std::string> lines = tail.output_lines();
    return static_cast<size_t>(std::count_if(
        lines.begin(), lines.end(),
        [](const std::string& line) { return line.find("\"dump\":true") != std::string::npos; }));
  }
  // Waits until it is said of the schedule.
  bool WaitForDumpStatus(const std::string& text) const {
    const auto deadline = std::chrono::steady_clock::now() + kWait;
    while (DumpStatus().find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      Pause(std::chrono::milliseconds(100), {});
    }
    return true;
  }

  const TempDir dir_;
  std::vector<std::unique_ptr<Subprocess>> programs_;
};

TEST_F(GatewayE2e, EveryChangeComesAndWhatIsAcknowledgedNotAgainAfterARestart) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  constexpr int kRows = 3'000;
  std::set<int32_t> left;
  for (int32_t id = 0; id < kRows; ++id) left.insert(id);
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  auto gateway = Gateway();
  Received before;
  {
    // The subscription begins where it is made.
    auto first = Open("shop");
    ASSERT_TRUE(first.ok()) << first.status();
    ASSERT_TRUE((*first)->Close().ok());
    const auto one = Consume(before, seed, 20);
    const auto two = Consume(before, seed + 1, 20);
    for (int row = 0; row < kRows; row += 10) {
      Sql(fmt::format("INSERT INTO t SELECT i, 'v' FROM generate_series({}, {}) i", row, row + 9));
    }
    ASSERT_TRUE(WaitDelivered(before, left)) << capture->errors() << gateway->errors();
  }
  Stop(*gateway);
  {
    MutexLock lock(before.mutex);
    for (const auto& [id, entry] : before.acknowledged) left.erase(id);
  }
  left.insert(kRows);
  ASSERT_TRUE(broker_->Stop().ok());
  ASSERT_TRUE(broker_->Launch().ok());
  gateway = Gateway();
  Received after;
  {
    const auto one = Consume(after, seed, 0);
    Sql(fmt::format("INSERT INTO t VALUES ({}, 'last')", kRows));
    ASSERT_TRUE(WaitDelivered(after, left)) << gateway->errors();
  }
  MutexLock lock(before.mutex);
  MutexLock also(after.mutex);
  size_t again = 0;
  for (int32_t id = 0; id < kRows; ++id) {
    const auto acknowledged = before.acknowledged.find(id);
    const bool came = after.delivered.contains(id);
    if (acknowledged != before.acknowledged.end() && came) {
      ++again;
      EXPECT_TRUE(before.not_whole.contains(acknowledged->second))
          << id << " was acknowledged, and all that shares its entry";
    }
  }
  EXPECT_LT(again, size_t{kRows}) << "some entries were acknowledged whole";
  Stop(*gateway);
  Stop(*capture);
}

TEST_F(SnapshotE2e, ATailHasTheRowsThatAreThereOnceAndThenTheChangesAlsoWhenTheGatewayIsKilled) {
  ASSERT_NO_FATAL_FAILURE(LaunchWithRows());
  auto gateway = Gateway();
  const auto ephemeral = Tail({"--topic", "shop"});
  EXPECT_TRUE(ephemeral->WaitForLine("Ephemeral", kWait).has_value()) << "it is not refused";

  const auto tail = Tail({"--uri", "shop"});
  ASSERT_TRUE(WaitForDumpStatus("\"state\":\"done\"")) << DumpStatus() << tail->errors();
  Sql("INSERT INTO t VALUES (1001, 'then')");
  ASSERT_TRUE(tail->WaitForLine("then", kWait).has_value()) << tail->errors();
  const size_t rows = RowsOfDumps(*tail);
  EXPECT_GE(rows, kRows);

  Kill(*gateway);
  Sql("INSERT INTO t VALUES (1002, 'meanwhile')");
  gateway = Gateway();
  Sql("INSERT INTO t VALUES (1003, 'and now')");
  ASSERT_TRUE(tail->WaitForLine("meanwhile", kWait).has_value()) << tail->errors();
  ASSERT_TRUE(tail->WaitForLine("and now", kWait).has_value()) << tail->errors();
  const std::string status = DumpStatus();
  EXPECT_THAT(status, testing::HasSubstr("\"job\":1,")) << "it was scheduled a second time";
  EXPECT_THAT(status, testing::HasSubstr("\"scheduled\":false"));
  EXPECT_EQ(RowsOfDumps(*tail), rows);
  Stop(*tail);
  Stop(*gateway);
  for (auto program = programs_.rbegin(); program != programs_.rend(); ++program) Stop(**program);
}

TEST_F(GatewayE2e, WhatPulsarDoesNotHaveIsSaid) {
  auto gateway = Gateway();
  CaptureClientOptions options{.gateway = address_, .uri = "shop", .parameters = {}};
  (*options.parameters.mutable_fields())["KeyShared"].set_bool_value(true);
  const auto keyed = CaptureClient::Open(options, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(keyed.status())) << keyed.status();
  EXPECT_THAT(keyed.status().message(), testing::HasSubstr("KeyShared"));
  Stop(*gateway);
}

}  // namespace
}  // namespace pgc
