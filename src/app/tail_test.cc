// tail against a real gateway over the memory store; its output is a pipe.
#include "app/tail.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <future>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "client/capture_client.h"
#include "gateway/server.h"
#include "store/memory_store.h"
#include "testing/change_log.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

// A resolver that tells when a consumer has been attached.
class CountingResolver : public Resolver {
 public:
  explicit CountingResolver(EventStore& store) : resolver_(store) {}

  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) override {
    auto consumer = resolver_.OpenConsumer(uri, options);
    MutexLock lock(mutex_);
    if (consumer.ok()) ++attached_;
    changed_.NotifyAll();
    return consumer;
  }
  absl::StatusOr<bool> IsNew(std::string_view uri) override { return resolver_.IsNew(uri); }
  void WaitFor(int attached) {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (attached_ < attached) ASSERT_TRUE(changed_.WaitUntil(mutex_, deadline));
  }

 private:
  StoreResolver resolver_;
  Mutex mutex_;
  CondVar changed_;
  int attached_ PGC_GUARDED_BY(mutex_) = 0;
};

class TailTest : public testing::Test {
 protected:
  TailTest() {
    signal(SIGPIPE, SIG_IGN);  // as main does
    Serve("127.0.0.1:0");
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    lines_ = fdopen(ends[0], "r");
    output_ = fdopen(ends[1], "w");
    options_.gateway = server_->address();
    options_.output = output_;
  }
  ~TailTest() override {
    stop_.request_stop();
    if (tail_.valid()) tail_.wait();
    if (lines_ != nullptr) (void)std::fclose(lines_);
    (void)std::fclose(output_);
  }

  void Serve(const std::string& address) {
    server_.reset();
    auto server = GatewayServer::Start({.address = address}, resolver_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // Starts tail and waits until it has been attached, for the `attached`th time of this test.
  void Start(int attached = 1) {
    tail_ = std::async(std::launch::async, [this] { return RunTail(options_, stop_.get_token()); });
    resolver_.WaitFor(attached);
  }
  std::string Line() {
    char line[1024];
    if (std::fgets(line, sizeof line, lines_) == nullptr) return "none";
    return line;
  }
  Lsn Insert(int32_t id, std::string_view note = "one", std::string_view table = "t") {
    return log_.Insert({{.table = table, .id = id, .note = note}});
  }

  const std::unique_ptr<EventStore> store_ = NewMemoryStore();
  ChangeLog log_{*store_};
  CountingResolver resolver_{*store_};
  std::unique_ptr<GatewayServer> server_;
  TailOptions options_;
  std::FILE* lines_ = nullptr;
  std::FILE* output_ = nullptr;
  std::stop_source stop_;
  std::future<absl::Status> tail_;
};

TEST_F(TailTest, PrintsALinePerChangeAndEndsAtItsLimit) {
  options_.format = TailFormat::kJson;
  options_.limit = 2;
  Start();
  const Lsn first = Insert(1, "it's");
  const Lsn second = Insert(2);
  EXPECT_EQ(Line(), R"({"lsn":")" + ToString(first) +
                        R"(","seq":1,"op":"INSERT","schema":"public","table":"t",)"
                        R"("new":{"id":1,"note":"it's"},"old":{}})"
                        "\n");
  EXPECT_THAT(Line(), HasSubstr(ToString(second)));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, PrintsTextForPeople) {
  options_.limit = 1;
  Start();
  const Lsn lsn = Insert(1, "it's");
  EXPECT_EQ(Line(), ToString(lsn) + "|1 INSERT public.t id=1 note='it''s'\n");
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, WithoutAUriItLeavesNothingBehind) {
  options_.limit = 1;
  Start();
  Insert(1, "first");
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  ASSERT_TRUE(tail_.get().ok());
  Insert(2, "missed");
  Start(2);
  Insert(3, "third");
  EXPECT_THAT(Line(), HasSubstr("'third'"));
  EXPECT_TRUE(tail_.get().ok());
  EXPECT_THAT(store_->Describe("pgcapture")->subscriptions, testing::IsEmpty());
}

TEST_F(TailTest, ASubscriptionRemembersWhatHasBeenPrinted) {
  options_.uri = "pgcapture/a";
  options_.limit = 1;
  Start();
  Insert(1, "first");
  Insert(2, "second");
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  ASSERT_TRUE(tail_.get().ok());
  Start(2);
  EXPECT_THAT(Line(), HasSubstr("'second'"));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, WithNoAckTheNextReaderGetsItAllAgain) {
  options_.uri = "pgcapture/a";
  options_.limit = 1;
  options_.no_ack = true;
  Start();
  Insert(1, "first");
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  ASSERT_TRUE(tail_.get().ok());
  Start(2);
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, ReadsOnlyTheTablesAskedFor) {
  options_.table_regex = "^wanted$";
  options_.limit = 1;
  Start();
  Insert(1, "other", "other");
  Insert(2, "wanted", "wanted");
  EXPECT_THAT(Line(), HasSubstr("'wanted'"));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, ReadsOnlyTheSchemasAskedFor) {
  options_.schema_regex = "^public$";
  options_.limit = 1;
  Start();
  const Lsn lsn = Insert(1);
  EXPECT_THAT(Line(), testing::StartsWith(ToString(lsn)));
  ASSERT_TRUE(tail_.get().ok());
  options_.schema_regex = "^private$";
  options_.boundaries = true;
  options_.limit = 2;
  Start(2);
  Insert(2);
  EXPECT_THAT(Line(), HasSubstr("BEGIN"));
  EXPECT_THAT(Line(), HasSubstr("COMMIT"));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, BeginsWhereItIsTold) {
  Insert(1, "first");
  options_.from = "beginning";
  options_.uri = "pgcapture/a";
  options_.limit = 1;
  Start();
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, PrintsBoundariesWhenAsked) {
  options_.boundaries = true;
  options_.limit = 3;
  Start();
  const std::string lsn = ToString(Insert(1));
  EXPECT_THAT(Line(), testing::StartsWith(lsn + "|0 BEGIN xid=7 time='2026-"));
  EXPECT_THAT(Line(), testing::StartsWith(lsn + "|1 INSERT"));
  EXPECT_THAT(Line(), testing::StartsWith(lsn + "|2 COMMIT end_lsn="));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, ALimitInTheMiddleOfABatchLeavesTheRestToTheNextReader) {
  options_.uri = "pgcapture/a";
  options_.from = "beginning";
  options_.limit = 10;
  log_.InsertMany("t", 20, "row");
  Start();
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Line(), HasSubstr(fmt::format("id={} ", i)));
  ASSERT_TRUE(tail_.get().ok());
  Start(2);
  EXPECT_THAT(Line(), HasSubstr("id=10 "));
}

TEST_F(TailTest, AStopEndsItWell) {
  options_.uri = "pgcapture/a";
  Start();
  Insert(1, "first");
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  stop_.request_stop();
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, AReaderThatHasHadEnoughEndsItWellAndWhatItDidNotGetIsNotAcknowledged) {
  options_.uri = "pgcapture/a";
  Start();
  Insert(1, "first");
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  (void)std::fclose(lines_);
  lines_ = nullptr;
  Insert(2, "second");
  EXPECT_TRUE(tail_.get().ok());
  auto next = CaptureClient::Open(
      {.gateway = server_->address(), .uri = "pgcapture/a", .parameters = {}}, {});
  ASSERT_TRUE(next.ok()) << next.status();
  const auto message = (*next)->Next({});
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->change().new_(1).binary(), "second");
}

TEST_F(TailTest, OutputThatCannotBeWrittenIsAnError) {
  std::FILE* const full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  options_.output = full;
  Start();
  Insert(1);
  const absl::Status status = tail_.get();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("No space left"));
  (void)std::fclose(full);
}

TEST_F(TailTest, ASubscriptionIsAttachedAgainWhenTheGatewayComesBack) {
  options_.uri = "pgcapture/a";
  options_.limit = 2;
  Start();
  Insert(1, "first");
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  const std::string address = server_->address();
  server_.reset();
  Insert(2, "meanwhile");
  Serve(address);
  // The first one's acknowledgement may have been on its way.
  const std::string line = Line();
  EXPECT_THAT(line, testing::AnyOf(HasSubstr("'meanwhile'"), HasSubstr("'first'")));
  EXPECT_TRUE(tail_.get().ok());
}

TEST_F(TailTest, WithoutAUriALostGatewayIsAnErrorThatNamesTheGap) {
  Start();
  Insert(1, "first");
  EXPECT_THAT(Line(), HasSubstr("'first'"));
  server_.reset();
  const absl::Status status = tail_.get();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("missed"));
}

TEST_F(TailTest, AGatewayThatIsNotThereIsNamedAtOnce) {
  server_.reset();
  options_.uri = "pgcapture/a";
  const absl::Status status = RunTail(options_, {});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(options_.gateway));
}

TEST_F(TailTest, AnUnknownUriIsAnError) {
  options_.uri = "nowhere/a";
  EXPECT_TRUE(absl::IsNotFound(RunTail(options_, {})));
}

}  // namespace
}  // namespace pgc
