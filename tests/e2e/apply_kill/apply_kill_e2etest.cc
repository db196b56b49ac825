// Ends the sink, its target and its source at random moments under load, and compares the databases
// afterwards.
//
// PGCAPTURE_KILL_SEED and PGCAPTURE_KILL_COUNT choose the moments and how many there are. Needs
// PostgreSQL 15 with the extension in PGCAPTURE_EXTENSION_BIN, and 17 in PGCAPTURE_PG17_BIN, else
// where scripts/pgroot unpacks them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "e2e/apply_kill/write_load.h"
#include "event/lsn.h"
#include "pg/connection.h"
#include "testing/database_diff.h"
#include "testing/environment.h"
#include "testing/postgres_server.h"
#include "testing/serve_process.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string BinOf(const char* variable, const char* version) {
  const char* const given = std::getenv(variable);
  return given != nullptr ? given
                          : fmt::format("{}/build/pg/{}/usr/lib/postgresql/{}/bin", PGC_SOURCE_DIR,
                                        version, version);
}
std::string Bin15() { return BinOf("PGCAPTURE_EXTENSION_BIN", "15"); }
std::string Bin17() { return BinOf("PGCAPTURE_PG17_BIN", "17"); }

class ApplyKill : public testing::Test {
 protected:
  // Kills `kills` times unless told otherwise, then compares.
  void KillAndCompare(const std::string& target_bin, uint64_t kills);

 private:
  struct Load {
    std::vector<std::unique_ptr<WriteLoad>> writers;
    std::unique_ptr<DdlLoad> ddl;

    uint64_t committed() const {
      uint64_t all = ddl->committed();
      for (const auto& writer : writers) all += writer->committed();
      return all;
    }
  };

  void Start(const std::string& target_bin);
  void Kill(uint64_t number, std::mt19937_64& random);
  void WaitForMoment(const Load& load, std::mt19937_64& random);
  void DropHalfDoneIndexes();
  void WaitApplied();
  // Fails when serve has ended, or has given up the replica; looks for so long.
  void ExpectRunning(milliseconds time);

  TempDir folder_;
  std::unique_ptr<PostgresServer> source_;
  std::unique_ptr<PostgresServer> target_;
  std::unique_ptr<ServeProcess> serve_;
};

void ApplyKill::Start(const std::string& target_bin) {
  ASSERT_TRUE(std::filesystem::exists(target_bin + "/postgres"))
      << "no PostgreSQL in " << target_bin << ": run scripts/pgroot";
  auto source = PostgresServer::StartOf(Bin15(), {{"logical_decoding_work_mem", "64kB"}});
  ASSERT_TRUE(source.ok()) << source.status();
  source_ = *std::move(source);
  auto target = PostgresServer::StartOf(target_bin, {});
  ASSERT_TRUE(target.ok()) << target.status();
  target_ = *std::move(target);
  for (const auto* server : {&source_, &target_}) {
    const auto sql = Connection::Open((*server)->Url("postgres"));
    ASSERT_TRUE(sql.ok()) << sql.status();
    // Types of the same name have other OIDs on the target.
    if (server == &target_) {
      ASSERT_TRUE((*sql)->Execute("CREATE TYPE other AS (a int); DROP TYPE other").ok());
    }
    const absl::Status made = (*sql)->Execute(kLoadTables);
    ASSERT_TRUE(made.ok()) << made;
  }
  serve_ = std::make_unique<ServeProcess>(ServeProcess::Options{
      .program = PGC_BINARY_DIR "/pgcapture",
      .source = source_->Url("postgres"),
      .data_dir = folder_.path() / "data",
      .flags = {"--replica", target_->Url("postgres"), "--heartbeat-interval-ms", "500"},
      .wrapper = {}});
  const absl::Status started = serve_->Start();
  ASSERT_TRUE(started.ok()) << started;
}

void ApplyKill::ExpectRunning(milliseconds time) {
  Subprocess& process = serve_->process();
  const auto stopped = process.WaitForLine(R"("message":"replica stopped")", time);
  ASSERT_FALSE(stopped.has_value()) << process.errors();
  const auto code = process.Wait(milliseconds(0));
  ASSERT_FALSE(code.has_value()) << "serve ended with " << *code << ": " << process.errors();
}

// Some progress of the load away, and never further than a second.
void ApplyKill::WaitForMoment(const Load& load, std::mt19937_64& random) {
  const uint64_t committed = load.committed() + random() % 1000;
  const auto deadline = Clock::now() + milliseconds(50 + random() % 1200);
  while (load.committed() < committed && Clock::now() < deadline) {
    ASSERT_NO_FATAL_FAILURE(ExpectRunning(milliseconds(2)));
  }
}

void ApplyKill::Kill(uint64_t number, std::mt19937_64& random) {
  const uint64_t whom = random() % 12;
  const bool serve = whom < 5 || whom >= 10;
  const bool target = whom == 5 || whom == 6 || whom == 7 || whom >= 10;
  const bool source = whom == 8 || whom == 9 || whom == 11;
  const bool immediate = random() % 2 == 0;
  fmt::print("{}:{}{}{}{}\n", number, serve ? " serve" : "", target ? " target" : "",
             source ? " source" : "", source || target ? (immediate ? " (quit)" : " (kill)") : "");
  if (serve) serve_->Kill();
  for (auto* server : {target ? target_.get() : nullptr, source ? source_.get() : nullptr}) {
    if (server == nullptr) continue;
    if (immediate) {
      ASSERT_TRUE(server->StopImmediately().ok());
    } else {
      server->Kill();
    }
  }
  // The sink meets a target that is still away.
  if (serve && random() % 2 == 0) {
    ASSERT_TRUE(serve_->Launch().ok());
  }
  for (auto* server : {target ? target_.get() : nullptr, source ? source_.get() : nullptr}) {
    if (server == nullptr) continue;
    const absl::Status restarted = server->Restart();
    ASSERT_TRUE(restarted.ok()) << restarted;
  }
  if (serve) {
    serve_->Kill();
    const absl::Status started = serve_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }
}

// What was killed in the middle of a command that runs CONCURRENTLY leaves an index on the source
// that is not valid, without a word in the log. Whoever runs the source drops it.
void ApplyKill::DropHalfDoneIndexes() {
  const auto source = Connection::Open(source_->Url("postgres"));
  ASSERT_TRUE(source.ok()) << source.status();
  const auto indexes = (*source)->Query(
      "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid AND indrelid = "
      "'changing'::regclass");
  ASSERT_TRUE(indexes.ok()) << indexes.status();
  for (int row = 0; row < indexes->rows(); ++row) {
    const absl::Status dropped =
        (*source)->Execute(fmt::format("DROP INDEX IF EXISTS {}", indexes->Text(row, 0)));
    ASSERT_TRUE(dropped.ok()) << dropped;
  }
}

void ApplyKill::WaitApplied() {
  const auto source = Connection::Open(source_->Url("postgres"));
  ASSERT_TRUE(source.ok()) << source.status();
  const auto wal = (*source)->Query("SELECT pg_current_wal_insert_lsn()");
  ASSERT_TRUE(wal.ok()) << wal.status();
  ASSERT_TRUE((*source)->Execute("INSERT INTO marker VALUES (1)").ok());
  const auto deadline = Clock::now() + seconds(180);
  while (true) {
    const auto target = Connection::Open(target_->Url("postgres"));
    ASSERT_TRUE(target.ok()) << target.status();
    ASSERT_NO_FATAL_FAILURE(ExpectRunning(milliseconds(50)));
    const auto applied = (*target)->Query(
        fmt::format("SELECT 1 FROM pgcapture.sources WHERE id = 'pgcapture' AND commit >= '{}'",
                    wal->Text(0, 0)));
    if (applied.ok() && applied->rows() == 1) return;
    ASSERT_LT(Clock::now(), deadline) << serve_->process().errors();
  }
}

void ApplyKill::KillAndCompare(const std::string& target_bin, uint64_t kills) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_KILL_SEED", std::random_device()());
  kills = FromEnvironment("PGCAPTURE_KILL_COUNT", kills);
  fmt::print("PGCAPTURE_KILL_SEED={} PGCAPTURE_KILL_COUNT={}\n", seed, kills);
  std::mt19937_64 random(seed);
  ASSERT_NO_FATAL_FAILURE(Start(target_bin));
  const std::string url = source_->Url("postgres");
  uint64_t committed = 0;
  uint64_t commands = 0;
  {
    Load load;
    for (uint32_t i = 1; i <= 2; ++i) {
      load.writers.push_back(std::make_unique<WriteLoad>(url, i, seed + i));
    }
    load.ddl = std::make_unique<DdlLoad>(url, seed);
    for (uint64_t kill = 1; kill <= kills; ++kill) {
      ASSERT_NO_FATAL_FAILURE(WaitForMoment(load, random)) << "before number " << kill;
      ASSERT_NO_FATAL_FAILURE(Kill(kill, random)) << "number " << kill;
    }
    ASSERT_NO_FATAL_FAILURE(WaitForMoment(load, random));
    committed = load.committed();
    commands = load.ddl->committed();
  }
  fmt::print("{} transactions, {} of them with DDL\n", committed, commands);
  EXPECT_GT(committed, kills * 20) << "too little happened for this test to mean anything";
  EXPECT_GT(commands, kills * 2) << "too little happened for this test to mean anything";

  ASSERT_NO_FATAL_FAILURE(DropHalfDoneIndexes());
  ASSERT_NO_FATAL_FAILURE(WaitApplied());
  EXPECT_EQ(serve_->Stop(), 0) << serve_->process().errors();
  const auto diff = CompareDatabases(url, target_->Url("postgres"));
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_EQ(diff->differences, std::vector<std::string>());
  EXPECT_GT(diff->tables, 8u);
  // pg_dump of the newer version reads both.
  const auto expected = SchemaOf(target_bin, url);
  const auto actual = SchemaOf(target_bin, target_->Url("postgres"));
  ASSERT_TRUE(expected.ok() && actual.ok()) << expected.status() << actual.status();
  EXPECT_EQ(FirstDifference(*expected, *actual), "");
}

TEST_F(ApplyKill, NothingIsLostOrAppliedTwice) { KillAndCompare(Bin15(), 6); }

TEST_F(ApplyKill, NorOnATargetOfANewerVersion) { KillAndCompare(Bin17(), 4); }

}  // namespace
}  // namespace pgc
