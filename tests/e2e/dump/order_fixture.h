#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "e2e/dump/order_run.h"
#include "pg/connection.h"
#include "testing/postgres_server.h"
#include "testing/serve_process.h"
#include "testing/temp_dir.h"

namespace pgc {

// Where the rows of dumps are read from.
enum class OrderPlace : uint8_t {
  kReplica,
  kLaggingReplica,  // its sink is held up, now and then for longer than an agent waits for it
  kStandby,
  kSource,
  kHeldBackSource,  // commits are in the log long before others see them
};
constexpr int kOrderPlaces = 5;
std::string NameOf(OrderPlace place);

// PGCAPTURE_DUMP_SEEDS, 20 unless told, from PGCAPTURE_DUMP_SEED on, 1 unless told. Each seed has
// its place and its size of dumps.
std::vector<uint64_t> OrderSeedsOf(OrderPlace place);
int PagesPerDumpOf(uint64_t seed);

// Servers for all tests of a suite; each test has a database of its own on them.
class OrderServers : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;

  const std::string& name() const { return name_; }  // of databases and topic
  std::string source_url() const { return source_->Url(name_); }
  std::string replica_url() const { return replica_->Url(name_); }
  const std::filesystem::path& folder() const { return folder_.path(); }
  static std::string SchemaOf(uint64_t seed) { return "seed_" + std::to_string(seed); }
  // The tables of a run, with rows at the source alone.
  void MakeTables(uint64_t seed, bool on_replica);
  // In the test's database unless told; a failure is one of the test.
  static void Execute(const std::string& url, const std::string& sql);
  // Lets the replica lag, now and then for longer than an agent waits for it.
  void HoldUpReplica(const std::stop_token& stop);

  static std::unique_ptr<PostgresServer> source_;
  static std::unique_ptr<PostgresServer> replica_;

 private:
  std::string name_;
  TempDir folder_;
};

// A serve that dumps from a place.
class OrderPlaces : public OrderServers, public testing::WithParamInterface<OrderPlace> {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Starts serve, and what there is of the place beside it.
  void Serve();
  // Each of the seeds, several at once.
  void RunSeeds(bool shared);

 private:
  bool has_replica() const {
    return GetParam() == OrderPlace::kReplica || GetParam() == OrderPlace::kLaggingReplica;
  }
  void HoldBackCommits(const std::stop_token& stop);

  std::vector<uint64_t> seeds_;
  std::unique_ptr<PostgresServer> standby_;
  std::optional<ServeProcess> serve_;
  std::jthread disturbance_;
};

}  // namespace pgc
