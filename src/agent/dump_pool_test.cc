#include "agent/dump_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/agent_testing.h"

namespace pgc {
namespace {

using testing::HasSubstr;

// Takes rows and forgets them.
class NoRows final : public DumpWriter {
 public:
  absl::Status Begin(const DumpHeader& /*header*/) override { return absl::OkStatus(); }
  absl::Status Rows(std::string_view /*changes*/, uint64_t /*count*/) override {
    return absl::OkStatus();
  }
};

class TestJob final : public ServerJob {
 public:
  absl::Status RunOn(DumpServer& dump_server, std::stop_token stop) override {
    NoRows rows;
    started.Set();
    return dump_server.Read(DumpRequest(), rows, std::move(stop));
  }
  bool may_begin_anew() const override { return !begun; }
  void Done(absl::Status status) override {
    MutexLock lock(mutex_);
    EXPECT_FALSE(ended_.has_value()) << "told twice";
    ended_ = std::move(status);
    changed_.NotifyAll();
  }

  absl::Status Wait() {
    MutexLock lock(mutex_);
    changed_.WaitUntil(mutex_, std::stop_token(),
                       std::chrono::steady_clock::now() + kAgentTestTimeout,
                       [this]() PGC_REQUIRES(mutex_) { return ended_.has_value(); });
    return ended_.value_or(absl::DeadlineExceededError("still not done"));
  }

  TestEvent started;
  std::atomic<bool> begun{false};

 private:
  Mutex mutex_;
  CondVar changed_;
  std::optional<absl::Status> ended_ PGC_GUARDED_BY(mutex_);
};

FakeDumpServer::ReadFunction Answering(const absl::Status& status) {
  return [status](const DumpRequest&, DumpWriter&, const std::stop_token&) { return status; };
}

// Reads until it is stopped, or until the event.
FakeDumpServer::ReadFunction Until(TestEvent& event) {
  return [&event](const DumpRequest&, DumpWriter&, const std::stop_token& stop) {
    return event.Wait(stop) ? absl::OkStatus() : absl::CancelledError("stopped");
  };
}

std::shared_ptr<TestJob> Submit(DumpPool& pool, std::optional<uint64_t> server = std::nullopt) {
  auto job = std::make_shared<TestJob>();
  job->server = server;
  pool.Submit(job);
  return job;
}

TEST(DumpPoolTest, GivesEachJobToTheServerWithTheLeastInHand) {
  TestEvent end;
  const auto a = std::make_shared<FakeDumpServer>(1, Until(end));
  const auto b = std::make_shared<FakeDumpServer>(2, Until(end));
  DumpPool pool({.connections = 3});
  pool.Add(a);
  pool.Add(b);
  std::vector<std::shared_ptr<TestJob>> jobs;
  for (int i = 0; i < 6; ++i) jobs.push_back(Submit(pool));
  for (const auto& job : jobs) EXPECT_TRUE(job->started.Wait());
  end.Set();
  for (const auto& job : jobs) EXPECT_TRUE(job->Wait().ok());
  EXPECT_EQ(a->reads(), 3);
  EXPECT_EQ(b->reads(), 3);
}

TEST(DumpPoolTest, TakesTurnsAmongEquals) {
  const auto a = std::make_shared<FakeDumpServer>(1, Answering(absl::OkStatus()));
  const auto b = std::make_shared<FakeDumpServer>(2, Answering(absl::OkStatus()));
  DumpPool pool({.connections = 2});
  pool.Add(a);
  pool.Add(b);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Submit(pool)->Wait().ok());
  // A thread may count as running for a moment after it has told the job's end.
  EXPECT_EQ(a->reads() + b->reads(), 10);
  EXPECT_GE(a->reads(), 3);
  EXPECT_GE(b->reads(), 3);
}

TEST(DumpPoolTest, OnlyTheServerThatIsNamedAnswers) {
  const auto a = std::make_shared<FakeDumpServer>(1, Answering(absl::NotFoundError("not here")));
  const auto b = std::make_shared<FakeDumpServer>(2, Answering(absl::OkStatus()));
  DumpPool pool({.connections = 1});
  pool.Add(a);
  pool.Add(b);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Submit(pool, 2)->Wait().ok());
  EXPECT_LE(a->reads(), 1) << "only to learn which server it is";
  EXPECT_EQ(Submit(pool, 1)->Wait().code(), absl::StatusCode::kNotFound);
}

TEST(DumpPoolTest, AServerThatNobodyIsIsUnavailableByName) {
  DumpPool pool({.connections = 1});
  pool.Add(std::make_shared<FakeDumpServer>(1, Answering(absl::OkStatus())));
  EXPECT_TRUE(Submit(pool)->Wait().ok());
  const absl::Status status = Submit(pool, 77)->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("77"));
}

TEST(DumpPoolTest, AServerThatIsGoneIsReplacedByTheNext) {
  const auto gone = std::make_shared<FakeDumpServer>(1, Answering(absl::UnavailableError("gone")));
  DumpPool pool({.connections = 1});
  pool.Add(gone);
  pool.Add(std::make_shared<FakeDumpServer>(2, Answering(absl::OkStatus())));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Submit(pool)->Wait().ok());
  EXPECT_GE(gone->reads(), 1);
}

TEST(DumpPoolTest, WhatHasBegunDoesNotGoToAnotherServer) {
  const auto job = std::make_shared<TestJob>();
  const auto breaks = [&job](const DumpRequest&, DumpWriter&, const std::stop_token&) {
    job->begun = true;
    return absl::UnavailableError("gone");
  };
  const auto a = std::make_shared<FakeDumpServer>(1, breaks);
  const auto b = std::make_shared<FakeDumpServer>(2, breaks);
  DumpPool pool({.connections = 1});
  pool.Add(a);
  pool.Add(b);
  pool.Submit(job);
  EXPECT_EQ(job->Wait().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(a->reads() + b->reads(), 1);
}

TEST(DumpPoolTest, WhenAllAreGoneTheLastErrorIsTheAnswer) {
  DumpPool pool({.connections = 1});
  pool.Add(std::make_shared<FakeDumpServer>(1, Answering(absl::UnavailableError("gone"))));
  pool.Add(std::make_shared<FakeDumpServer>(2, Answering(absl::UnavailableError("gone"))));
  const absl::Status status = Submit(pool)->Wait();
  EXPECT_EQ(status, absl::UnavailableError("gone"));
}

TEST(DumpPoolTest, WaitsForAServerThatIsBehindWithoutHoldingAThread) {
  std::atomic<bool> caught_up{false};
  const auto server = std::make_shared<FakeDumpServer>(
      1, [&caught_up](const DumpRequest&, DumpWriter&, const std::stop_token&) {
        return caught_up ? absl::OkStatus() : absl::FailedPreconditionError("behind");
      });
  DumpPool pool({.connections = 1});
  pool.Add(server);
  const auto waits = std::make_shared<TestJob>();
  waits->catch_up_time = kAgentTestTimeout;
  pool.Submit(waits);
  EXPECT_TRUE(waits->started.Wait());
  EXPECT_EQ(Submit(pool)->Wait().code(), absl::StatusCode::kFailedPrecondition);
  caught_up = true;
  EXPECT_TRUE(waits->Wait().ok());
}

TEST(DumpPoolTest, AServerThatStaysBehindIsFailedPreconditionAfterTheTime) {
  const auto server =
      std::make_shared<FakeDumpServer>(1, Answering(absl::FailedPreconditionError("behind")));
  DumpPool pool({.connections = 1});
  pool.Add(server);
  const auto begun = std::chrono::steady_clock::now();
  const auto job = std::make_shared<TestJob>();
  job->catch_up_time = std::chrono::milliseconds(120);
  pool.Submit(job);
  EXPECT_EQ(job->Wait().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(120));
  EXPECT_GE(server->reads(), 2);
}

TEST(DumpPoolTest, OneThatIsAheadAnswersForOneThatIsBehind) {
  DumpPool pool({.connections = 1});
  pool.Add(std::make_shared<FakeDumpServer>(1, Answering(absl::FailedPreconditionError("behind"))));
  pool.Add(std::make_shared<FakeDumpServer>(2, Answering(absl::OkStatus())));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Submit(pool)->Wait().ok());
}

TEST(DumpPoolTest, CancelStopsWhatRunsAndForgetsWhatWaits) {
  TestEvent never;
  DumpPool pool({.connections = 1});
  pool.Add(std::make_shared<FakeDumpServer>(1, Until(never)));
  const auto runs = Submit(pool);
  ASSERT_TRUE(runs->started.Wait());
  const auto waits = Submit(pool);
  pool.Cancel(*waits);
  EXPECT_EQ(waits->Wait().code(), absl::StatusCode::kCancelled);
  pool.Cancel(*runs);
  EXPECT_EQ(runs->Wait().code(), absl::StatusCode::kCancelled);
}

TEST(DumpPoolTest, CancelEndsTheWaitForAServerThatIsBehind) {
  DumpPool pool({.connections = 1});
  pool.Add(std::make_shared<FakeDumpServer>(1, Answering(absl::FailedPreconditionError("behind"))));
  const auto job = std::make_shared<TestJob>();
  job->catch_up_time = std::chrono::hours(1);
  pool.Submit(job);
  ASSERT_TRUE(job->started.Wait());
  pool.Cancel(*job);
  EXPECT_EQ(job->Wait().code(), absl::StatusCode::kCancelled);
}

TEST(DumpPoolTest, MoreThanMayWaitAreRefused) {
  TestEvent end;
  DumpPool pool({.connections = 1, .max_waiting = 2});
  pool.Add(std::make_shared<FakeDumpServer>(1, Until(end)));
  const auto runs = Submit(pool);
  ASSERT_TRUE(runs->started.Wait());
  const auto first = Submit(pool);
  const auto second = Submit(pool);
  EXPECT_EQ(Submit(pool)->Wait().code(), absl::StatusCode::kResourceExhausted);
  end.Set();
  EXPECT_TRUE(first->Wait().ok());
  EXPECT_TRUE(second->Wait().ok());
}

TEST(DumpPoolTest, AServerThatIsRemovedRunsNothingAnyMore) {
  TestEvent never;
  const auto server = std::make_shared<FakeDumpServer>(1, Until(never));
  DumpPool pool({.connections = 1});
  pool.Add(server);
  const auto runs = Submit(pool);
  ASSERT_TRUE(runs->started.Wait());
  const auto waits = Submit(pool);
  pool.Remove(server);
  EXPECT_EQ(server->in_use(), 0);
  EXPECT_EQ(runs->Wait().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waits->Wait().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(pool.empty());
}

TEST(DumpPoolTest, ShutdownEndsAllAndRefusesWhatComes) {
  TestEvent never;
  DumpPool pool({.connections = 1});
  pool.Add(std::make_shared<FakeDumpServer>(1, Until(never)));
  const auto runs = Submit(pool);
  ASSERT_TRUE(runs->started.Wait());
  const auto waits = Submit(pool);
  pool.Shutdown();
  for (const auto& job : {runs, waits, Submit(pool)}) {
    EXPECT_EQ(job->Wait().code(), absl::StatusCode::kUnavailable);
  }
}

}  // namespace
}  // namespace pgc
