// What tests of dumps share: a captured database, and a dump taken apart.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "dump/dump_server.h"
#include "event/pipeline.h"
#include "event/store.h"
#include "source/postgres_source.h"
#include "store/memory_store.h"
#include "testing/captured.h"
#include "testing/database_test.h"
#include "testing/protobuf_fields.h"

namespace pgc {

// Keeps a dump, row by row.
class DumpCollector : public DumpWriter {
 public:
  absl::Status Begin(const DumpHeader& header) override {
    EXPECT_FALSE(begun_);
    begun_ = true;
    header_ = header;
    if (on_begin_) on_begin_();
    return absl::OkStatus();
  }
  absl::Status Rows(std::string_view changes, uint64_t count) override {
    EXPECT_TRUE(begun_);
    largest_piece_ = std::max(largest_piece_, changes.size());
    uint64_t found = 0;
    for (ProtobufFields fields(changes); fields.Next(); ++found) {
      EXPECT_EQ(fields.number, 1U);
      // As a member of a Message, which has a length in front as well.
      std::string message = "\x0A";
      wire::AppendVarint(message, fields.bytes.size());
      message += fields.bytes;
      rows_.push_back(ParseChange({.kind = EventKind::kChange,
                                   .checkpoint = {},
                                   .key = {},
                                   .message = std::move(message)}));
    }
    EXPECT_EQ(found, count);
    return absl::OkStatus();
  }

  bool begun_ = false;
  DumpHeader header_;
  std::vector<CapturedChange> rows_;
  size_t largest_piece_ = 0;
  std::function<void()> on_begin_;
};

// The values of a column, ascending: of int4 as numbers, of others as they are.
inline std::vector<int32_t> Numbers(const std::vector<CapturedChange>& rows, size_t column = 0) {
  std::vector<int32_t> numbers;
  for (const CapturedChange& row : rows) {
    uint32_t number = 0;
    for (const char c : row.new_row.at(column).value.value_or("")) {
      number = number << 8 | static_cast<uint8_t>(c);
    }
    numbers.push_back(static_cast<int32_t>(number));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

inline std::vector<int32_t> UpTo(int32_t first, int32_t last) {
  std::vector<int32_t> numbers;
  for (int32_t number = first; number <= last; ++number) numbers.push_back(number);
  return numbers;
}

// A database of its own for each test, captured into a log in memory from Capture() on.
class DumpTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    store_ = NewMemoryStore();
  }
  void TearDown() override {
    servers_.clear();
    StopCapture();
    DatabaseTest::TearDown();
  }

  void Capture() {
    auto source = NewPostgresSource(OptionsOf<PostgresSourceOptions>());
    auto writer = store_->OpenWriter(name_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    capture_ = std::jthread(
        [source = std::shared_ptr<EventSource>(std::move(source)),
         sink = std::shared_ptr<EventSink>(*std::move(writer))](const std::stop_token& stop) {
          const absl::Status status = RunPipeline(*source, *sink, stop);
          EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
        });
    // While a slot is being made it is active too, but has no place to stream from: a transaction
    // of that time is not in the log.
    ASSERT_TRUE(
        Eventually("SELECT count(*) > 0 FROM pg_replication_slots WHERE active AND "
                   "confirmed_flush_lsn IS NOT NULL AND database = current_database()"));
  }
  void StopCapture() { capture_ = {}; }

  // Waits until all that is committed now, and can be sent, is in the log.
  void WaitUntilCaptured() {
    const Lsn end = WalEnd();
    const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
    while (true) {
      const auto topic = store_->Describe(name_);
      if (topic.ok() && topic->captured >= end) return;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "not captured";
      std::this_thread::yield();
    }
  }
  // The newest transaction of the log.
  Lsn LogEnd() { return store_->Describe(name_)->newest.lsn; }
  std::vector<CapturedChange> Changes(std::string_view table) {
    std::vector<CapturedChange> changes;
    ForEachChange([&](Lsn, CapturedChange change) {
      if (change.table == table) changes.push_back(std::move(change));
    });
    return changes;
  }
  // Where each row was committed, by the number in its first column.
  std::map<int32_t, Lsn> Commits() {
    std::map<int32_t, Lsn> commits;
    ForEachChange(
        [&](Lsn lsn, const CapturedChange& change) { commits[Numbers({change}).front()] = lsn; });
    return commits;
  }
  template <typename Use>
  void ForEachChange(Use use) {
    auto reader = store_->OpenReader(name_, {});
    EXPECT_TRUE(reader.ok()) << reader.status();
    const auto topic = store_->Describe(name_);
    for (Checkpoint at; at < topic->newest;) {
      const auto slice = (*reader)->Next({});
      EXPECT_TRUE(slice.ok()) << slice.status();
      if (!slice.ok()) break;
      for (SliceCursor cursor(*slice); cursor.Next();) {
        const Event& event = cursor.event();
        at = event.checkpoint;
        if (event.kind != EventKind::kChange) continue;
        use(at.lsn, ParseChange({.kind = event.kind,
                                 .checkpoint = at,
                                 .key = event.key,
                                 .message = {event.message.begin(), event.message.end()}}));
      }
    }
  }

  DumpServerOptions SourceOptions() {
    DumpServerOptions options;
    options.url = server_->Url(name_);
    options.topic = name_;
    options.store = store_.get();
    options.is_source = true;
    return options;
  }
  // A replica, as a sink keeps it.
  void MakeReplica(const std::string& commit = "0/100") {
    Sql("CREATE SCHEMA pgcapture; CREATE TABLE pgcapture.sources (id text PRIMARY KEY, commit "
        "pg_lsn, seq int, commit_ts timestamptz, mid bytea, apply_ts timestamptz)");
    Sql(fmt::format("INSERT INTO pgcapture.sources VALUES ('{}', '{}', 1, now(), '\\x0102', now())",
                    name_, commit));
  }
  DumpServerOptions ReplicaOptions() {
    DumpServerOptions options = SourceOptions();
    options.store = nullptr;
    options.is_source = false;
    return options;
  }

  DumpServer& Server(DumpServerOptions options) {
    servers_.push_back(DumpServer::New(std::move(options)));
    return *servers_.back();
  }
  static DumpCollector Read(DumpServer& server, const DumpRequest& request) {
    DumpCollector dump;
    const absl::Status status = server.Read(request, dump, {});
    EXPECT_TRUE(status.ok()) << status;
    return dump;
  }
  static absl::Status Fail(DumpServer& server, const DumpRequest& request) {
    DumpCollector dump;
    absl::Status status = server.Read(request, dump, {});
    EXPECT_TRUE(dump.rows_.empty());
    return status;
  }
  static DumpRequest Of(const std::string& table) {
    DumpRequest request;
    request.schema = "public";
    request.table = table;
    return request;
  }

  std::unique_ptr<EventStore> store_;
  std::jthread capture_;
  std::vector<std::unique_ptr<DumpServer>> servers_;
};

}  // namespace pgc
