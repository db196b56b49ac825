// Dump servers without a PostgreSQL, for what only the agent does.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "dump/dump_server.h"

namespace pgc {

constexpr std::chrono::seconds kAgentTestTimeout{30};

// Answers as it is told. Thread-safe.
class FakeDumpServer final : public DumpServer {
 public:
  using ReadFunction =
      std::function<absl::Status(const DumpRequest&, DumpWriter&, const std::stop_token&)>;

  // `identifier` is known once a dump was read, and not before.
  FakeDumpServer(uint64_t identifier, ReadFunction read)
      : identifier_(identifier), read_(std::move(read)) {}

  absl::Status Read(const DumpRequest& request, DumpWriter& out, std::stop_token stop) override {
    ++reads_;
    ++in_use_;
    reached_ = true;
    absl::Status status = read_(request, out, stop);
    --in_use_;
    return status;
  }
  absl::StatusOr<std::vector<DumpTable>> Tables(std::stop_token /*stop*/) override {
    if (!tables_.ok()) return tables_;
    return std::vector<DumpTable>{{"public", "p1", "public", "p", 8192},
                                  {"s", "t", "s", "t", 16384}};
  }
  std::optional<uint64_t> identity() const override {
    return reached_ ? std::optional(identifier_) : std::nullopt;
  }
  int in_use() const override { return in_use_; }

  DumpHeader Header() const {
    return {.applied = Lsn{0x100},
            .upper = Lsn{0x200},
            .snapshot = "7:9:8",
            .snapshot_xmin = 7,
            .identity = identifier_,
            .relfilenode = 42,
            .pages = 3,
            .sweep_needed = true,
            .no_key = true,
            .schema = "public",
            .table = "t",
            .store_position = "mid"};
  }
  void set_tables(absl::Status status) { tables_ = std::move(status); }
  int reads() const { return reads_; }

 private:
  const uint64_t identifier_;
  const ReadFunction read_;
  absl::Status tables_;
  std::atomic<bool> reached_{false};
  std::atomic<int> reads_{0};
  std::atomic<int> in_use_{0};
};

// Something that happens once, and is waited for.
class TestEvent {
 public:
  void Set() {
    MutexLock lock(mutex_);
    happened_ = true;
    changed_.NotifyAll();
  }
  // False when it has not happened in time, or `stop` is requested.
  bool Wait(const std::stop_token& stop = {}) {
    MutexLock lock(mutex_);
    return changed_.WaitUntil(mutex_, stop, std::chrono::steady_clock::now() + kAgentTestTimeout,
                              [this]() PGC_REQUIRES(mutex_) { return happened_; });
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool happened_ PGC_GUARDED_BY(mutex_) = false;
};

}  // namespace pgc
