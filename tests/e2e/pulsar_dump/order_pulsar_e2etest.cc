// Dumps in streams of a Pulsar topic, of tables that are written to: what a consumer has in the end
// is what the tables have.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "e2e/dump/order_fixture.h"
#include "e2e/pulsar/pulsar_fixture.h"
#include "testing/environment.h"
#include "testing/free_port.h"

namespace pgc {
namespace {

constexpr uint64_t kSeedsAtOnce = 3;

// The programs that several machines would run; the agent keeps the replica, and reads its rows.
class PulsarDumpOrder : public OrderServers {
 protected:
  void SetUp() override {
    OrderServers::SetUp();
    broker_ = BrokerOfAll::Get();
    ASSERT_NE(broker_, nullptr);
    for (uint64_t i = 0; i < FromEnvironment("PGCAPTURE_PULSAR_DUMP_SEEDS", kSeedsAtOnce); ++i) {
      seeds_.push_back(FromEnvironment("PGCAPTURE_DUMP_SEED", 1) + i);
    }
  }

  // The topic begins before the tables have rows.
  void Launch() {
    Start({"capture", "--source", source_url(), "--store", broker_->url(), "--topic", topic(),
           "--no-ddl", "--pulsar-library", PulsarBroker::Library()},
          "capturing");
    for (const uint64_t seed : seeds_) MakeTables(seed, true);
    Start({"controller", "--listen-addr", controller_, "--in-memory"}, "the controller listens");
    Start({"agent", "--listen-addr", agent_, "--renice", "0", "--pulsar-library",
           PulsarBroker::Library()},
          "the agent listens");
    Start({"configure", "--AgentAddr", agent_, "--AgentCommand", "pulsar2pg", "--PGConnURL",
           replica_url(), "--PulsarURL", broker_->url(), "--PulsarTopic", topic()},
          "\"ReplicationLagMilliseconds\":");
    Start({"gateway", "--listen-addr", gateway_, "--controller-addr", controller_,
           "--pulsar-library", PulsarBroker::Library(), "--resolver-config", Config()},
          "the gateway listens");
  }
  void Run(uint64_t seed, bool is_lagging) {
    const std::string differences = RunOrder({.gateway = gateway_,
                                              .controller = controller_,
                                              .topic = name(),
                                              .source = source_url(),
                                              .schema = SchemaOf(seed),
                                              .seed = seed,
                                              .pages_per_dump = PagesPerDumpOf(5 * seed),
                                              .rounds = 2,
                                              .replica = replica_url(),
                                              .moves_in_bursts = is_lagging});
    EXPECT_EQ(differences, "") << "PGCAPTURE_DUMP_SEED=" << seed
                               << " PGCAPTURE_PULSAR_DUMP_SEEDS=1";
  }
  void RunSeeds(bool is_lagging) {
    Launch();
    std::jthread disturbance;
    if (is_lagging) {
      disturbance = std::jthread([this](const std::stop_token& stop) { HoldUpReplica(stop); });
    }
    for (size_t begin = 0; begin < seeds_.size() && !HasFailure(); begin += kSeedsAtOnce) {
      std::vector<std::jthread> runs;
      for (size_t i = begin; i < std::min(seeds_.size(), begin + kSeedsAtOnce); ++i) {
        runs.emplace_back([this, seed = seeds_[i], is_lagging] { Run(seed, is_lagging); });
      }
    }
    disturbance = {};
    for (auto program = programs_.rbegin(); program != programs_.rend(); ++program) {
      (*program)->Signal(SIGTERM);
      EXPECT_EQ((*program)->Wait(kWait), 0) << (*program)->errors();
      if (HasFailure()) std::printf("it said: %s\n", (*program)->errors().c_str());
    }
    programs_.clear();
  }

 private:
  std::string topic() const { return "persistent://public/default/" + name(); }
  std::string Config() const {
    std::string config;
    for (const uint64_t seed : seeds_) {
      config += fmt::format(
          R"({}"{}/{}": {{"PulsarURL": "{}", "PulsarTopic": "{}", "PulsarSubscription": "{}", "AgentURL": "{}"}})",
          config.empty() ? "" : ", ", name(), SchemaOf(seed), broker_->url(), topic(),
          SchemaOf(seed), agent_);
    }
    return "{" + config + "}";
  }
  void Start(std::vector<std::string> arguments, const std::string& says) {
    arguments.insert(arguments.begin(), kProgram);
    auto program = Subprocess::Start(
        {.args = std::move(arguments), .environment = {}, .as_postgres = false, .directory = ""});
    ASSERT_TRUE(program.ok()) << program.status();
    programs_.push_back(*std::move(program));
    ASSERT_TRUE(programs_.back()->WaitForLine(says, kWait).has_value())
        << programs_.back()->errors();
  }

  PulsarBroker* broker_ = nullptr;
  std::vector<uint64_t> seeds_;
  const std::string gateway_ = fmt::format("127.0.0.1:{}", FreePort());
  const std::string controller_ = fmt::format("127.0.0.1:{}", FreePort());
  const std::string agent_ = fmt::format("127.0.0.1:{}", FreePort());
  std::vector<std::unique_ptr<Subprocess>> programs_;
};

TEST_F(PulsarDumpOrder, OneConsumerHasWhatTheTablesHave) { RunSeeds(false); }
TEST_F(PulsarDumpOrder, FromALaggingReplicaToo) { RunSeeds(true); }

}  // namespace
}  // namespace pgc
