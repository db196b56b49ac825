#include "gateway/snapshot.h"

#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <stop_token>
#include <utility>

#include "gateway/dumps_testing.h"

namespace pgc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// An agent that only tells which tables there are.
class ListingAgent final : public pb::Agent::Service {
 public:
  ListingAgent() {
    auto listener = Listener::Start({.address = "127.0.0.1:0", .health_names = {}}, {this});
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }
  grpc::Status ListTables(grpc::ServerContext* /*context*/,
                          const pb::ListTablesRequest* /*request*/,
                          pb::ListTablesResponse* response) override {
    if (tables_asked) tables_asked();
    for (const char* name : {"t", "u", "log_2026"}) {
      auto& table = *response->add_tables();
      table.set_schema("public");
      table.set_table(name);
      table.set_published_schema("public");
      table.set_published_table(std::string(name).substr(0, 3));
    }
    return error;
  }
  std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel(listener_->address(), grpc::InsecureChannelCredentials());
  }

  // Set before the first call.
  grpc::Status error;
  std::function<void()> tables_asked;

 private:
  std::unique_ptr<Listener> listener_;
};

// A controller that knows neither `once` nor `replace`, and gives all requests this answer.
class OldController final : public pb::DBLogController::Service {
 public:
  explicit OldController(grpc::Status answer) : answer_(std::move(answer)) {
    auto listener = Listener::Start({.address = "127.0.0.1:0", .health_names = {}}, {this});
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }
  grpc::Status Schedule(grpc::ServerContext* /*context*/, const pb::ScheduleRequest* request,
                        pb::ScheduleResponse* /*response*/) override {
    if (request->replace()) ++replaces;
    return answer_;
  }
  grpc::Status StopSchedule(grpc::ServerContext* /*context*/,
                            const pb::StopScheduleRequest* request,
                            pb::StopScheduleResponse* /*response*/) override {
    EXPECT_EQ(request->uri(), "a/b");
    ++stops;
    return grpc::Status::OK;
  }
  std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel(listener_->address(), grpc::InsecureChannelCredentials());
  }

  std::atomic<int> stops = 0;
  std::atomic<int> replaces = 0;

 private:
  const grpc::Status answer_;
  std::unique_ptr<Listener> listener_;
};

class SnapshotTest : public testing::Test {
 protected:
  absl::Status Ask(const std::string& without = "") {
    return Ask(controller_.channel(), false,
               [without](std::string_view table) { return table != without; });
  }
  absl::Status AskOnce(bool wants_any = true) {
    return Ask(controller_.channel(), true, [wants_any](std::string_view) { return wants_any; });
  }
  absl::Status Ask(std::shared_ptr<grpc::Channel> controller, bool once,
                   std::function<bool(std::string_view)> wants) {
    const SnapshotOptions options{
        .uri = "a/b",
        .sources = {.controller = std::move(controller), .agents = agents_},
        .wants = [wants = std::move(wants)](std::string_view,
                                            std::string_view table) { return wants(table); },
        .once = once};
    return ScheduleSnapshot(options, {});
  }
  // The tables that are scheduled.
  std::vector<std::string> Scheduled() {
    grpc::ClientContext context;
    pb::ControllerStatusRequest request;
    request.set_uri("a/b");
    pb::ControllerStatusResponse response;
    EXPECT_TRUE(stub()->Status(&context, request, &response).ok());
    std::vector<std::string> tables;
    for (const pb::DumpJob& job : response.jobs()) tables.push_back(job.table());
    return tables;
  }
  // A part of the table `u`.
  void ScheduleByHand() {
    grpc::ClientContext context;
    pb::ScheduleRequest request;
    request.set_uri("a/b");
    pb::TableDump& dump = *request.add_tables();
    dump.set_schema("public");
    dump.set_table("u");
    dump.set_where("id = 1");
    pb::ScheduleResponse response;
    ASSERT_TRUE(stub()->Schedule(&context, request, &response).ok());
  }
  void Stop() {
    grpc::ClientContext context;
    pb::StopScheduleRequest request;
    request.set_uri("a/b");
    pb::StopScheduleResponse response;
    ASSERT_TRUE(stub()->StopSchedule(&context, request, &response).ok());
  }
  std::unique_ptr<pb::DBLogController::Stub> stub() const {
    return pb::DBLogController::NewStub(controller_.channel());
  }

  TestController controller_;
  ListingAgent agent_;
  std::vector<std::shared_ptr<grpc::Channel>> agents_ = {agent_.channel()};
};

TEST_F(SnapshotTest, AsksForTheTablesThatAreWantedByTheNamesOfTheirChanges) {
  ASSERT_TRUE(Ask(/*without=*/"log").ok());
  EXPECT_THAT(Scheduled(), ElementsAre("t", "u"));
}

TEST_F(SnapshotTest, AnAgentThatDoesNotAnswerIsTheReasonAndNothingIsScheduled) {
  agent_.error = grpc::Status(grpc::StatusCode::UNAVAILABLE, "no server to dump from");
  const absl::Status status = Ask();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no server to dump from"));
  EXPECT_THAT(Scheduled(), IsEmpty());
}

TEST_F(SnapshotTest, WhereOneAgentIsAwayTheNextIsAsked) {
  ListingAgent other;
  agent_.error = grpc::Status(grpc::StatusCode::UNAVAILABLE, "no server to dump from");
  agents_.push_back(other.channel());
  ASSERT_TRUE(Ask().ok());
  EXPECT_THAT(Scheduled(), ElementsAre("t", "u", "log_2026"));
}

TEST_F(SnapshotTest, TakesThePlaceOfWhatIsScheduledForASubscriptionThatIsNotMade) {
  ScheduleByHand();
  ASSERT_TRUE(Ask().ok());
  EXPECT_THAT(Scheduled(), ElementsAre("t", "u", "log_2026"));
}

// A controller that dies has both or neither: there is one request.
TEST_F(SnapshotTest, TakesThatPlaceInOneRequest) {
  OldController old(grpc::Status::OK);
  ASSERT_TRUE(Ask(old.channel(), /*once=*/false, [](std::string_view) { return true; }).ok());
  EXPECT_EQ(old.replaces, 1);
  EXPECT_EQ(old.stops, 0);
}

TEST_F(SnapshotTest, AControllerThatCannotDoThatIsAskedToStopWhatItHas) {
  OldController old({grpc::StatusCode::FAILED_PRECONDITION, "already scheduled: a/b"});
  ASSERT_TRUE(Ask(old.channel(), /*once=*/false, [](std::string_view) { return true; }).ok());
  EXPECT_EQ(old.stops, 1);
}

TEST_F(SnapshotTest, ItEndsWhenItIsStopped) {
  std::stop_source stop;
  agent_.tables_asked = [&stop] { stop.request_stop(); };
  const absl::Status status =
      ScheduleSnapshot({.uri = "a/b",
                        .sources = {.controller = controller_.channel(), .agents = agents_},
                        .wants = [](std::string_view, std::string_view) { return true; }},
                       stop.get_token());
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_THAT(Scheduled(), IsEmpty());
}

TEST_F(SnapshotTest, AskedForOnceItIsScheduledOnceAlsoInThePlaceOfSomething) {
  ScheduleByHand();
  ASSERT_TRUE(AskOnce().ok());
  EXPECT_THAT(Scheduled(), ElementsAre("t", "u", "log_2026"));
  Stop();
  ASSERT_TRUE(AskOnce().ok());
  EXPECT_THAT(Scheduled(), IsEmpty());
  ScheduleByHand();
  ASSERT_TRUE(AskOnce().ok());
  EXPECT_THAT(Scheduled(), ElementsAre("u")) << "what was asked for since is left alone";
}

TEST_F(SnapshotTest, OneWithoutATableIsOneToo) {
  ASSERT_TRUE(AskOnce(/*wants_any=*/false).ok());
  ASSERT_TRUE(AskOnce().ok());
  EXPECT_THAT(Scheduled(), IsEmpty());
}

TEST_F(SnapshotTest, AControllerThatDoesNotRememberIsRefusedAndWhatItScheduledIsStopped) {
  OldController old(grpc::Status::OK);
  const absl::Status status =
      Ask(old.channel(), /*once=*/true, [](std::string_view) { return true; });
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("pgcapture dump --uri a/b"));
  EXPECT_EQ(old.stops, 1);
}

TEST_F(SnapshotTest, OneThatDoesNotRememberKeepsWhatSomebodyScheduled) {
  OldController old({grpc::StatusCode::FAILED_PRECONDITION, "already scheduled: a/b"});
  const absl::Status status =
      Ask(old.channel(), /*once=*/true, [](std::string_view) { return true; });
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("pgcapture dump --uri a/b"));
  EXPECT_EQ(old.stops, 0);
}

}  // namespace
}  // namespace pgc
