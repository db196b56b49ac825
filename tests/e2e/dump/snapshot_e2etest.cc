// A new subscription that begins with what is there, and then follows.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>

#include "base/pause.h"
#include "e2e/dump/dump_fixture.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr int kRows = 3000;

class SnapshotThenFollow : public ServedDumps {
 protected:
  void ServeTables(bool under_load = true) {
    MakeTable("wanted_1", kRows);
    MakeTable("wanted_2", kRows);
    MakeTable("unwanted", kRows);
    Serve();
    if (HasFatalFailure()) return;
    WaitApplied();
    if (!under_load) return;
    load_ = std::make_unique<DumpsLoad>(
        source_url(), std::vector<std::string>{"wanted_1", "wanted_2", "unwanted"}, 7);
  }
  // Waits until the snapshot of a subscription is there.
  void WaitDumped(const std::string& subscription, uint64_t tables) {
    WaitStatus(Uri(subscription), "its tables are dumped", [&](const auto& status) {
      return !status.scheduled() && status.jobs_done() == tables;
    });
  }
  void ExpectTables(const ReceivedTables& received, bool all) {
    ExpectEqual(received, "wanted_1");
    ExpectEqual(received, "wanted_2");
    if (all) {
      ExpectEqual(received, "unwanted");
    } else {
      EXPECT_TRUE(received.Rows("unwanted").empty());
    }
  }
  static std::vector<std::string> Stop(Subprocess& tail) {
    tail.Signal(SIGTERM);
    EXPECT_EQ(tail.Wait(kDumpWait), 0) << tail.errors();
    return tail.output_lines();
  }

  std::unique_ptr<DumpsLoad> load_;
};

TEST_F(SnapshotThenFollow, TailPrintsTheRowsThatAreThereOnceAndThenTheChanges) {
  ASSERT_NO_FATAL_FAILURE(ServeTables());
  const std::vector<std::string> flags{"--uri",    Uri("search"), "--from",
                                       "snapshot", "--table",     "^wanted"};
  auto tail = StartTail(flags);
  WaitDumped("search", 2);
  Pause(milliseconds(200), {});
  EXPECT_GT(load_->Stop(), 20U);
  WaitAllAcknowledged("search");
  ReceivedTables received(ReceivedOrder::kArrival);
  received.TakeAll(Stop(*tail));
  ExpectTables(received, /*all=*/false);
  EXPECT_GE(received.dump_rows("wanted_1"), size_t{kRows} - 200U);

  // The subscription is there now: it goes on where it was.
  Sql("UPDATE wanted_1 SET note = 'meanwhile' WHERE id = 1000");
  tail = StartTail(flags);
  Sql("UPDATE wanted_2 SET note = 'and now' WHERE id = 1000");
  WaitAllAcknowledged("search");
  const auto lines = Stop(*tail);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0], HasSubstr("meanwhile"));
  EXPECT_THAT(lines[1], HasSubstr("and now"));
  received.TakeAll(lines);
  ExpectTables(received, /*all=*/false);
}

TEST_F(SnapshotThenFollow, WithTheClientLibraryAllTablesComeUnlessTheyAreFiltered) {
  ASSERT_NO_FATAL_FAILURE(ServeTables());
  DumpsReader reader({.gateway = serve().address(), .uri = Uri("cache"), .from = "snapshot"});
  // `marker` is one of them, and every table with its sweep.
  WaitDumped("cache", 4);
  EXPECT_GT(load_->Stop(), 20U);
  WaitAllAcknowledged("cache");
  ReceivedTables received(ReceivedOrder::kArrival);
  received.TakeAll(reader.lines());
  ExpectTables(received, /*all=*/true);
}

TEST_F(SnapshotThenFollow, WithoutANameItIsThereForAsLongAsTheTailRuns) {
  ASSERT_NO_FATAL_FAILURE(ServeTables(/*under_load=*/false));
  const auto tail = StartTail({"--topic", name(), "--from", "snapshot", "--table", "^wanted_1$",
                               "--limit", AskReplica("SELECT count(*) FROM wanted_1")});
  ASSERT_TRUE(tail->Wait(kDumpWait).has_value()) << tail->errors();
  ReceivedTables received(ReceivedOrder::kArrival);
  received.TakeAll(tail->output_lines());
  ExpectEqual(received, "wanted_1");
}

TEST_F(SnapshotThenFollow, WhatWasAskedForBeforeTheSubscriptionWasThereIsPartOfIt) {
  ASSERT_NO_FATAL_FAILURE(ServeTables(/*under_load=*/false));
  EXPECT_EQ(Dump({"--uri", Uri("search"), "--table", "wanted_1", "--where", "id < 10"}).code, 0);
  DumpsReader reader({.gateway = serve().address(),
                      .uri = Uri("search"),
                      .from = "snapshot",
                      .table_regex = "^wanted"});
  ASSERT_TRUE(reader.WaitAttached());
  WaitDumped("search", 2);
  WaitAllAcknowledged("search");
  ReceivedTables received(ReceivedOrder::kArrival);
  received.TakeAll(reader.lines());
  ExpectTables(received, /*all=*/false);
}

// The tail asks for the snapshot when it has not got its subscription yet, and goes on with it when
// it has.
TEST_F(SnapshotThenFollow, ServeIsKilledOnTheWayAndNoRowIsMissing) {
  ASSERT_NO_FATAL_FAILURE(ServeTables());
  DumpsReader reader({.gateway = serve().address(),
                      .uri = Uri("search"),
                      .from = "snapshot",
                      .table_regex = "^wanted",
                      .holds = true});
  ASSERT_TRUE(reader.WaitForDumpRows(1000));
  serve().Kill();
  ASSERT_TRUE(serve().Start().ok());
  reader.Release();
  WaitStatus(Uri("search"), "some of it is acknowledged",
             [](const auto& status) { return status.rows() > 0; });
  serve().Kill();
  ASSERT_TRUE(serve().Start().ok());
  WaitDumped("search", 2);
  EXPECT_GT(load_->Stop(), 20U);
  WaitAllAcknowledged("search");
  ReceivedTables received(ReceivedOrder::kArrival);
  received.TakeAll(reader.lines());
  ExpectTables(received, /*all=*/false);
}

// At moments around the making of the subscription.
TEST_F(SnapshotThenFollow, ServeIsKilledWhileTheSubscriptionIsMade) {
  ASSERT_NO_FATAL_FAILURE(ServeTables());
  for (const int after_ms : {0, 2, 5, 10, 20, 40}) {
    const std::string subscription = fmt::format("after_{}", after_ms);
    DumpsReader reader({.gateway = serve().address(),
                        .uri = Uri(subscription),
                        .from = "snapshot",
                        .table_regex = "^wanted"});
    Pause(milliseconds(after_ms), {});
    serve().Kill();
    ASSERT_TRUE(serve().Start().ok());
    WaitDumped(subscription, 2);
    reader.Leave();
    ReceivedTables received(ReceivedOrder::kArrival);
    received.TakeAll(reader.lines());
    // Those that the load leaves alone.
    for (int id = 201; id <= kRows; ++id) {
      ASSERT_GE(received.dumped("wanted_1", id), 1U) << "row " << id << ", " << subscription;
      ASSERT_GE(received.dumped("wanted_2", id), 1U) << "row " << id << ", " << subscription;
    }
  }
}

}  // namespace
}  // namespace pgc
