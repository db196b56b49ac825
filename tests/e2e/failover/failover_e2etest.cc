// A primary dies while a transaction is half streamed, and its standby is promoted.
//
// Needs PostgreSQL 17, the first with slots that survive that: in PGCAPTURE_PG17_BIN, else where
// scripts/pgroot unpacks it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "client/capture_client.h"
#include "pg/connection.h"
#include "testing/postgres_server.h"
#include "testing/serve_process.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using std::chrono::seconds;

constexpr seconds kWait{60};

std::string Bin() {
  const char* const given = std::getenv("PGCAPTURE_PG17_BIN");
  return given != nullptr ? given : PGC_SOURCE_DIR "/build/pg/17/usr/lib/postgresql/17/bin";
}

int32_t Id(const pb::CaptureMessage& message) {
  uint32_t id = 0;
  for (const char byte : message.change().new_(0).binary()) {
    id = id << 8 | static_cast<uint8_t>(byte);
  }
  return static_cast<int32_t>(id);
}

// Stops what waits for too long, so that a test fails instead of hanging.
class Deadline {
 public:
  Deadline() {
    thread_ = std::jthread([this](const std::stop_token& done) {
      Mutex mutex;
      CondVar never;
      MutexLock lock(mutex);
      never.WaitUntil(mutex, done, std::chrono::steady_clock::now() + kWait, [] { return false; });
      source_.request_stop();
    });
  }
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread thread_;
};

class Failover : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(Bin() + "/postgres"))
        << "no PostgreSQL 17 in " << Bin() << ": run scripts/pgroot 17";
    auto primary = PostgresServer::StartOf(
        Bin(), {{"logical_decoding_work_mem", "64kB"}, {"synchronized_standby_slots", "standby"}});
    ASSERT_TRUE(primary.ok()) << primary.status();
    primary_ = *std::move(primary);
    primary_sql_ = Connect(*primary_);
    Sql(*primary_sql_,
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "SELECT pg_create_physical_replication_slot('standby')");
    auto standby = PostgresServer::StartStandby(*primary_, "standby",
                                                {{"hot_standby_feedback", "on"},
                                                 {"sync_replication_slots", "on"},
                                                 {"synchronized_standby_slots", ""}});
    ASSERT_TRUE(standby.ok()) << standby.status();
    standby_ = *std::move(standby);
    standby_sql_ = Connect(*standby_);
  }
  static std::unique_ptr<Connection> Connect(const PostgresServer& server) {
    auto connection = Connection::Open(server.Url("postgres"));
    EXPECT_TRUE(connection.ok()) << connection.status();
    return connection.ok() ? *std::move(connection) : nullptr;
  }
  static void Sql(Connection& sql, const std::string& statements) {
    const absl::Status status = sql.Execute(statements);
    ASSERT_TRUE(status.ok()) << status;
  }
  static std::string Ask(Connection& sql, const std::string& query) {
    const auto rows = sql.Query(query);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() && rows->rows() > 0 ? std::string(rows->Text(0, 0)) : "?";
  }
  std::string BothHosts() const {
    return fmt::format(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        primary_->port(), standby_->port());
  }
  static std::unique_ptr<CaptureClient> Open(const ServeProcess& serve, const char* name,
                                             const char* from) {
    CaptureClientOptions options{
        .gateway = serve.address(), .uri = std::string("pgcapture/") + name, .parameters = {}};
    (*options.parameters.mutable_fields())["From"].set_string_value(from);
    auto client = CaptureClient::Open(options, {});
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
  // The ids of the changes up to that of `last`.
  static std::vector<int32_t> IdsUntil(CaptureClient& client, int32_t last) {
    const Deadline deadline;
    std::vector<int32_t> ids;
    while (ids.empty() || ids.back() != last) {
      const auto message = client.Next(deadline.token());
      EXPECT_TRUE(message.ok()) << message.status() << " after " << ids.size() << " changes";
      if (!message.ok()) break;
      ids.push_back(Id(*message));
      EXPECT_TRUE(client.Ack(message->checkpoint()).ok());
    }
    return ids;
  }
  // Until the standby could take over the slot.
  void WaitUntilSynchronized() {
    const Deadline deadline;
    while (Ask(*standby_sql_,
               "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pgcapture' AND synced "
               "AND NOT temporary") != "1") {
      ASSERT_FALSE(deadline.token().stop_requested()) << "the standby does not get the slot";
      Sql(*primary_sql_, "SELECT pg_log_standby_snapshot(), pg_sleep(0.05)");
    }
  }
  uint64_t SpooledBytes() const {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path() / "data/spool")) {
      bytes += entry.file_size();
    }
    return bytes;
  }

  TempDir folder_;
  std::unique_ptr<PostgresServer> primary_;
  std::unique_ptr<PostgresServer> standby_;
  std::unique_ptr<Connection> primary_sql_;
  std::unique_ptr<Connection> standby_sql_;
};

TEST_F(Failover, APromotedStandbyGoesOnWithoutAWordAndWithoutTheHalfThatWasStreamed) {
  ServeProcess serve({.program = PGC_BINARY_DIR "/pgcapture",
                      .source = BothHosts(),
                      .data_dir = folder_.path() / "data",
                      .flags = {"--no-ddl", "--heartbeat-interval-ms", "100"},
                      .wrapper = {}});
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const auto live = Open(serve, "live", "beginning");
  ASSERT_NE(live, nullptr);
  Sql(*primary_sql_, "INSERT INTO t SELECT generate_series(1, 100)");
  EXPECT_EQ(IdsUntil(*live, 100).size(), 100U);
  ASSERT_NO_FATAL_FAILURE(WaitUntilSynchronized());

  const auto large = Connect(*primary_);
  Sql(*large, "BEGIN; INSERT INTO t SELECT i, md5(i::text) FROM generate_series(10001, 60000) i");
  {
    const Deadline deadline;
    while (SpooledBytes() < (1 << 20)) {
      ASSERT_FALSE(deadline.token().stop_requested()) << "too little was streamed";
      Sql(*primary_sql_, "SELECT pg_sleep(0.01)");
    }
  }
  Sql(*primary_sql_, "INSERT INTO t VALUES (1001)");
  EXPECT_EQ(IdsUntil(*live, 1001).size(), 1U);

  primary_->Kill();
  Sql(*standby_sql_, "SELECT pg_promote()");
  Sql(*standby_sql_, "INSERT INTO t SELECT generate_series(2001, 2003)");
  EXPECT_EQ(IdsUntil(*live, 2003), (std::vector<int32_t>{2001, 2002, 2003}));

  // The whole log, once more: each row that the promoted server has, once.
  const auto check = Open(serve, "check", "beginning");
  ASSERT_NE(check, nullptr);
  std::string ids;
  for (const int32_t id : IdsUntil(*check, 2003)) ids += fmt::format("{} ", id);
  EXPECT_EQ(ids, Ask(*standby_sql_, "SELECT string_agg(id || ' ', '' ORDER BY id) FROM t"));
  EXPECT_EQ(SpooledBytes(), 0U);
  EXPECT_EQ(serve.Stop(), 0);
  const std::string log = serve.process().errors();
  EXPECT_NE(log.find("will be tried again"), std::string::npos) << log;
  for (const char* word : {R"("level":"error")", "timeline", "gap", "lost", "past the log"}) {
    EXPECT_EQ(log.find(word), std::string::npos) << word << " in " << log;
  }
}

TEST_F(Failover, WithoutASynchronizedSlotTheLogSaysThatItCannotGoOn) {
  ServeProcess serve({.program = PGC_BINARY_DIR "/pgcapture",
                      .source = BothHosts(),
                      .data_dir = folder_.path() / "data",
                      .flags = {"--no-ddl"},
                      .wrapper = {}});
  ASSERT_TRUE(standby_->Restart({{"sync_replication_slots", "off"}}).ok());
  standby_sql_ = Connect(*standby_);
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const auto live = Open(serve, "live", "beginning");
  ASSERT_NE(live, nullptr);
  Sql(*primary_sql_, "INSERT INTO t VALUES (1)");
  EXPECT_EQ(IdsUntil(*live, 1).size(), 1U);
  primary_->Kill();
  Sql(*standby_sql_, "SELECT pg_promote()");
  ASSERT_EQ(serve.process().Wait(kWait), 1) << serve.process().errors();
  EXPECT_NE(serve.process().errors().find("no replication slot 'pgcapture'"), std::string::npos)
      << serve.process().errors();
}

}  // namespace
}  // namespace pgc
