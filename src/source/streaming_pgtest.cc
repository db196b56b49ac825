// Transactions in pieces give the same log as transactions whole.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <utility>

#include "event/pipeline.h"
#include "pg/connection.h"
#include "source/postgres_source.h"
#include "testing/captured.h"
#include "testing/postgres_server.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

constexpr std::chrono::seconds kWait{120};
constexpr int kSurelyInPieces = 12;

// Reads a topic until the server's WAL is captured up to `end`.
absl::StatusOr<std::vector<CapturedEvent>> Read(const PostgresSourceOptions& options, Lsn end) {
  const auto source = NewPostgresSource(options);
  return ReadTo(*source, end, kWait);
}

// One client's random transactions, some of them larger than the server keeps in memory.
class Client {
 public:
  // `messages`: where logical messages are written.
  enum class Messages : uint8_t { kOutsideSavepoints, kEverywhere };
  Client(std::string url, uint32_t number, uint32_t seed, Messages messages)
      : url_(std::move(url)), number_(number), random_(seed), messages_(messages) {}

  void Run(int transactions) {
    auto connection = Connection::Open(url_);
    ASSERT_TRUE(connection.ok()) << connection.status();
    for (int i = 0; i < transactions; ++i) {
      std::string sql = "BEGIN;";
      in_savepoint_ = false;
      Block(sql, 0);
      if (Pick(6) == 0) {
        sql += fmt::format(
            "ALTER TABLE client{0} ADD COLUMN c{1} int DEFAULT {1}; UPDATE client{0} SET c{1} = 7 "
            "WHERE id % 3 = 0;",
            number_, columns_++);
      }
      Block(sql, 0);
      sql += Pick(5) == 0 ? "ROLLBACK" : "COMMIT";
      const absl::Status status = (*connection)->Execute(sql);
      ASSERT_TRUE(status.ok()) << status;
    }
  }

 private:
  uint32_t Pick(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  void Block(std::string& sql, int depth) {
    for (uint32_t i = 1 + Pick(4); i > 0; --i) {
      switch (Pick(7)) {
        case 0:
          sql += fmt::format(
              "INSERT INTO client{} SELECT nextval('ids'), repeat(md5(random()::text), 20) FROM "
              "generate_series(1, {});",
              number_, 200 + Pick(600));
          break;
        case 1:
          sql += fmt::format("UPDATE client{} SET v = 'changed' WHERE id % {} = 1;", number_,
                             2 + Pick(5));
          break;
        case 2:
          sql += fmt::format("UPDATE client{} SET id = -nextval('ids') WHERE id % {} = 3;", number_,
                             3 + Pick(5));
          break;
        case 3:
          sql += fmt::format("DELETE FROM client{} WHERE id % {} = 2;", number_, 2 + Pick(5));
          break;
        case 4:
          if (in_savepoint_ && messages_ == Messages::kOutsideSavepoints) break;
          // With a change after it that is of no subtransaction.
          sql += fmt::format(
              "SELECT pg_logical_emit_message({}, 'test', 'x'); INSERT INTO client{} VALUES "
              "(nextval('ids'), 'one');",
              Pick(2) == 0 ? "true" : "false", number_);
          break;
        case 5:
          // One that is rolled back can make servers before 17 fail, so that the rest is had whole.
          if (Pick(4) == 0 && (!in_savepoint_ || messages_ == Messages::kEverywhere)) {
            sql += fmt::format("TRUNCATE client{};", number_);
          }
          break;
        default:
          if (depth == 4) break;
          const std::string name = fmt::format("s{}", depth);
          sql += "SAVEPOINT " + name + ";";
          const bool outer = std::exchange(in_savepoint_, true);
          Block(sql, depth + 1);
          // Without a release it goes on in the savepoint, as what is new of it.
          const bool rolled_back = Pick(2) == 0;
          const bool released = !rolled_back || Pick(2) == 0;
          if (rolled_back) sql += "ROLLBACK TO " + name + ";";
          if (released) sql += "RELEASE " + name + ";";
          in_savepoint_ = outer || !released;
      }
    }
  }

  const std::string url_;
  const uint32_t number_;
  std::mt19937 random_;
  const Messages messages_;
  int columns_ = 0;
  bool in_savepoint_ = false;  // where the transaction is
};

class Streaming : public testing::Test {
 protected:
  void SetUp() override {
    auto server = PostgresServer::Start({{"logical_decoding_work_mem", "64kB"}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto connection = Connection::Open(url());
    ASSERT_TRUE(connection.ok()) << connection.status();
    sql_ = *std::move(connection);
  }
  std::string url() const { return server_->Url("postgres"); }
  PostgresSourceOptions Options(const std::string& topic, bool pieces) const {
    PostgresSourceOptions options;
    options.url = url();
    options.topic = topic;
    options.no_ddl = true;
    if (pieces) options.spool_dir = folder_.path() / "spool";
    return options;
  }
  void Sql(const std::string& sql) {
    const absl::Status status = sql_->Execute(sql);
    ASSERT_TRUE(status.ok()) << status << "\n" << sql;
  }
  void MakeSlot(const std::string& topic) {
    Sql(fmt::format("CREATE PUBLICATION {} FOR ALL TABLES WITH (publish_via_partition_root = true)",
                    topic));
    Sql(fmt::format("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", topic));
  }
  Lsn End() {
    Sql("SELECT pg_logical_emit_message(true, 'pgcapture.heartbeat', '')");
    const auto result = sql_->Query("SELECT pg_current_wal_lsn()");
    EXPECT_TRUE(result.ok());
    return *ParseLsn(result->Text(0, 0));
  }

  void Compare(Client::Messages messages, int64_t& in_pieces);

  TempDir folder_;
  std::unique_ptr<PostgresServer> server_;
  std::unique_ptr<Connection> sql_;
};

// Writes random transactions and compares what both ways give; how many came in pieces.
void Streaming::Compare(Client::Messages messages, int64_t& in_pieces) {
  const uint32_t seed = std::random_device()();
  fmt::print("seed {}\n", seed);
  constexpr uint32_t kClients = 3;
  Sql("CREATE SEQUENCE ids");
  for (uint32_t i = 0; i < kClients; ++i) {
    Sql(fmt::format("CREATE TABLE client{} (id bigint PRIMARY KEY, v text)", i));
  }
  Sql("CREATE TABLE nobodys (id bigint PRIMARY KEY, v text)");
  MakeSlot("whole");
  MakeSlot("pieces");
  // The clients may write what the server cannot decode in pieces, and then all that follows comes
  // whole: these come in pieces whatever the seed.
  for (int i = 0; i < kSurelyInPieces; ++i) {
    Sql("INSERT INTO nobodys SELECT nextval('ids'), repeat(md5(i::text), 20)"
        " FROM generate_series(1, 400) i");
  }
  {
    std::vector<std::jthread> clients;
    for (uint32_t i = 0; i < kClients; ++i) {
      clients.emplace_back(
          [this, i, seed, messages] { Client(url(), i, seed + i, messages).Run(20); });
    }
  }
  const Lsn end = End();
  const auto whole = Read(Options("whole", false), end);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto pieces = Read(Options("pieces", true), end);
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  for (size_t i = 0; i < std::min(whole->size(), pieces->size()); ++i) {
    ASSERT_EQ(pieces->at(i), whole->at(i)) << i;
  }
  ASSERT_EQ(pieces->size(), whole->size());
  EXPECT_GT(whole->size(), 1000u);
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path() / "spool"));
  const auto streamed =
      sql_->Query("SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = 'pieces'");
  ASSERT_TRUE(streamed.ok());
  in_pieces = streamed->Int(0, 0);
}

TEST_F(Streaming, PiecesGiveTheSameLogByteForByte) {
  int64_t in_pieces = 0;
  ASSERT_NO_FATAL_FAILURE(Compare(Client::Messages::kOutsideSavepoints, in_pieces));
  EXPECT_GE(in_pieces, kSurelyInPieces);
}

TEST_F(Streaming, MessagesThatMayHaveBeenRolledBackGiveTheSameLogToo) {
  int64_t in_pieces = 0;
  ASSERT_NO_FATAL_FAILURE(Compare(Client::Messages::kEverywhere, in_pieces));
  EXPECT_GE(in_pieces, kSurelyInPieces);
}

// A table that is changed after a change of the same kind was rolled back in a savepoint: servers
// before 17 cannot decode that in pieces, whoever asks them, and can decode it whole.
TEST_F(Streaming, WhatTheServerCannotDecodeInPiecesIsHadWhole) {
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  MakeSlot("whole");
  MakeSlot("pieces");
  const auto rows = [](int first, int last) {
    return fmt::format(
        "INSERT INTO t SELECT i, repeat(md5(i::text), 20) FROM generate_series({}, {}) i;", first,
        last);
  };
  Sql(rows(1, 800));
  Sql("BEGIN; SAVEPOINT a; TRUNCATE t;" + rows(1, 300) + "ROLLBACK TO a;" + rows(801, 1100) +
      "TRUNCATE t;" + rows(1, 300) + "COMMIT");
  Sql("INSERT INTO t VALUES (0, 'after')");
  const Lsn end = End();
  const auto whole = Read(Options("whole", false), end);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto pieces = Read(Options("pieces", true), end);
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_EQ(whole->size(), (1U + 800 + 1) + (1 + 300 + 1 + 300 + 1) + (1 + 1 + 1));
  EXPECT_TRUE(*pieces == *whole);
}

}  // namespace
}  // namespace pgc
