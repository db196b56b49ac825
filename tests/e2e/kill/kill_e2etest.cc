// Kills `serve` and PostgreSQL with SIGKILL at random moments under load, and compares what a
// consumer got with what test_decoding says was committed, row by row.
//
// PGCAPTURE_KILL_SEED and PGCAPTURE_KILL_COUNT choose the moments and how many there are.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "client/capture_client.h"
#include "event/checkpoint.h"
#include "pg/connection.h"
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

// What is kept in order for consumers that share by key: the row it changes, under both its keys
// when it changes that; a table with REPLICA IDENTITY FULL as a whole.
std::set<std::string> KeysOf(const pb::Change& change) {
  if (change.table() == "whole") return {"whole"};
  std::set<std::string> keys;
  for (const auto* fields : {&change.old(), &change.new_()}) {
    for (const pb::Field& field : *fields) {
      if (field.name() == "id") keys.insert(Column(field));
    }
  }
  return keys;
}

enum class Sharing { kAlone, kShared, kByKey };

// Consume one subscription over all restarts, and remember everything. One alone gets all in order;
// several share it, and requeue some of what they get.
class Consumers {
 public:
  Consumers(std::string address, uint64_t seed, Sharing sharing)
      : address_(std::move(address)), sharing_(sharing) {
    const size_t count = sharing == Sharing::kAlone ? 1 : 3;
    for (size_t i = 0; i < count; ++i) {
      threads_.emplace_back(
          [this, random = std::mt19937_64(seed + i)](const std::stop_token& stop) mutable {
            while (!stop.stop_requested()) Session(random, stop);
          });
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

  // From now on they acknowledge all that they have, and at once: what by its key waits for that
  // comes, too.
  void Drain() { drain_.request_stop(); }

  // Ends the consumers; all changes, in the order of their checkpoints.
  std::vector<std::string> Finish() {
    Drain();
    for (std::jthread& thread : threads_) thread.request_stop();
    threads_.clear();
    std::vector<std::string> lines;
    for (const auto& [checkpoint, event] : events_) lines.push_back(event.line);
    return lines;
  }

  size_t repeats() const { return repeats_; }
  const std::vector<std::string>& faults() const { return faults_; }

 private:
  struct Seen {
    std::string line;
    std::optional<Clock::time_point> acked;
    size_t life = 0;  // of serve, in which it was acknowledged: how many kills came before it
  };

  void Session(std::mt19937_64& random, const std::stop_token& stop) {
    CaptureClientOptions options{.gateway = address_, .uri = "pgcapture/kill", .parameters = {}};
    if (sharing_ == Sharing::kByKey) {
      (*options.parameters.mutable_fields())["KeyShared"].set_bool_value(true);
    }
    auto client = CaptureClient::Open(options, stop);
    if (!client.ok()) {
      Pause();
      return;
    }
    size_t life = 0;
    {
      MutexLock lock(mutex_);
      attached_ = true;
      life = kills_.size();
      changed_.NotifyAll();
    }
    Checkpoint last;
    std::deque<pb::Checkpoint> held;
    while (true) {
      const bool draining = drain_.stop_requested();
      auto message = (*client)->Next(draining ? stop : drain_.get_token());
      if (!message.ok() && (draining || !absl::IsCancelled(message.status()))) return;
      if (message.ok()) {
        const Checkpoint checkpoint{.lsn = Lsn{message->checkpoint().lsn()},
                                    .seq = message->checkpoint().seq()};
        Receive(checkpoint, message->change(), last);
        last = checkpoint;
        held.push_back(message->checkpoint());
      }
      // Most are acknowledged at once, the others later and out of order: that leaves holes.
      while (!held.empty() && (drain_.stop_requested() || held.size() > 64 || random() % 8 != 0)) {
        const bool newest = random() % 4 != 0;
        const pb::Checkpoint acked = newest ? held.back() : held.front();
        newest ? held.pop_back() : held.pop_front();
        if (sharing_ != Sharing::kAlone && random() % 50 == 0) {
          if (!(*client)->Requeue(acked, "once more").ok()) return;
          continue;
        }
        if (!(*client)->Ack(acked).ok()) return;
        MutexLock lock(mutex_);
        Seen& seen = events_[{.lsn = Lsn{acked.lsn()}, .seq = acked.seq()}];
        seen.acked = Clock::now();
        seen.life = life;
      }
    }
  }

  void Receive(const Checkpoint& checkpoint, const pb::Change& change, const Checkpoint& last) {
    const std::string line = Line(change);
    MutexLock lock(mutex_);
    if (sharing_ == Sharing::kAlone && checkpoint <= last) {
      faults_.push_back(fmt::format("{} came after {}", ToKey(checkpoint), ToKey(last)));
    }
    const auto [at, first] =
        events_.try_emplace(checkpoint, Seen{.line = line, .acked = {}, .life = 0});
    if (first && sharing_ == Sharing::kByKey) {
      for (const std::string& key : KeysOf(change)) {
        Checkpoint& newest = newest_of_key_[key];
        if (checkpoint <= newest) {
          faults_.push_back(
              fmt::format("{} of {} came after {}", ToKey(checkpoint), key, ToKey(newest)));
        }
        newest = checkpoint;
      }
    }
    if (!first) {
      ++repeats_;
      if (at->second.line != line) {
        faults_.push_back(fmt::format("{} came again as another change", ToKey(checkpoint)));
      }
      // What counts is the kill that ended the life of serve in which it was acknowledged: one that
      // was sent to a dead serve is none, and the change may come again only after a later kill.
      const Seen& seen = at->second;
      if (seen.acked.has_value() && seen.life < kills_.size() &&
          kills_[seen.life] - *seen.acked > kAckHolds) {
        faults_.push_back(fmt::format("{} came again although it was acknowledged {} ms before",
                                      ToKey(checkpoint),
                                      (kills_[seen.life] - *seen.acked) / milliseconds(1)));
      }
    }
    changed_.NotifyAll();
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
  std::vector<Clock::time_point> kills_ PGC_GUARDED_BY(mutex_);
  std::map<Checkpoint, Seen> events_;  // guarded by mutex_ until the threads have ended
  std::map<std::string, Checkpoint> newest_of_key_ PGC_GUARDED_BY(mutex_);
  std::stop_source drain_;
  std::vector<std::string> faults_;
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

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Kills under load, then compares.
void KillAndCompare(Sharing sharing) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_KILL_SEED", std::random_device()());
  const uint64_t kills = FromEnvironment("PGCAPTURE_KILL_COUNT", 50);
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
  consumers.Drain();
  consumers.WaitFor(expected.size(), Clock::now() + seconds(120));
  const std::vector<std::string> got = consumers.Finish();
  fmt::print("{} changes, {} of them came again\n", expected.size(), consumers.repeats());

  EXPECT_EQ(consumers.faults(), std::vector<std::string>());
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(got[i], expected[i]) << "change number " << i;
  }
  EXPECT_EQ(serve.Stop(), 0) << "a clean end after all that";
}

TEST(Kill, NoCommittedChangeIsLostAndNothingAcknowledgedComesAgain) {
  KillAndCompare(Sharing::kAlone);
}

TEST(Kill, ConsumersThatShareASubscriptionGetEveryChangeToo) { KillAndCompare(Sharing::kShared); }

TEST(Kill, ConsumersThatShareByKeyGetTheChangesOfEachRowInOrder) {
  KillAndCompare(Sharing::kByKey);
}

}  // namespace
}  // namespace pgc
