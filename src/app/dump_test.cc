// dump against a real controller, with consumers that answer; the agent only lists tables.
#include "app/dump.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "controller/controller_service.h"
#include "gateway/listener.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class TableLister final : public pb::Agent::Service {
 public:
  grpc::Status ListTables(grpc::ServerContext* /*context*/,
                          const pb::ListTablesRequest* /*request*/,
                          pb::ListTablesResponse* response) override {
    const auto add = [response](const char* schema, const char* table, const char* published) {
      auto& one = *response->add_tables();
      one.set_schema(schema);
      one.set_table(table);
      one.set_published_schema(schema);
      one.set_published_table(published);
    };
    add("public", "a", "a");
    add("public", "leaf1", "root");
    add("public", "leaf2", "root");
    add("other", "b", "b");
    return grpc::Status::OK;
  }
};

class DumpTest : public testing::Test {
 protected:
  DumpTest() { Listen({&lister_}); }
  ~DumpTest() override { Close(); }

  void Listen(std::vector<grpc::Service*> services) {
    Close();
    ControllerOptions options;
    options.max_tries = 1;
    auto opened = ControllerService::Open(options);
    EXPECT_TRUE(opened.ok()) << opened.status();
    service_ = *std::move(opened);
    services.push_back(service_.get());
    auto started = Listener::Start({.address = "127.0.0.1:0", .health_names = {}}, services);
    EXPECT_TRUE(started.ok()) << started.status();
    listener_ = *std::move(started);
    options_.controller = listener_->address();
    options_.look_interval = milliseconds(5);
  }
  void Close() {
    if (service_ != nullptr) service_->Shutdown();
    listener_.reset();
    service_.reset();
  }

  struct Result {
    absl::StatusOr<bool> well = false;
    std::string output;
    std::string progress;
  };
  Result Run(DumpCommandOptions options, const std::stop_token& stop = {}) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> output(std::tmpfile(), std::fclose);
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> progress(std::tmpfile(), std::fclose);
    options.output = output.get();
    options.progress = progress.get();
    Result result;
    result.well = RunDump(options, stop);
    const auto read = [](std::FILE* file) {
      std::rewind(file);
      std::string text(1 << 16, '\0');
      text.resize(std::fread(text.data(), 1, text.size(), file));
      return text;
    };
    result.output = read(output.get());
    result.progress = read(progress.get());
    return result;
  }
  Result Do(DumpAction action) {
    DumpCommandOptions options = options_;
    options.action = action;
    return Run(options);
  }
  DumpCommandOptions Tables(const std::vector<std::string>& tables) const {
    DumpCommandOptions options = options_;
    options.tables = tables;
    return options;
  }
  nlohmann::json Status() {
    DumpCommandOptions options = options_;
    options.action = DumpAction::kStatus;
    options.json = true;
    return nlohmann::json::parse(Run(options).output);
  }
  std::vector<std::string> Scheduled() {
    std::vector<std::string> all;
    const nlohmann::json status = Status();
    for (const auto& job : status["jobs"]) {
      all.push_back(job["schema"].get<std::string>() + "." + job["table"].get<std::string>());
    }
    return all;
  }

  // A consumer that answers each dump of a table of one page.
  void Consume(const std::stop_token& stop, const std::string& fails = "") {
    const auto stub = pb::DBLogController::NewStub(listener_->InProcessChannel());
    grpc::ClientContext context;
    const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
    const auto stream = stub->PullDumpInfo(&context);
    pb::DumpInfoRequest request;
    request.set_uri(options_.uri);
    stream->Write(request);
    pb::DumpInfoResponse dump;
    while (stream->Read(&dump)) {
      request.Clear();
      request.set_pages(1);
      request.set_server("s");
      request.set_rows(3);
      request.set_no_key(true);
      if (dump.table() == fails) {
        request.set_requeue_reason("it is a view");
        request.set_requeue(pb::DumpInfoRequest::IMPOSSIBLE);
      }
      stream->Write(request);
    }
    (void)stream->Finish();
  }

  TableLister lister_;
  std::unique_ptr<ControllerService> service_;
  std::unique_ptr<Listener> listener_;
  DumpCommandOptions options_;
};

TEST_F(DumpTest, SchedulesTablesByNameAndByPatternEachOnce) {
  const Result result = Run(Tables({"b.c.d", "x", "public.*", "leaf1"}));
  ASSERT_TRUE(result.well.ok()) << result.well.status();
  EXPECT_EQ(result.output, "pgcapture: 5 tables scheduled\n");
  EXPECT_EQ(Scheduled(), (std::vector<std::string>{"b.c.d", "public.x", "public.a", "public.leaf1",
                                                   "public.leaf2"}));
}

TEST_F(DumpTest, APatternFindsPartitionsByTheNameOfTheirRoot) {
  ASSERT_TRUE(Run(Tables({"r??t"})).well.ok());
  EXPECT_EQ(Scheduled(), (std::vector<std::string>{"public.leaf1", "public.leaf2"}));
}

TEST_F(DumpTest, APartitionedTableIsItsPartitions) {
  ASSERT_TRUE(Run(Tables({"root", "a"})).well.ok());
  EXPECT_EQ(Scheduled(), (std::vector<std::string>{"public.leaf1", "public.leaf2", "public.a"}));
}

TEST_F(DumpTest, ANameNeedsNoAgent) {
  Listen({});
  ASSERT_TRUE(Run(Tables({"root"})).well.ok());
  EXPECT_EQ(Scheduled(), std::vector<std::string>{"public.root"});
}

TEST_F(DumpTest, APatternWithoutATableIsAnError) {
  EXPECT_TRUE(absl::IsInvalidArgument(Run(Tables({"nothing.*"})).well.status()));
  EXPECT_FALSE(Status()["scheduled"].get<bool>());
}

TEST_F(DumpTest, APatternWithoutAnAgentSaysSo) {
  Listen({});
  const Result result = Run(Tables({"*"}));
  EXPECT_TRUE(absl::IsUnimplemented(result.well.status())) << result.well.status();
  EXPECT_THAT(std::string(result.well.status().message()), HasSubstr("--agent"));
}

TEST_F(DumpTest, APageRangeAndWhatIsWantedOfTheRowsReachTheConsumer) {
  DumpCommandOptions options = Tables({"a"});
  options.pages = "3-5";
  options.where = "id > 1";
  options.columns = {"id", "b"};
  options.keys = {"(1)"};
  ASSERT_TRUE(Run(options).well.ok());
  const auto stub = pb::DBLogController::NewStub(listener_->InProcessChannel());
  grpc::ClientContext context;
  const auto stream = stub->PullDumpInfo(&context);
  pb::DumpInfoRequest request;
  request.set_uri(options_.uri);
  stream->Write(request);
  pb::DumpInfoResponse dump;
  ASSERT_TRUE(stream->Read(&dump));
  EXPECT_EQ(dump.page_begin(), 3u);
  EXPECT_EQ(dump.page_end(), 5u);
  EXPECT_EQ(dump.where(), "id > 1");
  EXPECT_EQ(dump.columns(1), "b");
  EXPECT_EQ(dump.keys(0), "(1)");
  context.TryCancel();
}

TEST_F(DumpTest, PagesThatAreNoneAreInvalid) {
  for (const char* pages : {"a", "-3", "1-2-3", "5-x", "99999999999", "5-3"}) {
    DumpCommandOptions options = Tables({"a"});
    options.pages = pages;
    EXPECT_TRUE(absl::IsInvalidArgument(Run(options).well.status())) << pages;
  }
}

TEST_F(DumpTest, WaitEndsWhenEverythingIsAcknowledged) {
  const std::jthread consumer([this](const std::stop_token& stop) { Consume(stop); });
  DumpCommandOptions options = Tables({"a", "other.b"});
  options.wait = true;
  const Result result = Run(options);
  ASSERT_TRUE(result.well.ok()) << result.well.status();
  EXPECT_TRUE(*result.well);
  EXPECT_THAT(result.progress, HasSubstr("2 of 2 tables, 6 rows"));
  EXPECT_THAT(Do(DumpAction::kStatus).output, HasSubstr("without a key"));
}

TEST_F(DumpTest, WaitTellsWhatFailedAndWhy) {
  const std::jthread consumer([this](const std::stop_token& stop) { Consume(stop, "a"); });
  DumpCommandOptions options = Tables({"a", "other.b"});
  options.wait = true;
  options.terminal = true;
  const Result result = Run(options);
  ASSERT_TRUE(result.well.ok()) << result.well.status();
  EXPECT_FALSE(*result.well);
  EXPECT_THAT(result.progress, HasSubstr("1 of 2 tables failed:\npublic.a: it is a view\n"));
}

TEST_F(DumpTest, StoppedItLeavesTheScheduleAndSaysHowToEndIt) {
  std::stop_source stop;
  stop.request_stop();
  DumpCommandOptions options = Tables({"a"});
  options.wait = true;
  const Result result = Run(options, stop.get_token());
  ASSERT_TRUE(result.well.ok());
  EXPECT_FALSE(*result.well);
  EXPECT_THAT(result.progress, HasSubstr("--stop"));
  EXPECT_TRUE(Status()["scheduled"].get<bool>());
  EXPECT_TRUE(Do(DumpAction::kStop).well.ok());
  EXPECT_FALSE(Status()["scheduled"].get<bool>());
}

TEST_F(DumpTest, PauseResumeAndCoolDownReachTheController) {
  ASSERT_TRUE(Run(Tables({"a"})).well.ok());
  EXPECT_TRUE(Do(DumpAction::kPause).well.ok());
  EXPECT_TRUE(Status()["paused"].get<bool>());
  EXPECT_THAT(Do(DumpAction::kStatus).output, HasSubstr("paused"));
  EXPECT_TRUE(Do(DumpAction::kResume).well.ok());
  EXPECT_FALSE(Status()["paused"].get<bool>());
  DumpCommandOptions options = options_;
  options.action = DumpAction::kCoolDown;
  options.cool_down = milliseconds(1'500);
  EXPECT_TRUE(Run(options).well.ok());
  EXPECT_EQ(Status()["cool_down_seconds"].get<double>(), 1.5);
}

TEST_F(DumpTest, ASecondScheduleIsRefused) {
  ASSERT_TRUE(Run(Tables({"a"})).well.ok());
  const Result result = Run(Tables({"a"}));
  EXPECT_THAT(std::string(result.well.status().message()), HasSubstr("already scheduled"));
}

TEST(DumpOptionsTest, DurationsAreThoseOfGo) {
  EXPECT_EQ(*ParseDuration("5s"), std::chrono::seconds(5));
  EXPECT_EQ(*ParseDuration("1m30s"), std::chrono::seconds(90));
  EXPECT_EQ(*ParseDuration("250ms"), milliseconds(250));
  EXPECT_EQ(*ParseDuration("1.5h"), std::chrono::minutes(90));
  for (const char* text : {"", "5", "s", "5x", "-5s", "nans", "999999h", "5s "}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseDuration(text).status())) << text;
  }
}

TEST(DumpOptionsTest, AGlobTakesTheWholeName) {
  EXPECT_TRUE(MatchesGlob("*", ""));
  EXPECT_TRUE(MatchesGlob("public.*", "public.a"));
  EXPECT_TRUE(MatchesGlob("*.a*c", "p.abcabc"));
  EXPECT_TRUE(MatchesGlob("a?c", "abc"));
  EXPECT_FALSE(MatchesGlob("a?c", "ac"));
  EXPECT_FALSE(MatchesGlob("public.*", "publicx"));
  EXPECT_FALSE(MatchesGlob("a", "ab"));
}

}  // namespace
}  // namespace pgc
