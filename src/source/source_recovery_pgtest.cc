// The stream against test_decoding, row by row, also over crashes of the server.
#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "source/postgres_source.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

// Transactions of random statements over tables of every replica identity, by seed.
class Workload {
 public:
  explicit Workload(uint32_t seed) : random_(seed) {}

  static constexpr char kTables[] =
      "CREATE TABLE keyed (id int PRIMARY KEY, n bigint, b boolean, v text);"
      "CREATE TABLE whole (id int, n bigint, b boolean, v text);"
      "ALTER TABLE whole REPLICA IDENTITY FULL;"
      "CREATE TABLE indexed (id int NOT NULL, n bigint, b boolean, v text);"
      "CREATE UNIQUE INDEX indexed_id ON indexed (id);"
      "ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id;"
      "ALTER TABLE keyed ALTER v SET STORAGE EXTERNAL;"
      "ALTER TABLE whole ALTER v SET STORAGE EXTERNAL";

  std::string Transaction() {
    std::string text = "BEGIN;";
    for (int statements = Number(1, 6); statements > 0; --statements) text += Statement() + ";";
    return text + (Number(0, 9) == 0 ? "ROLLBACK" : "COMMIT");
  }

 private:
  int Number(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  std::string Value() {
    switch (Number(0, 5)) {
      case 0:
        return "NULL";
      case 1:
        return "'it''s'";
      case 2:
        return fmt::format("repeat('{}', {})", Number(0, 9), Number(2500, 9000));  // TOAST
      case 3:
        return "''";
      default:
        return fmt::format("md5('{}')", Number(0, 1'000'000));
    }
  }

  std::string Statement() {
    static constexpr const char* kNames[] = {"keyed", "whole", "indexed"};
    const std::string table = kNames[Number(0, 2)];
    const int id = Number(0, 400);
    switch (Number(0, 9)) {
      case 0:
        return fmt::format("DELETE FROM {} WHERE id BETWEEN {} AND {}", table, id, id + 5);
      case 1:
        return fmt::format("UPDATE {} SET id = -id - {} WHERE id = {}", table, ++unique_ * 1000,
                           id);
      case 2:
        return fmt::format("UPDATE {} SET v = {} WHERE id BETWEEN {} AND {}", table, Value(), id,
                           id + 9);
      case 3:
        return fmt::format("UPDATE {} SET n = {}, b = NOT b WHERE id BETWEEN {} AND {}", table,
                           int64_t{Number(-9, 9)} * 5'000'000'000, id, id + 9);
      case 4:
        return fmt::format("SAVEPOINT s; DELETE FROM {} WHERE id < {}; ROLLBACK TO s", table, id);
      default:
        return fmt::format(
            "DELETE FROM {0} WHERE id = {1}; INSERT INTO {0} VALUES ({1}, {2}, {3}, "
            "{4})",
            table, id, Number(-5, 5), Number(0, 1) == 0 ? "true" : "NULL", Value());
    }
  }

  std::mt19937 random_;
  int unique_ = 0;
};

// What test_decoding says of the same WAL, without what an event leaves out.
std::vector<std::string> TestDecoding(Connection& sql) {
  const auto rows = sql.Query(
      "SELECT data FROM pg_logical_slot_peek_changes('reference', NULL, NULL, 'include-xids', '0',"
      " 'skip-empty-xacts', '1')");
  EXPECT_TRUE(rows.ok()) << rows.status();
  std::vector<std::string> lines;
  for (int i = 0; rows.ok() && i < rows->rows(); ++i) {
    std::string line(rows->Text(i, 0));
    if (line.starts_with("message: ")) continue;  // a heartbeat
    const std::string unchanged = " v[text]:unchanged-toast-datum";
    if (const size_t at = line.find(unchanged); at != std::string::npos) {
      // Under FULL it is in the old row, which comes first.
      const size_t old_value = line.find(" v[text]:");
      const size_t new_tuple = line.find(" new-tuple:");
      const std::string value = old_value < new_tuple && new_tuple != std::string::npos
                                    ? line.substr(old_value, new_tuple - old_value)
                                    : "";
      line.replace(at, unchanged.size(), value);
    }
    // From 16 on a heartbeat has a transaction around it.
    if (line == "COMMIT" && !lines.empty() && lines.back() == "BEGIN") {
      lines.pop_back();
      continue;
    }
    lines.push_back(line);
  }
  return lines;
}

class SourceRecovery : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = PostgresServer::Start({{"fsync", "on"}, {"wal_writer_delay", "10ms"}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    Connect();
    options_.url = server_->Url("postgres");
    options_.no_ddl = true;
    options_.heartbeat_interval = std::chrono::milliseconds(100);
  }
  void Connect() {
    auto sql = Connection::Open(server_->Url("postgres"));
    ASSERT_TRUE(sql.ok()) << sql.status();
    sql_ = *std::move(sql);
  }
  void MakeSlots() {
    ASSERT_TRUE(sql_->Execute(Workload::kTables).ok());
    ASSERT_TRUE(sql_->Execute("CREATE PUBLICATION pgcapture FOR ALL TABLES WITH "
                              "(publish_via_partition_root = true)")
                    .ok());
    // The source goes on from what its slot has confirmed.
    ASSERT_TRUE(
        sql_->Execute("SELECT pg_create_logical_replication_slot('pgcapture', 'pgoutput')").ok());
    ASSERT_TRUE(
        sql_->Execute("SELECT pg_create_logical_replication_slot('reference', 'test_decoding')")
            .ok());
  }
  void Write(Workload& workload, int transactions) {
    for (int i = 0; i < transactions; ++i) {
      const absl::Status status = sql_->Execute(workload.Transaction());
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  Lsn WalEnd() {
    return ParseLsn(sql_->Query("SELECT pg_current_wal_lsn()")->Text(0, 0)).value_or(Lsn{});
  }

  std::unique_ptr<PostgresServer> server_;
  std::unique_ptr<Connection> sql_;
  PostgresSourceOptions options_;
};

TEST_F(SourceRecovery, EveryRowIsWhatTestDecodingSays) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  MakeSlots();
  Workload workload(seed);
  SourceReader reader(NewPostgresSource(options_));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Write(workload, 1000);
  const std::vector<std::string> events = reader.WaitForPosition(WalEnd());
  const std::vector<std::string> expected = TestDecoding(*sql_);
  EXPECT_GT(expected.size(), 3000U);
  ASSERT_EQ(events.size(), expected.size());
  for (size_t i = 0; i < events.size(); ++i) ASSERT_EQ(events[i], expected[i]) << i;
}

// What a log would have kept of several sources, one after the other.
class Log {
 public:
  void Take(SourceReader& reader) {
    const absl::Status status = reader.End();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    Keep(reader);
  }
  void Keep(SourceReader& reader) {
    const std::vector<std::string> events = reader.events();
    events_.insert(events_.end(), events.begin(), events.end());
    resume = reader.resume();
    // A transaction cut off comes again, whole.
    while (!events_.empty() && events_.back() != "COMMIT") events_.pop_back();
  }
  const std::vector<std::string>& events() const { return events_; }
  ResumePoint resume;

 private:
  std::vector<std::string> events_;
};

TEST_F(SourceRecovery, ACrashOfTheServerLosesAndRepeatsNothing) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  MakeSlots();
  Workload workload(seed);
  Log log;
  for (int round = 0; round < 4; ++round) {
    SourceReader reader(NewPostgresSource(options_), log.resume);
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    Write(workload, 100);
    if (round % 2 == 0) reader.WaitForPosition(WalEnd());
    switch (round) {
      case 0:
      case 1:
        server_->Kill();
        break;
      case 2:
        ASSERT_TRUE(server_->StopImmediately().ok());
        break;
      default:
        break;
    }
    // Started again it ends in order what still runs.
    ASSERT_TRUE(server_->Restart().ok());
    log.Take(reader);
    Connect();
  }
  SourceReader reader(NewPostgresSource(options_), log.resume);
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  Write(workload, 10);
  reader.WaitForPosition(WalEnd());
  log.Keep(reader);
  const std::vector<std::string> expected = TestDecoding(*sql_);
  ASSERT_EQ(log.events().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(log.events()[i], expected[i]) << i;
}

TEST_F(SourceRecovery, AServerThatStopsIsNotHeldUp) {
  MakeSlots();
  SourceReader reader(NewPostgresSource(options_));
  ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
  ASSERT_TRUE(sql_->Execute("INSERT INTO keyed VALUES (1)").ok());
  const auto begun = std::chrono::steady_clock::now();
  // Its walsenders wait until all is confirmed.
  ASSERT_TRUE(server_->Restart().ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  const absl::Status ended = reader.End();
  EXPECT_TRUE(absl::IsUnavailable(ended)) << ended;
  EXPECT_EQ(reader.events().size(), 3U);
}

TEST_F(SourceRecovery, APromotedServerIsTheSameHistory) {
  MakeSlots();
  ResumePoint resume;
  {
    SourceReader reader(NewPostgresSource(options_));
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    ASSERT_TRUE(sql_->Execute("INSERT INTO keyed VALUES (1)").ok());
    ASSERT_EQ(reader.WaitForEvents(3).size(), 3U);
    reader.WaitForPosition(WalEnd());
    resume = reader.resume();
  }
  // A standby of nothing, promoted: the same WAL on a new timeline.
  std::ofstream(server_->folder() / "data/standby.signal").flush();
  ASSERT_TRUE(server_->Restart().ok());
  Connect();
  ASSERT_TRUE(sql_->Execute("SELECT pg_promote()").ok());
  ASSERT_TRUE(sql_->Execute("INSERT INTO keyed VALUES (2)").ok());
  constexpr char kRow[] =
      "table public.keyed: INSERT: id[integer]:2 n[bigint]:null b[boolean]:null v[text]:null";
  {
    SourceReader reader(NewPostgresSource(options_), resume, /*acknowledge=*/false);
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    EXPECT_THAT(reader.WaitForEvents(3), testing::Contains(kRow));
    EXPECT_THAT(reader.resume().origin, testing::HasSubstr(" timeline=2 "));
  }
  // Positions past the end of timeline 1 that were of no change: what is new there is not skipped.
  resume.last.lsn.value = resume.captured.value - 1;
  resume.captured.value += 1'000'000;
  {
    SourceReader reader(NewPostgresSource(options_), resume);
    ASSERT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    EXPECT_THAT(reader.WaitForEvents(3), testing::Contains(kRow));
  }
  // A log that has a change of timeline 1 after that was left holds what never happened here.
  resume.last.lsn = WalEnd();
  const absl::Status status = NewPostgresSource(options_)->Open(resume, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("on timeline 1"));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("branched off at"));
}

}  // namespace
}  // namespace pgc
