// Dumps in streams of a Pulsar topic, of tables that are written to: what a consumer has in the end
// is what the tables have.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "e2e/dump/order_fixture.h"
#include "e2e/pulsar/pulsar_fixture.h"
#include "testing/environment.h"
#include "testing/free_port.h"

namespace pgc {
namespace {

constexpr uint64_t kSeedsAtOnce = 3;

struct Kind {
  bool is_lagging = false;  // the replica
  bool shared = false;      // as OrderRunOptions
  uint64_t seeds = kSeedsAtOnce;
};

// Ledger and entry, of `7:12`.
std::pair<int64_t, int64_t> PositionOf(const std::string& text) {
  return {std::stoll(text), std::stoll(text.substr(text.find(':') + 1))};
}

// The programs that several machines would run; the agent keeps the replica, and reads its rows.
class PulsarDumpOrder : public OrderServers {
 protected:
  void SetUp() override {
    OrderServers::SetUp();
    broker_ = BrokerOfAll::Get();
    ASSERT_NE(broker_, nullptr);
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
           "--pulsar-library", PulsarBroker::Library(), "--pulsar-requeue-delay-ms", "300",
           "--resolver-config", Config()},
          "the gateway listens");
  }
  void Run(uint64_t seed, const Kind& kind) {
    const bool has_old_rows = kind.shared && seed % 2 == 1;
    if (has_old_rows) {
      Execute(source_url(),
              fmt::format("ALTER TABLE {}.large REPLICA IDENTITY FULL", SchemaOf(seed)));
    }
    const std::string differences =
        RunOrder({.gateway = gateway_,
                  .controller = controller_,
                  .topic = name(),
                  .source = source_url(),
                  .schema = SchemaOf(seed),
                  .seed = seed,
                  .pages_per_dump = PagesPerDumpOf(5 * seed),
                  .rounds = 2,
                  .shared = kind.shared,
                  .has_old_rows = has_old_rows,
                  .replica = replica_url(),
                  .moves_in_bursts = kind.is_lagging,
                  .acknowledgement = [this, seed] { return AcknowledgementOf(SchemaOf(seed)); }});
    EXPECT_EQ(differences, "") << "PGCAPTURE_DUMP_SEED=" << seed
                               << " PGCAPTURE_PULSAR_DUMP_SEEDS=1";
  }
  void RunSeeds(const Kind& kind) {
    for (uint64_t i = 0; i < FromEnvironment("PGCAPTURE_PULSAR_DUMP_SEEDS", kind.seeds); ++i) {
      seeds_.push_back(FromEnvironment("PGCAPTURE_DUMP_SEED", 1) + i);
    }
    Launch();
    std::jthread disturbance;
    if (kind.is_lagging) {
      disturbance = std::jthread([this](const std::stop_token& stop) { HoldUpReplica(stop); });
    }
    for (size_t begin = 0; begin < seeds_.size() && !HasFailure(); begin += kSeedsAtOnce) {
      std::vector<std::jthread> runs;
      for (size_t i = begin; i < std::min(seeds_.size(), begin + kSeedsAtOnce); ++i) {
        runs.emplace_back([this, seed = seeds_[i], &kind] { Run(seed, kind); });
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
  absl::StatusOr<nlohmann::json> Positions() const {
    PGC_ASSIGN_OR_RETURN(
        const std::string text,
        broker_->Admin("GET", fmt::format("persistent/public/default/{}/internalStats", name())));
    auto positions = nlohmann::json::parse(text, nullptr, false);
    if (!positions.is_object()) return absl::InternalError("no positions: " + text);
    return positions;
  }
  // The gateway knows nothing of what is acknowledged, but the broker does.
  OrderRunOptions::IsAcknowledged AcknowledgementOf(const std::string& subscription) const {
    const auto now = Positions();
    return [this, now, subscription]() -> absl::StatusOr<bool> {
      PGC_RETURN_IF_ERROR(now.status());
      PGC_ASSIGN_OR_RETURN(const nlohmann::json positions, Positions());
      return PositionOf(positions.at("cursors").at(subscription).at("markDeletePosition")) >=
             PositionOf(now->at("lastConfirmedEntry"));
    };
  }
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
  const FreePort gateway_port_;
  const std::string gateway_ = gateway_port_.address();
  const FreePort controller_port_;
  const std::string controller_ = controller_port_.address();
  const FreePort agent_port_;
  const std::string agent_ = agent_port_.address();
  std::vector<std::unique_ptr<Subprocess>> programs_;
};

TEST_F(PulsarDumpOrder, OneConsumerHasWhatTheTablesHave) { RunSeeds({}); }
TEST_F(PulsarDumpOrder, FromALaggingReplicaToo) { RunSeeds({.is_lagging = true}); }
TEST_F(PulsarDumpOrder, ByVersionSharersThatRequeueHaveWhatTheTablesHave) {
  RunSeeds({.shared = true, .seeds = 2});
}

}  // namespace
}  // namespace pgc
