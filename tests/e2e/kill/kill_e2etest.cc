// Kills `serve` and PostgreSQL with SIGKILL at random moments under load, and compares what a
// consumer got with what test_decoding says was committed, row by row.
//
// PGCAPTURE_KILL_SEED and PGCAPTURE_KILL_COUNT choose the moments and how many there are.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "client/capture_client.h"
#include "e2e/kill/key_order.h"
#include "event/checkpoint.h"
#include "pg/connection.h"
#include "testing/environment.h"
#include "testing/postgres_server.h"
#include "testing/serve_process.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// What an acknowledgement needs to be durable, with room for a busy machine.
constexpr milliseconds kAckHolds{1000};

constexpr uint32_t kInt4 = 23;

std::string Column(const pb::Field& field) {
  std::string value = "null";
  if (field.has_binary() && field.oid() == kInt4) {
    uint32_t number = 0;
    for (const char c : field.binary()) number = number << 8 | static_cast<uint8_t>(c);
    value = std::to_string(static_cast<int32_t>(number));
  } else if (field.has_binary()) {
    value = "'" + field.binary() + "'";
  }
  return fmt::format(" {}[{}]:{}", field.name(), field.oid() == kInt4 ? "integer" : "text", value);
}

// The line that test_decoding prints for the change.
std::string Line(const pb::Change& change) {
  std::string line = fmt::format("table {}.{}: {}:", change.schema(), change.table(),
                                 pb::Change::Operation_Name(change.op()));
  const bool update_with_old = change.op() == pb::Change::UPDATE && change.old_size() > 0;
  if (update_with_old) line += " old-key:";
  for (const pb::Field& field : change.old()) line += Column(field);
  if (update_with_old) line += " new-tuple:";
  for (const pb::Field& field : change.new_()) line += Column(field);
  return line;
}

// What `KeyShared` keeps together: a row of `keyed`, and all of a table with REPLICA IDENTITY FULL.
KeyOrder::Keys KeysOf(const pb::Change& change) {
  if (change.table() != "keyed") return {.key = change.table(), .before = change.table()};
  const auto id = [](const auto& fields) { return "keyed" + Column(fields[0]); };
  const bool has_new = change.new__size() > 0;
  return {.key = id(has_new ? change.new_() : change.old()),
          .before = id(change.old_size() > 0 ? change.old() : change.new_())};
}

enum class Sharing : uint8_t {
  kNone,   // one consumer, which gets all in order
  kAny,    // several, which requeue some of what they get
  kByKey,  // several, which requeue, leave and come back
};

// Consume one subscription over all restarts, and remember everything.
class Consumers {
 public:
  Consumers(std::string address, uint64_t seed, Sharing sharing)
      : address_(std::move(address)), sharing_(sharing) {
    const size_t count = sharing == Sharing::kNone ? 1 : 3;
    nudges_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      threads_.emplace_back(
          [this, i, random = std::mt19937_64(seed + i)](const std::stop_token& stop) mutable {
            while (!stop.stop_requested()) Session(i, random, stop);
          });
    }
    if (sharing == Sharing::kByKey) {
      threads_.emplace_back([this](const std::stop_token& stop) { Nudge(stop); });
    }
  }

  // Tells that `serve` was killed: what was acknowledged long enough before must not come again.
  void Killed(Clock::time_point when) {
    MutexLock lock(mutex_);
    kills_.push_back(when);
  }

  // Waits until the subscription has been attached for the first time.
  void WaitAttached() {
    MutexLock lock(mutex_);
    ASSERT_TRUE(changed_.WaitUntil(mutex_, std::stop_token(), Clock::now() + seconds(60),
                                   [this]() PGC_REQUIRES(mutex_) { return attached_; }));
  }

  // Waits until `count` changes have come, or until `deadline`.
  bool WaitFor(size_t count, Clock::time_point deadline) {
    MutexLock lock(mutex_);
    return changed_.WaitUntil(mutex_, std::stop_token(), deadline,
                              [this, count]()
                                  PGC_REQUIRES(mutex_) { return events_.size() >= count; });
  }

  size_t count() {
    MutexLock lock(mutex_);
    return events_.size();
  }

  // Ends the consumers; all changes, in the order of their checkpoints.
  std::vector<std::string> Finish() {
    for (std::jthread& thread : threads_) thread.request_stop();
    threads_.clear();
    std::vector<std::string> lines;
    for (const auto& [checkpoint, event] : events_) lines.push_back(event.line);
    return lines;
  }

  size_t repeats() const { return repeats_; }
  const std::vector<std::string>& faults() const { return faults_; }
  const KeyOrder& key_order() const { return key_order_; }

 private:
  struct Seen {
    std::string line;
    std::optional<Clock::time_point> acked;
    size_t life = 0;  // of serve, in which it was acknowledged: how many kills came before it
  };
  struct Held {
    pb::Checkpoint checkpoint;
    KeyOrder::Keys keys;
  };
  // A client, and what is known of it.
  struct Attached {
    uint64_t session = 0;
    size_t life = 0;
    std::unique_ptr<CaptureClient> client;
    std::deque<Held> held;
    std::vector<Checkpoint> acked;
    Checkpoint last;
  };

  void Session(size_t number, std::mt19937_64& random, const std::stop_token& stop) {
    Attached attached;
    if (!Attach(attached, stop)) return Pause();
    while (true) {
      auto message = Next(*attached.client, number, stop);
      if (absl::IsCancelled(message.status()) && !stop.stop_requested()) {
        // Nothing has come for a while: others may wait for what this one holds.
        while (!attached.held.empty()) {
          if (!GiveBack(attached, true, random)) return;
        }
        if (random() % 10 == 0) return Leave(attached, random);
        continue;
      }
      if (!message.ok()) return;
      Receive(attached, *message);
      // Most are acknowledged at once, the others later and out of order: that leaves holes.
      attached.held.push_back(
          {.checkpoint = message->checkpoint(), .keys = KeysOf(message->change())});
      while (!attached.held.empty() && (attached.held.size() > 64 || random() % 8 != 0)) {
        if (!GiveBack(attached, random() % 4 != 0, random)) return;
      }
      if (sharing_ == Sharing::kByKey && random() % 1000 == 0) return Leave(attached, random);
    }
  }

  // False when the gateway is not there, or was killed meanwhile.
  bool Attach(Attached& attached, const std::stop_token& stop) {
    {
      MutexLock lock(mutex_);
      attached.life = kills_.size();
      attached.session = ++sessions_;
    }
    CaptureClientOptions options{.gateway = address_, .uri = "pgcapture/kill", .parameters = {}};
    if (sharing_ == Sharing::kByKey) {
      (*options.parameters.mutable_fields())["KeyShared"].set_bool_value(true);
    }
    auto client = CaptureClient::Open(options, stop);
    if (!client.ok()) return false;
    attached.client = *std::move(client);
    MutexLock lock(mutex_);
    attached_ = true;
    changed_.NotifyAll();
    return attached.life == kills_.size();
  }

  // Goes, in good order or, as if it had crashed, with acknowledgements that are on their way.
  void Leave(Attached& attached, std::mt19937_64& random) {
    if (random() % 2 == 0 && attached.client->Close().ok()) return;
    attached.client.reset();
    MutexLock lock(mutex_);
    for (const Checkpoint& checkpoint : attached.acked) {
      Seen& seen = events_[checkpoint];
      if (seen.acked.has_value() && Clock::now() - *seen.acked < kAckHolds) seen.acked.reset();
    }
  }

  // Cancelled, too, once the consumer was nudged.
  absl::StatusOr<pb::CaptureMessage> Next(CaptureClient& client, size_t number,
                                          const std::stop_token& stop) {
    if (sharing_ != Sharing::kByKey) return client.Next(stop);
    std::stop_source nudge;
    {
      MutexLock lock(mutex_);
      if (nudges_[number].stop_requested()) nudges_[number] = std::stop_source();
      nudge = nudges_[number];
    }
    const std::stop_callback end(stop, [&nudge] { nudge.request_stop(); });
    return client.Next(nudge.get_token());
  }

  // Acknowledges the newest or oldest of what is held, or asks for it once more. False when the
  // session has ended.
  bool GiveBack(Attached& attached, bool newest, std::mt19937_64& random) {
    const Held held = newest ? attached.held.back() : attached.held.front();
    newest ? attached.held.pop_back() : attached.held.pop_front();
    if (sharing_ != Sharing::kNone && random() % 50 == 0) {
      return attached.client->Requeue(held.checkpoint, "once more").ok();
    }
    const Checkpoint checkpoint = CheckpointOf(held.checkpoint);
    if (sharing_ == Sharing::kByKey) {
      MutexLock lock(mutex_);
      key_order_.Acknowledging(checkpoint, held.keys, attached.session);
    }
    if (!attached.client->Ack(held.checkpoint).ok()) return false;
    MutexLock lock(mutex_);
    Seen& seen = events_[checkpoint];
    seen.acked = Clock::now();
    seen.life = attached.life;
    attached.acked.push_back(checkpoint);
    return true;
  }

  static Checkpoint CheckpointOf(const pb::Checkpoint& checkpoint) {
    return {.lsn = Lsn{checkpoint.lsn()}, .seq = checkpoint.seq()};
  }

  void Receive(Attached& attached, const pb::CaptureMessage& message) {
    const Checkpoint checkpoint = CheckpointOf(message.checkpoint());
    const std::string line = Line(message.change());
    MutexLock lock(mutex_);
    if (sharing_ == Sharing::kNone && checkpoint <= attached.last) {
      faults_.push_back(fmt::format("{} came after {}", ToKey(checkpoint), ToKey(attached.last)));
    }
    attached.last = checkpoint;
    const auto [at, first] =
        events_.try_emplace(checkpoint, Seen{.line = line, .acked = {}, .life = 0});
    if (sharing_ == Sharing::kByKey) {
      key_order_.Got(checkpoint, KeysOf(message.change()), attached.session, first,
                     attached.life == kills_.size());
    }
    if (!first) CheckRepeat(checkpoint, at->second, line);
    changed_.NotifyAll();
  }

  void CheckRepeat(const Checkpoint& checkpoint, const Seen& seen, const std::string& line)
      PGC_REQUIRES(mutex_) {
    ++repeats_;
    if (seen.line != line) {
      faults_.push_back(fmt::format("{} came again as another change", ToKey(checkpoint)));
    }
    // What counts is the kill that ended the life of serve in which it was acknowledged: one that
    // was sent to a dead serve is none, and the change may come again only after a later kill.
    if (seen.acked.has_value() && seen.life < kills_.size() &&
        kills_[seen.life] - *seen.acked > kAckHolds) {
      faults_.push_back(fmt::format("{} came again although it was acknowledged {} ms before",
                                    ToKey(checkpoint),
                                    (kills_[seen.life] - *seen.acked) / milliseconds(1)));
    }
  }

  // Interrupts the consumers now and then, so that none waits while another waits for it.
  void Nudge(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::vector<std::stop_source> nudges;
      {
        MutexLock lock(mutex_);
        changed_.WaitUntil(mutex_, stop, Clock::now() + milliseconds(200), [] { return false; });
        nudges = nudges_;
      }
      for (std::stop_source& nudge : nudges) nudge.request_stop();
    }
  }

  // Between attempts to reach a gateway that is being restarted.
  void Pause() {
    MutexLock lock(mutex_);
    changed_.WaitUntil(mutex_, Clock::now() + milliseconds(20));
  }

  const std::string address_;
  const Sharing sharing_;
  Mutex mutex_;
  CondVar changed_;
  bool attached_ PGC_GUARDED_BY(mutex_) = false;
  uint64_t sessions_ PGC_GUARDED_BY(mutex_) = 0;
  std::vector<std::stop_source> nudges_ PGC_GUARDED_BY(mutex_);
  std::vector<Clock::time_point> kills_ PGC_GUARDED_BY(mutex_);
  std::map<Checkpoint, Seen> events_;  // guarded by mutex_ until the threads have ended
  std::vector<std::string> faults_;
  KeyOrder key_order_;
  size_t repeats_ = 0;
  std::vector<std::jthread> threads_;
};

// Writes random transactions until stopped, through every restart of the server.
class Load {
 public:
  Load(std::string url, uint32_t worker, uint64_t seed)
      : url_(std::move(url)), worker_(worker), random_(seed) {
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) Session(stop);
    });
  }

 private:
  uint32_t Pick(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  void Session(const std::stop_token& stop) {
    auto connection = Connection::Open(url_);
    if (!connection.ok()) {
      std::this_thread::yield();
      return;
    }
    while (!stop.stop_requested()) {
      std::string sql = "BEGIN;";
      const uint32_t statements = 1 + Pick(Pick(10) == 0 ? 60 : 6);
      for (uint32_t i = 0; i < statements; ++i) sql += Statement();
      // More than the server keeps in memory; some of it in a savepoint that is rolled back.
      if (Pick(40) == 0) {
        sql += Large() + "SAVEPOINT s;" + Large() + "ROLLBACK TO s;";
      }
      sql += Pick(10) == 0 ? "ROLLBACK" : "COMMIT";
      if (!(*connection)->Execute(sql).ok()) return;
    }
  }

  std::string Large() const {
    return fmt::format(
        "UPDATE keyed SET v = repeat(md5(random()::text), 40) WHERE id >= {0} AND id < {0} + 250;",
        worker_ * 1000);
  }

  // Workers have keys of their own, so that they do not wait for one another.
  std::string Statement() {
    const uint32_t id = worker_ * 1000 + Pick(200);
    const char* const table = Pick(2) == 0 ? "keyed" : "whole";
    switch (Pick(5)) {
      case 0:
        return fmt::format("DELETE FROM {} WHERE id = {};", table, id);
      case 1:
        return fmt::format("UPDATE {} SET v = md5(random()::text) WHERE id = {};", table, id);
      case 2:
        // Changes the key, where the new one is free.
        return fmt::format(
            "UPDATE {0} SET id = id + 500 WHERE id = {1} AND NOT EXISTS (SELECT FROM {0} WHERE id "
            "= {1} + 500);",
            table, id);
      case 3:
        return fmt::format("INSERT INTO {} VALUES ({}, NULL) ON CONFLICT DO NOTHING;", table, id);
      default:
        return fmt::format("INSERT INTO {} VALUES ({}, repeat('x', {})) ON CONFLICT DO NOTHING;",
                           table, id, Pick(300));
    }
  }

  const std::string url_;
  const uint32_t worker_;
  std::mt19937_64 random_;
  std::jthread thread_;
};

std::vector<std::string> CommittedChanges(Connection& connection) {
  const auto result = connection.Query(
      "SELECT data FROM pg_logical_slot_get_changes('oracle', NULL, NULL, 'include-xids', '0', "
      "'skip-empty-xacts', '1') WHERE data LIKE 'table %'");
  EXPECT_TRUE(result.ok()) << result.status();
  std::vector<std::string> lines;
  for (int row = 0; result.ok() && row < result->rows(); ++row) {
    lines.emplace_back(result->Text(row, 0));
  }
  return lines;
}

// Kills under load, `kills` times unless told otherwise, then compares.
void KillAndCompare(Sharing sharing, uint64_t kills) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_KILL_SEED", std::random_device()());
  kills = FromEnvironment("PGCAPTURE_KILL_COUNT", kills);
  fmt::print("PGCAPTURE_KILL_SEED={} PGCAPTURE_KILL_COUNT={}\n", seed, kills);
  std::mt19937_64 random(seed);

  auto postgres = PostgresServer::Start({{"logical_decoding_work_mem", "64kB"}});
  ASSERT_TRUE(postgres.ok()) << postgres.status();
  const std::string url = (*postgres)->Url("postgres");
  auto setup = Connection::Open(url);
  ASSERT_TRUE(setup.ok()) << setup.status();
  ASSERT_TRUE((*setup)
                  ->Execute("CREATE TABLE keyed (id int PRIMARY KEY, v text);"
                            "CREATE TABLE whole (id int UNIQUE, v text);"
                            "ALTER TABLE whole REPLICA IDENTITY FULL;")
                  .ok());

  TempDir folder;
  ServeProcess serve({.program = PGC_BINARY_DIR "/pgcapture",
                      .source = url,
                      .data_dir = folder.path() / "data",
                      .flags = {"--no-ddl"},
                      .wrapper = {}});
  ASSERT_TRUE(serve.Start().ok());
  Consumers consumers(serve.address(), seed + 1, sharing);
  ASSERT_NO_FATAL_FAILURE(consumers.WaitAttached());
  ASSERT_TRUE(
      (*setup)->Query("SELECT pg_create_logical_replication_slot('oracle', 'test_decoding')").ok());

  {
    std::vector<std::unique_ptr<Load>> load;
    for (uint32_t i = 0; i < 2; ++i) load.push_back(std::make_unique<Load>(url, i, seed + 100 + i));
    for (uint64_t kill = 0; kill < kills; ++kill) {
      // The moment is some progress of the consumer away, and never further than a second.
      consumers.WaitFor(consumers.count() + random() % 2000,
                        Clock::now() + milliseconds(50 + random() % 1200));
      const uint64_t whom = random() % 10;  // 0-6 serve, 7-8 PostgreSQL, 9 both
      if (whom <= 6 || whom == 9) {
        const auto before = Clock::now();
        serve.Kill();
        consumers.Killed(before);
      }
      if (whom >= 7) {
        (*postgres)->Kill();
        const absl::Status restarted = (*postgres)->Restart();
        ASSERT_TRUE(restarted.ok()) << restarted;
      }
      if (whom <= 6 || whom == 9) {
        const absl::Status started = serve.Start();
        ASSERT_TRUE(started.ok()) << "kill " << kill << ": " << started;
      }
    }
  }

  auto oracle = Connection::Open(url);
  ASSERT_TRUE(oracle.ok()) << oracle.status();
  const std::vector<std::string> expected = CommittedChanges(**oracle);
  ASSERT_GT(expected.size(), kills * 10) << "too little happened for this test to mean anything";
  consumers.WaitFor(expected.size(), Clock::now() + seconds(120));
  const std::vector<std::string> got = consumers.Finish();
  fmt::print("{} changes, {} of them came again\n", expected.size(), consumers.repeats());

  EXPECT_EQ(consumers.faults(), std::vector<std::string>());
  if (sharing == Sharing::kByKey) {
    const KeyOrder& order = consumers.key_order();
    fmt::print("{} keys, which moved {} times\n", order.keys(), order.moves());
    EXPECT_EQ(order.faults(), std::vector<std::string>());
    EXPECT_GT(order.keys(), 100U);
    EXPECT_GT(order.moves(), kills) << "too little moved for this test to mean anything";
  }
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(got[i], expected[i]) << "change number " << i;
  }
  EXPECT_EQ(serve.Stop(), 0) << "a clean end after all that";
}

TEST(Kill, NoCommittedChangeIsLostAndNothingAcknowledgedComesAgain) {
  KillAndCompare(Sharing::kNone, 50);
}

TEST(Kill, ConsumersThatShareASubscriptionGetEveryChangeToo) { KillAndCompare(Sharing::kAny, 50); }

TEST(Kill, ConsumersThatShareByKeyGetEachKeyInOrderWhileTheyComeAndGo) {
  KillAndCompare(Sharing::kByKey, 12);
}

}  // namespace
}  // namespace pgc
