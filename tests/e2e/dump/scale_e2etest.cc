// Three replicas and four consumers of one subscription share the dumps of several tables, under
// load; one of each is killed on the way, or serve itself.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <set>

#include "base/pause.h"
#include "e2e/dump/dump_fixture.h"

namespace pgc {
namespace {

using ::testing::Each;
using ::testing::Ge;

constexpr uint32_t kTables = 5;
constexpr uint32_t kPages = 50;
constexpr size_t kConsumers = 4;
constexpr size_t kShareRows = 50;

class DumpsAtScale : public ServedDumps {
 protected:
  static constexpr int kRows = kPages * kRowsPerPage;

  DumpsAtScale() : ServedDumps(3) {}

  // Three replicas, four consumers, and a load on all tables.
  void Begin() {
    for (uint32_t i = 0; i < kTables; ++i) {
      tables_.push_back(fmt::format("t{}", i));
      MakeTable(tables_.back(), kRows);
    }
    Serve();
    if (HasFatalFailure()) return;
    for (size_t i = 0; i < 3; ++i) WaitApplied(i);
    // Slow enough to be met on the way, from the first page on.
    dump_ = StartDump({"--table", "t?", "--pages-per-dump", "1", "--wait"});
    ASSERT_TRUE(dump_->WaitForLine("scheduled", kDumpWait).has_value()) << dump_->errors();
    ASSERT_EQ(Dump({"--cool-down", "30ms"}).code, 0);
    for (size_t i = 0; i < kConsumers; ++i) tails_.push_back(StartTail({"--uri", Uri()}));
    load_ = std::make_unique<DumpsLoad>(source_url(), tables_, 1);
  }
  // Waits until so many of all pages have been acknowledged, and notes which servers were read.
  void WaitPages(uint32_t pages) {
    WaitStatus(Uri(), fmt::format("{} pages acknowledged", pages), [&](const auto& status) {
      uint32_t done = 0;
      for (const pb::DumpJob& job : status.jobs()) {
        done += job.pages_done();
        if (!job.server().empty()) read_from_.insert(job.server());
      }
      EXPECT_TRUE(status.scheduled()) << "it was over before its time";
      return done >= pages || !status.scheduled();
    });
  }
  static size_t DumpRows(const Subprocess& tail) {
    const std::vector<std::string> lines = tail.output_lines();
    return std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
      return line.find("\"dump\":true") != std::string::npos;
    });
  }
  // Waits until a consumer has had what ExpectRight takes for a share.
  static void WaitShare(const Subprocess& tail) {
    const auto deadline = std::chrono::steady_clock::now() + kDumpWait;
    while (DumpRows(tail) < kShareRows) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << DumpRows(tail) << " rows";
      Pause(std::chrono::milliseconds(20), {});
    }
  }
  // The replica that was asked for rows last.
  size_t ReplicaInUse() {
    std::vector<double> asked;
    for (size_t i = 0; i < 3; ++i) {
      asked.push_back(std::stod(AskReplica(
          "SELECT coalesce(max(extract(epoch FROM query_start)), 0) FROM pg_stat_activity WHERE "
          "application_name = 'pgcapture_dump'",
          i)));
    }
    return static_cast<size_t>(std::max_element(asked.begin(), asked.end()) - asked.begin());
  }
  // Everything is dumped, and all that was written has come.
  void End() {
    const Ran ran = Finish(*dump_);
    EXPECT_EQ(ran.code, 0) << ran.errors << serve().process().errors();
    const auto status = Status(Uri());
    EXPECT_EQ(status.jobs_done(), kTables);
    for (const pb::DumpJob& job : status.jobs()) read_from_.insert(job.server());
    EXPECT_GT(load_->Stop(), 50U);
    WaitAllAcknowledged();
    for (const auto& tail : tails_) {
      tail->Signal(SIGTERM);
      EXPECT_TRUE(tail->Wait(kDumpWait).has_value()) << tail->errors();
    }
  }
  // By version: who shares a subscription gets its changes in no order.
  void ExpectRight() {
    ReceivedTables received(ReceivedOrder::kVersion);
    std::vector<size_t> rows;
    for (const auto& tail : tails_) {
      for (const std::string& line : tail->output_lines()) received.Take(line);
      rows.push_back(DumpRows(*tail));
    }
    for (const std::string& table : tables_) {
      ExpectEqual(received, table);
      // Those that no change brought.
      for (int id = 201; id <= kRows; ++id) {
        ASSERT_GE(received.dumped(table, id), 1U) << table << " " << id;
      }
    }
    EXPECT_THAT(rows, Each(Ge(kShareRows))) << "each consumer got a share";
    EXPECT_GE(read_from_.size(), 2U) << "more than one replica was read";
  }

  std::vector<std::string> tables_;
  std::vector<std::unique_ptr<Subprocess>> tails_;
  std::unique_ptr<DumpsLoad> load_;
  std::unique_ptr<Subprocess> dump_;
  std::set<std::string> read_from_;
};

TEST_F(DumpsAtScale, AReplicaAndAConsumerAreKilledAndEveryRowComes) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  WaitPages(kTables * kPages / 5);
  ASSERT_NO_FATAL_FAILURE(WaitShare(*tails_[2]));
  const size_t replica = ReplicaInUse();
  ASSERT_TRUE(Replica(replica).StopImmediately().ok());
  tails_[2]->Signal(SIGKILL);
  End();
  ExpectRight();
  // For the tests behind this one.
  ASSERT_TRUE(Replica(replica).Restart().ok());
}

TEST_F(DumpsAtScale, ServeIsKilledTwiceAndEveryRowComes) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  for (const uint32_t part : {1U, 2U}) {
    WaitPages(kTables * kPages * part / 4);
    serve().Kill();
    ASSERT_TRUE(serve().Start().ok());
  }
  End();
  ExpectRight();
}

}  // namespace
}  // namespace pgc
