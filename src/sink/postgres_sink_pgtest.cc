#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "sink/postgres_sink.h"
#include "store/memory_store.h"
#include "testing/change_log.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

using testing::HasSubstr;

constexpr char kLockSql[] =
    "SELECT pg_advisory_lock(('x' || md5(current_database()))::bit(64)::bigint)";

// The parameter: over how many connections.
class PostgresSinkTest : public DatabaseTest, public testing::WithParamInterface<size_t> {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    Sql("CREATE TABLE t (id int PRIMARY KEY, note text)");
    store_ = NewMemoryStore();
    log_ = std::make_unique<ChangeLog>(*store_);
  }
  void TearDown() override {
    (void)Stop();
    log_ = nullptr;
    DatabaseTest::TearDown();
  }
  SinkOptions Options() const {
    SinkOptions options;
    options.url = server_->Url(name_);
    options.topic = "pgcapture";
    options.apply.source_id = "pgcapture";
    options.connections = GetParam();
    return options;
  }
  void Start(const SinkOptions& options) {
    thread_ = std::jthread([this, options](const std::stop_token& stop) {
      status_ = RunPostgresSink(*store_, options, stop);
    });
  }
  absl::Status Stop() {
    if (thread_.joinable()) {
      thread_.request_stop();
      thread_.join();
    }
    return status_;
  }

  std::unique_ptr<EventStore> store_;
  std::unique_ptr<ChangeLog> log_;
  absl::Status status_;
  std::jthread thread_;
};

INSTANTIATE_TEST_SUITE_P(Connections, PostgresSinkTest, testing::Values(1, 4),
                         testing::PrintToStringParamName());

TEST_P(PostgresSinkTest, GoesOnBehindTheCheckpointOfTheTarget) {
  log_->Insert({{.table = "t", .id = 1, .note = "a"}});
  Start(Options());
  EXPECT_TRUE(Eventually("SELECT count(*) = 1 FROM t"));
  EXPECT_TRUE(Stop().ok());
  log_->Insert({{.table = "t", .id = 2, .note = "b"}});
  Start(Options());
  EXPECT_TRUE(Eventually("SELECT count(*) = 2 FROM t"));
  const absl::Status status = Stop();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(PostgresSinkTest, WithoutTheExtensionItMakesItsTableItself) {
  log_->Insert({{.table = "t", .id = 1, .note = "a"}});
  Start(Options());
  ASSERT_TRUE(Eventually("SELECT count(*) = 1 FROM t"));
  EXPECT_EQ(Ask("SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum) FROM "
                "pg_attribute WHERE attrelid = 'pgcapture.sources'::regclass AND attnum > 0"),
            "id text, commit pg_lsn, seq integer, commit_ts timestamp with time zone, mid bytea, "
            "apply_ts timestamp with time zone");
}

TEST_P(PostgresSinkTest, TheLogIsKeptFromTheCheckpointOn) {
  log_->Insert({{.table = "t", .id = 1, .note = "a"}});
  Start(Options());
  ASSERT_TRUE(Eventually("SELECT count(*) = 1 FROM t"));
  const auto cursor_is_at_the_end = [this] {
    const auto topic = store_->Describe("pgcapture");
    return topic.ok() && topic->subscriptions.size() == 1 &&
           topic->subscriptions[0].backlog_events == 0;
  };
  const auto deadline = std::chrono::steady_clock::now() + kTestTimeout;
  while (!cursor_is_at_the_end() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(cursor_is_at_the_end());
}

TEST_P(PostgresSinkTest, ASecondSinkWaitsForTheFirstToGo) {
  Sql(kLockSql);
  log_->Insert({{.table = "t", .id = 1, .note = "a"}});
  Start(Options());
  ASSERT_TRUE(
      Eventually("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = "
                 "'pgcapture apply' AND datname = current_database()"));
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), "0");
  Sql("SELECT pg_advisory_unlock_all()");
  EXPECT_TRUE(Eventually("SELECT count(*) = 1 FROM t"));
}

TEST_P(PostgresSinkTest, ATopicThatIsNotThereYetIsNotFound) {
  SinkOptions options = Options();
  options.topic = "other";
  EXPECT_TRUE(absl::IsNotFound(RunPostgresSink(*store_, options, std::stop_token())));
}

TEST_P(PostgresSinkTest, ARoleThatMayNotTurnTriggersOffIsToldTheWaysOut) {
  Sql("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE " + name_ +
      " TO plain; GRANT ALL ON t TO plain");
  SinkOptions options = Options();
  options.url = server_->Url(name_, "plain");
  const absl::Status status = RunPostgresSink(*store_, options, std::stop_token());
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--replication-role origin"));
  log_->Insert({{.table = "t", .id = 1, .note = "a"}});
  options.apply.replica_role = false;
  Start(options);
  EXPECT_TRUE(Eventually("SELECT count(*) = 1 FROM t"));
  EXPECT_TRUE(Stop().ok());
  Sql("DROP OWNED BY plain; DROP ROLE plain");
}

}  // namespace
}  // namespace pgc
