#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "base/pause.h"
#include "e2e/dump/order_load.h"

namespace pgc {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kBurst{250};
// Half a second of the load, when nothing holds it up.
constexpr size_t kMostUnseen = 300;
constexpr seconds kLongestWait{1};

// 8 kB that cannot be compressed, another each time.
constexpr char kNoise[] =
    "(SELECT string_agg(uuid_send(gen_random_uuid()), '') FROM generate_series(1, 512))";

// The statements of one session.
class OrderStatements {
 public:
  OrderStatements(const OrderLoadOptions& options, uint64_t seed)
      : options_(options), random_(seed) {}

  uint32_t Pick(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  // One transaction, or what is undone.
  std::string Transaction() {
    const uint32_t kind = Pick(100);
    if (kind < 60) return Statement();
    std::string all = "BEGIN; ";
    for (uint32_t left = 1 + Pick(4); left > 0; --left) all += Statement() + "; ";
    if (kind < 66) all += "SAVEPOINT a; " + Statement() + "; ROLLBACK TO a; " + Statement() + "; ";
    if (kind < 72) all += "SAVEPOINT b; " + Statement() + "; RELEASE b; ";
    return all + (kind < 92 ? "COMMIT" : "ROLLBACK");
  }

 private:
  int Id() { return 1 + static_cast<int>(Pick(kOrderRows * 5 / 4)); }
  std::string Table(const char* name) const { return fmt::format("{}.{}", options_.schema, name); }

  std::string Statement() {
    const uint32_t table = Pick(100);
    if (table < 70) return OfLarge();
    return table < 85 ? OfLean() : OfLoose();
  }

  std::string OfLarge() {
    const std::string large = Table("large");
    const int id = Id();
    const uint32_t kind = Pick(100);
    if (kind == 0 && Pick(4) == 0) return fmt::format("UPDATE {} SET n = n + 1", large);
    if (kind < 50) {
      return fmt::format("UPDATE {} SET n = n + 1, note = 'at {}' WHERE id = {}", large, Pick(1000),
                         id);
    }
    if (kind < 60) {
      return fmt::format("UPDATE {} SET n = n + 1 WHERE id BETWEEN {} AND {}", large, id, id + 6);
    }
    if (kind < 65) {
      return fmt::format("UPDATE {} SET n = n + 1, big = {} WHERE id = {}", large, kNoise, id);
    }
    if (kind < 77 && MovesNow()) return MoveOfLarge(large, id, kind);
    if (kind < 77) return "SELECT";
    if (kind < 86) return fmt::format("DELETE FROM {} WHERE id = {}", large, id);
    return fmt::format(
        "INSERT INTO {} (id, n, note, big) SELECT {}, {}, 'new', {} ON CONFLICT DO NOTHING", large,
        id, Pick(1000), kNoise);
  }

  bool MovesNow() const {
    const auto since = std::chrono::steady_clock::now().time_since_epoch() % seconds(1);
    return !options_.moves_in_bursts || since < kBurst;
  }

  std::string MoveOfLarge(const std::string& large, int id, uint32_t kind) {
    const int other = Id();
    const auto move = [&](int from, int to) {
      return fmt::format("UPDATE {0} SET id = {1}{2} WHERE id = {3}", large, to,
                         options_.moves_bring_all ? fmt::format(", big = {}", kNoise) : "", from);
    };
    if (kind < 68 && id != other) {
      return move(id, -id) + "; " + move(other, id) + "; " + move(-id, other);
    }
    if (kind < 73) {
      return move(id, other) +
             fmt::format(" AND NOT EXISTS (SELECT FROM {} WHERE id = {})", large, other);
    }
    if (id == other) return "SELECT";
    return fmt::format("DELETE FROM {} WHERE id = {}; ", large, other) + move(id, other);
  }

  std::string OfLean() {
    const std::string lean = Table("lean");
    const int id = Id();
    const uint32_t kind = Pick(100);
    if (kind < 60) return fmt::format("UPDATE {} SET n = n + 1 WHERE id = {}", lean, id);
    if (kind < 70) {
      return fmt::format(
          "UPDATE {0} SET id = {1} WHERE id = {2} AND NOT EXISTS (SELECT FROM {0} WHERE id = {1})",
          lean, Id(), id);
    }
    if (kind < 85) return fmt::format("DELETE FROM {} WHERE id = {}", lean, id);
    return fmt::format("INSERT INTO {} (id, n) VALUES ({}, {}) ON CONFLICT DO NOTHING", lean, id,
                       Pick(1000));
  }

  std::string OfLoose() {
    const std::string loose = Table("loose");
    const uint32_t kind = Pick(100);
    const uint32_t n = Pick(100);
    if (kind < 50) return fmt::format("UPDATE {} SET a = a + 1 WHERE n = {}", loose, n);
    if (kind < 70) return fmt::format("DELETE FROM {} WHERE n = {}", loose, n);
    return fmt::format("INSERT INTO {} (n, a) SELECT {}, g FROM generate_series(1, 2) g", loose, n);
  }

  const OrderLoadOptions& options_;
  std::mt19937_64 random_;
};

// Two sessions got in each other's way.
bool IsConflict(const absl::Status& status) {
  const std::string state = SqlStateOf(status);
  return state == "23505" || state == "40P01" || state == "40001";
}

}  // namespace

const std::vector<OrderTable>& OrderTables() {
  static const std::vector<OrderTable> tables{
      {.name = "large", .has_key = true, .columns = {"id", "n", "note", "big", "pad"}},
      {.name = "lean", .has_key = true, .columns = {"id", "n", "a", "b", "c", "d"}},
      {.name = "loose", .has_key = false, .columns = {"n", "a"}}};
  return tables;
}

// No autovacuum: the load vacuums far more often, and at random moments.
std::string MakeOrderTables(const std::string& schema) {
  return fmt::format(
      "CREATE SCHEMA {0}; "
      "CREATE TABLE {0}.large (id int PRIMARY KEY, n int NOT NULL, g int GENERATED ALWAYS AS (n * "
      "2) STORED, note text, big bytea, h text GENERATED ALWAYS AS ('h' || note) STORED, pad text "
      "DEFAULT repeat('p', 1200)) WITH (fillfactor = 50, autovacuum_enabled = off); "
      "CREATE TABLE {0}.lean (id int PRIMARY KEY, n int NOT NULL, g int GENERATED ALWAYS AS (n * "
      "2) STORED, a bigint DEFAULT 1, b bigint DEFAULT 2, c bigint DEFAULT 3, d bigint DEFAULT 4) "
      "WITH (fillfactor = 50, autovacuum_enabled = off); "
      "CREATE TABLE {0}.loose (n int, a bigint, g bigint GENERATED ALWAYS AS (a * 2) STORED) WITH "
      "(fillfactor = 50, autovacuum_enabled = off); "
      "ALTER TABLE {0}.loose REPLICA IDENTITY FULL; "
      "CREATE TABLE {0}.barrier (n int PRIMARY KEY)",
      schema);
}

std::string FillOrderTables(const std::string& schema) {
  return fmt::format(
      "INSERT INTO {0}.large (id, n, note, big) SELECT g, g, 'first', noise FROM "
      "generate_series(1, "
      "{1}) g, LATERAL (SELECT string_agg(uuid_send(gen_random_uuid()), '') AS noise FROM "
      "generate_series(1, 512) WHERE g > 0) of_row; "
      "INSERT INTO {0}.lean (id, n) SELECT g, g FROM generate_series(1, {1}) g; "
      "INSERT INTO {0}.loose (n, a) SELECT g % 100, g FROM generate_series(1, {1}) g",
      schema, kOrderRows);
}

OrderLoad::OrderLoad(OrderLoadOptions options) : options_(std::move(options)) {
  for (int i = 0; i < options_.writers; ++i) {
    threads_.emplace_back([this, seed = options_.seed * 16 + static_cast<uint64_t>(i)](
                              const std::stop_token& stop) { Write(stop, seed); });
  }
  for (const std::string& server : options_.vacuumed) {
    threads_.emplace_back([this, server, seed = options_.seed * 16 + 15](
                              const std::stop_token& stop) { Vacuum(server, stop, seed); });
  }
}

OrderLoad::~OrderLoad() {
  for (std::jthread& thread : threads_) thread.request_stop();
}

void OrderLoad::Pause() {
  MutexLock lock(mutex_);
  paused_ = true;
  while (busy_ > 0) changed_.Wait(mutex_);
}

void OrderLoad::Resume() {
  MutexLock lock(mutex_);
  paused_ = false;
  changed_.NotifyAll();
}

bool OrderLoad::Begin(const std::stop_token& stop) {
  MutexLock lock(mutex_);
  changed_.Wait(mutex_, stop, [this]() PGC_NO_THREAD_SAFETY_ANALYSIS { return !paused_; });
  if (stop.stop_requested()) return false;
  ++busy_;
  return true;
}

void OrderLoad::End() {
  MutexLock lock(mutex_);
  --busy_;
  changed_.NotifyAll();
}

void OrderLoad::Write(const std::stop_token& stop, uint64_t seed) {
  auto session = Connection::Open(options_.url);
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->Execute("SET deadlock_timeout = '20ms'").ok());
  OrderStatements statements(options_, seed);
  while (Begin(stop)) {
    const std::string sql = statements.Transaction();
    absl::Status written = (*session)->Execute(sql);
    if (IsConflict(written)) written = (*session)->Execute("ROLLBACK");
    EXPECT_TRUE(written.ok()) << written << "\n" << sql;
    const auto end = (*session)->Query("SELECT pg_current_wal_insert_lsn()");
    EXPECT_TRUE(end.ok()) << end.status();
    End();
    if (!written.ok() || !end.ok()) return;
    WaitForConsumers(stop, *ParseLsn(end->Text(0, 0)));
    pgc::Pause(microseconds(statements.Pick(8000)), stop);
  }
}

void OrderLoad::WaitForConsumers(const std::stop_token& stop, Lsn end) {
  // Transactions that change no row are not seen, so nobody waits for long.
  const auto deadline = std::chrono::steady_clock::now() + kLongestWait;
  const auto are_near = [this] {
    const Lsn consumed = options_.consumed();
    MutexLock lock(mutex_);
    std::erase_if(unseen_, [consumed](Lsn unseen) { return unseen <= consumed; });
    return unseen_.size() <= kMostUnseen;
  };
  {
    MutexLock lock(mutex_);
    unseen_.push_back(end);
  }
  while (!are_near() && !stop.stop_requested() && std::chrono::steady_clock::now() < deadline) {
    pgc::Pause(milliseconds(5), stop);
  }
}

// While an old snapshot is there pages fill up, as nothing in them can be reused; the vacuum after
// it makes room again in pages before, for rows that are written later.
void OrderLoad::Vacuum(const std::string& url, const std::stop_token& stop, uint64_t seed) {
  auto session = Connection::Open(url);
  auto old = Connection::Open(url);
  ASSERT_TRUE(session.ok() && old.ok()) << session.status() << old.status();
  std::mt19937_64 random(seed);
  while (Begin(stop)) {
    const auto run = [](Connection& on, const std::string& sql) {
      const absl::Status done = on.Execute(sql);
      EXPECT_TRUE(done.ok()) << done;
    };
    run(**old, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT");
    pgc::Pause(milliseconds(random() % 120), stop);
    run(**old, "COMMIT");
    for (const OrderTable& table : OrderTables()) {
      run(**session, fmt::format("VACUUM {}.{}", options_.schema, table.name));
    }
    End();
    pgc::Pause(milliseconds(10 + random() % 100), stop);
  }
}

}  // namespace pgc
