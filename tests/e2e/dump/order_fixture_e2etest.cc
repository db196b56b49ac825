#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include "base/pause.h"
#include "e2e/dump/order_fixture.h"
#include "testing/environment.h"
#include "testing/slots.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kProgram[] = PGC_BINARY_DIR "/pgcapture";
constexpr size_t kSeedsAtOnce = 4;
// Of the held back source: each waits for the release.
constexpr int kManyWriters = 8;

}  // namespace

std::string NameOf(OrderPlace place) {
  switch (place) {
    case OrderPlace::kReplica:
      return "Replica";
    case OrderPlace::kLaggingReplica:
      return "LaggingReplica";
    case OrderPlace::kStandby:
      return "Standby";
    case OrderPlace::kSource:
      return "Source";
    case OrderPlace::kHeldBackSource:
      return "HeldBackSource";
  }
  return {};
}

std::vector<uint64_t> OrderSeedsOf(OrderPlace place) {
  const uint64_t first = FromEnvironment("PGCAPTURE_DUMP_SEED", 1);
  const uint64_t count = FromEnvironment("PGCAPTURE_DUMP_SEEDS", 20);
  std::vector<uint64_t> seeds;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    if (seed % kOrderPlaces == static_cast<uint64_t>(place)) seeds.push_back(seed);
  }
  return seeds;
}

int PagesPerDumpOf(uint64_t seed) {
  constexpr int kPages[] = {1, 7, 100};
  return kPages[seed / kOrderPlaces % 3];
}

std::unique_ptr<PostgresServer> OrderServers::source_;
std::unique_ptr<PostgresServer> OrderServers::replica_;

void OrderServers::SetUpTestSuite() {
  auto source = PostgresServer::Start(
      {{"max_connections", "200"}, {"max_prepared_transactions", "10"}, {"autovacuum", "off"}});
  ASSERT_TRUE(source.ok()) << source.status();
  source_ = *std::move(source);
  auto replica = PostgresServer::Start({{"autovacuum", "off"}});
  ASSERT_TRUE(replica.ok()) << replica.status();
  replica_ = *std::move(replica);
}

void OrderServers::TearDownTestSuite() {
  source_.reset();
  replica_.reset();
}

void OrderServers::SetUp() {
  ASSERT_TRUE(source_ != nullptr && replica_ != nullptr);
  static int number = 0;
  name_ = fmt::format("order_{}", ++number);
  Execute(source_->Url("postgres"), "CREATE DATABASE " + name_);
  Execute(replica_->Url("postgres"), "CREATE DATABASE " + name_);
}

void OrderServers::TearDown() {
  const auto connection = Connection::Open(source_url());
  ASSERT_TRUE(connection.ok()) << connection.status();
  const absl::Status dropped = DropSlots(**connection);
  ASSERT_TRUE(dropped.ok()) << dropped;
}

void OrderServers::Execute(const std::string& url, const std::string& sql) {
  const auto connection = Connection::Open(url);
  ASSERT_TRUE(connection.ok()) << connection.status();
  const absl::Status executed = (*connection)->Execute(sql);
  ASSERT_TRUE(executed.ok()) << executed << "\n" << sql;
}

void OrderServers::MakeTables(uint64_t seed, bool on_replica) {
  const std::string make = MakeOrderTables(SchemaOf(seed));
  if (on_replica) Execute(replica_url(), make);
  Execute(source_url(), make + "; " + FillOrderTables(SchemaOf(seed)));
}

void OrderPlaces::SetUp() {
  OrderServers::SetUp();
  seeds_ = OrderSeedsOf(GetParam());
}

void OrderPlaces::TearDown() {
  disturbance_ = {};
  if (serve_) {
    EXPECT_EQ(serve_->Stop(), 0) << serve_->process().errors();
  }
  serve_.reset();
  if (standby_ != nullptr) {
    standby_.reset();
    Execute(source_->Url("postgres"),
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE active "
            "AND slot_type = 'physical'; SELECT pg_drop_replication_slot('order_standby')");
  }
  OrderServers::TearDown();
}

void OrderPlaces::Serve() {
  // A replica gets the rows from the log, so that begins before them.
  std::vector<std::string> flags{"--no-ddl", "--topic", name(), "--heartbeat-interval-ms", "500"};
  if (has_replica()) flags.insert(flags.end(), {"--replica", replica_url()});
  if (GetParam() == OrderPlace::kStandby) {
    Execute(source_->Url("postgres"),
            "SELECT pg_create_physical_replication_slot('order_standby', true)");
    auto standby = PostgresServer::StartStandby(
        *source_, "order_standby",
        {{"hot_standby_feedback", "on"}, {"wal_receiver_status_interval", "1"}});
    ASSERT_TRUE(standby.ok()) << standby.status();
    standby_ = *std::move(standby);
    flags.insert(flags.end(), {"--dump-from", standby_->Url(name())});
  }
  serve_.emplace(ServeProcess::Options{.program = kProgram,
                                       .source = source_url(),
                                       .data_dir = folder() / "data",
                                       .flags = std::move(flags),
                                       .wrapper = {}});
  const absl::Status started = serve_->Start();
  ASSERT_TRUE(started.ok()) << started;
  for (const uint64_t seed : seeds_) MakeTables(seed, has_replica());
  if (GetParam() == OrderPlace::kLaggingReplica) {
    disturbance_ = std::jthread([this](const std::stop_token& stop) { HoldUpReplica(stop); });
  } else if (GetParam() == OrderPlace::kHeldBackSource) {
    disturbance_ = std::jthread([this](const std::stop_token& stop) { HoldBackCommits(stop); });
  }
}

// Its sink cannot write the checkpoint meanwhile; dumps can read it.
void OrderServers::HoldUpReplica(const std::stop_token& stop) {
  const auto sql = Connection::Open(replica_url());
  ASSERT_TRUE(sql.ok()) << sql.status();
  std::mt19937_64 random(1);
  const auto has_begun = [&sql] {
    const auto row = (*sql)->Query("SELECT to_regclass('pgcapture.sources') IS NOT NULL");
    return row.ok() && row->Bool(0, 0);
  };
  while (!stop.stop_requested() && !has_begun()) Pause(milliseconds(10), stop);
  while (!stop.stop_requested()) {
    const absl::Status held =
        (*sql)->Execute("BEGIN; LOCK TABLE pgcapture.sources IN EXCLUSIVE MODE");
    ASSERT_TRUE(held.ok()) << held;
    Pause(milliseconds(random() % (random() % 6 == 0 ? 800 : 200)), stop);
    ASSERT_TRUE((*sql)->Execute("COMMIT").ok());
    Pause(milliseconds(random() % 300), stop);
  }
}

void OrderPlaces::HoldBackCommits(const std::stop_token& stop) {
  const auto sql = Connection::Open(source_->Url("postgres"));
  ASSERT_TRUE(sql.ok()) << sql.status();
  std::mt19937_64 random(1);
  const auto wait_for = [&](const std::string& names) {
    for (const std::string& statement :
         {"ALTER SYSTEM SET synchronous_standby_names = '" + names + "'",
          std::string("SELECT pg_reload_conf()")}) {
      const absl::Status set = (*sql)->Execute(statement);
      ASSERT_TRUE(set.ok()) << set;
    }
  };
  while (!stop.stop_requested()) {
    wait_for("absent");
    Pause(milliseconds(50 + random() % 400), stop);
    wait_for("");
    Pause(milliseconds(random() % 150), stop);
  }
}

void OrderPlaces::Run(uint64_t seed, bool shared) {
  const bool has_old_rows = shared && seed % 2 == 1;
  if (has_old_rows) {
    Execute(source_url(),
            fmt::format("ALTER TABLE {}.large REPLICA IDENTITY FULL", SchemaOf(seed)));
  }
  const std::string differences =
      RunOrder({.gateway = serve_->address(),
                .topic = name(),
                .source = source_url(),
                .schema = SchemaOf(seed),
                .seed = seed,
                .pages_per_dump = PagesPerDumpOf(seed),
                .rounds = shared ? 2 : 3,
                .shared = shared,
                .has_old_rows = has_old_rows,
                .writers = GetParam() == OrderPlace::kHeldBackSource ? kManyWriters : 3,
                .replica = has_replica() ? replica_url() : std::string(),
                .moves_in_bursts = GetParam() == OrderPlace::kLaggingReplica});
  EXPECT_EQ(differences, "") << "PGCAPTURE_DUMP_SEED=" << seed << " PGCAPTURE_DUMP_SEEDS=1, "
                             << PagesPerDumpOf(seed) << " pages a dump";
}

void OrderPlaces::RunSeeds(bool shared) {
  Serve();
  for (size_t begin = 0; begin < seeds_.size() && !HasFailure(); begin += kSeedsAtOnce) {
    std::vector<std::jthread> runs;
    for (size_t i = begin; i < std::min(seeds_.size(), begin + kSeedsAtOnce); ++i) {
      runs.emplace_back([this, seed = seeds_[i], shared] { Run(seed, shared); });
    }
  }
  if (HasFailure()) std::printf("serve said: %s\n", serve_->process().errors().c_str());
}

}  // namespace pgc
