// For the tests of this folder: one server for all tests of a program, a database for each, and a
// source that a thread reads.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "pg/connection.h"
#include "source/postgres_source.h"
#include "testing/event_text.h"
#include "testing/postgres_server.h"

namespace pgc {

constexpr std::chrono::seconds kTestTimeout{30};

// Reads a source in a thread of its own and collects what comes.
class Reader {
 public:
  explicit Reader(PostgresSourceOptions options, ResumePoint resume = {}, bool acknowledge = true)
      : source_(NewPostgresSource(std::move(options))),
        thread_([this, resume, acknowledge](const std::stop_token& stop) {
          Run(resume, acknowledge, stop);
        }) {}
  ~Reader() { (void)Stop(); }

  // Why it ended; waits for that.
  absl::Status End() {
    Wait([this]() PGC_REQUIRES(mutex_) { return ended_; });
    MutexLock lock(mutex_);
    return ended_ ? status_ : absl::DeadlineExceededError("still reading");
  }
  absl::Status Stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    source_.reset();
    MutexLock lock(mutex_);
    return status_;
  }

  bool WaitUntilOpen() {
    return Wait([this]() PGC_REQUIRES(mutex_) { return open_ || ended_; }) && IsOpen();
  }
  // At least this many events, as test_decoding writes them; fewer at the time limit.
  std::vector<std::string> WaitForEvents(size_t count) {
    Wait([this, count]() PGC_REQUIRES(mutex_) { return events_.size() >= count || ended_; });
    MutexLock lock(mutex_);
    return events_;
  }
  std::vector<std::string> WaitForPosition(Lsn position) {
    Wait([this, position]() PGC_REQUIRES(mutex_) { return captured_ >= position || ended_; });
    MutexLock lock(mutex_);
    return events_;
  }
  std::vector<std::string> events() {
    MutexLock lock(mutex_);
    return events_;
  }
  // What a sink would resume with.
  ResumePoint resume() {
    MutexLock lock(mutex_);
    return {.last = {}, .captured = captured_, .origin = origin_};
  }
  void Acknowledge(Lsn captured) { source_->Acknowledge(captured); }
  size_t largest_batch_bytes() {
    MutexLock lock(mutex_);
    return largest_batch_bytes_;
  }

 private:
  void Run(const ResumePoint& resume, bool acknowledge, const std::stop_token& stop) {
    absl::Status status = source_->Open(resume, stop);
    Set([this]() PGC_REQUIRES(mutex_) { open_ = true; }, status.ok());
    while (status.ok()) {
      auto batch = source_->Next(stop);
      status = batch.status();
      if (!status.ok()) break;
      const std::vector<std::string> lines = ToText(batch->blocks);
      size_t bytes = 0;
      for (const auto& block : batch->blocks) bytes += block->bytes().size();
      Set([&]() PGC_REQUIRES(mutex_) {
        EXPECT_GE(batch->captured, captured_);
        events_.insert(events_.end(), lines.begin(), lines.end());
        captured_ = batch->captured;
        origin_ = batch->origin;
        largest_batch_bytes_ = std::max(largest_batch_bytes_, bytes);
      });
      if (acknowledge) source_->Acknowledge(batch->captured);
    }
    Set([this, &status]() PGC_REQUIRES(mutex_) {
      status_ = status;
      ended_ = true;
    });
  }
  template <typename Change>
  void Set(Change change, bool really = true) {
    MutexLock lock(mutex_);
    if (really) change();
    changed_.NotifyAll();
  }
  template <typename Ready>
  bool Wait(Ready ready) {
    MutexLock lock(mutex_);
    return changed_.WaitUntil(mutex_, std::stop_token(),
                              std::chrono::steady_clock::now() + kTestTimeout, ready);
  }
  bool IsOpen() {
    MutexLock lock(mutex_);
    return open_;
  }

  std::unique_ptr<EventSource> source_;
  Mutex mutex_;
  CondVar changed_;
  bool open_ PGC_GUARDED_BY(mutex_) = false;
  bool ended_ PGC_GUARDED_BY(mutex_) = false;
  absl::Status status_ PGC_GUARDED_BY(mutex_);
  std::vector<std::string> events_ PGC_GUARDED_BY(mutex_);
  Lsn captured_ PGC_GUARDED_BY(mutex_);
  std::string origin_ PGC_GUARDED_BY(mutex_);
  size_t largest_batch_bytes_ PGC_GUARDED_BY(mutex_) = 0;
  std::jthread thread_;
};

class SourcePgTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server).release();
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void SetUp() override {
    static int number = 0;
    name_ = fmt::format("db{}", ++number);
    auto admin = Connection::Open(server_->Url("postgres"));
    ASSERT_TRUE(admin.ok()) << admin.status();
    ASSERT_TRUE((*admin)->Execute("CREATE DATABASE " + name_).ok());
    Connect();
  }
  void TearDown() override {
    sql_ = nullptr;
    // Slots are few; those of a test that failed must not make others fail.
    auto admin = Connection::Open(server_->Url("postgres"));
    if (admin.ok()) {
      (void)(*admin)->Execute(
          "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE active");
      (void)(*admin)->Execute(
          "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    }
  }
  void Connect() {
    auto sql = Connection::Open(server_->Url(name_));
    ASSERT_TRUE(sql.ok()) << sql.status();
    sql_ = *std::move(sql);
  }

  // Topic, slot and publication have the database's name.
  PostgresSourceOptions Options() const {
    PostgresSourceOptions options;
    options.url = server_->Url(name_);
    options.topic = name_;
    options.no_ddl = true;
    return options;
  }
  void Sql(const std::string& statements) {
    const absl::Status status = sql_->Execute(statements);
    ASSERT_TRUE(status.ok()) << status;
  }
  std::string Ask(const std::string& query) {
    const auto rows = sql_->Query(query);
    EXPECT_TRUE(rows.ok()) << rows.status();
    if (!rows.ok()) return "?";
    std::string text;
    for (int i = 0; i < rows->rows(); ++i) {
      text += fmt::format("{}{}", i > 0 ? "," : "", rows->Text(i, 0));
    }
    return text;
  }
  // Asks again until the answer is `t`.
  bool Eventually(const std::string& query, std::chrono::milliseconds limit = kTestTimeout) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (Ask(query) != "t") {
      if (std::chrono::steady_clock::now() > deadline) return false;
      Sql("SELECT pg_sleep(0.005)");
    }
    return true;
  }
  Lsn WalEnd() { return ParseLsn(Ask("SELECT pg_current_wal_lsn()")).value_or(Lsn{}); }
  // Opens a source and gives why it did not.
  absl::Status OpenError(const PostgresSourceOptions& options, const ResumePoint& resume = {}) {
    return NewPostgresSource(options)->Open(resume, {});
  }
  std::string Published() {
    return Ask(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = '" +
        name_ + "' ORDER BY 1");
  }

  static inline PostgresServer* server_ = nullptr;
  std::string name_;
  std::unique_ptr<Connection> sql_;
};

}  // namespace pgc
