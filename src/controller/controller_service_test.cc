// The service over gRPC's in-process channel. Where a test says nothing else, it sends only what
// the contract has: fields below 20.
#include "controller/controller_service.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "testing/temp_dir.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

// A consumer's side of PullDumpInfo.
class Puller {
 public:
  Puller(pb::DBLogController::Stub& stub, const std::string& uri, const std::string& hold = "",
         uint64_t consumer = 0, bool repeats = true) {
    context_.set_deadline(std::chrono::system_clock::now() + seconds(60));
    stream_ = stub.PullDumpInfo(&context_);
    pb::DumpInfoRequest request;
    request.set_uri(uri);
    request.set_hold(hold);
    request.set_consumer(consumer);
    request.set_repeats(repeats);
    stream_->Write(request);
  }

  // The next dump; nothing at the end of the call.
  std::optional<pb::DumpInfoResponse> Read() {
    pb::DumpInfoResponse response;
    if (!stream_->Read(&response)) return std::nullopt;
    return response;
  }
  std::string Next() {
    const auto dump = Read();
    if (!dump) return "ended";
    return dump->table() + " " + std::to_string(dump->page_begin()) + "-" +
           std::to_string(dump->page_end());
  }
  void Ack() { Answer({}); }
  void Requeue(const std::string& reason) {
    pb::DumpInfoRequest request;
    request.set_requeue_reason(reason);
    Answer(request);
  }
  void Answer(const pb::DumpInfoRequest& request) { stream_->Write(request); }
  void Begin(uint64_t shown, const std::string& place = {}) {
    pb::DumpInfoRequest request;
    request.mutable_begun()->set_shown(shown);
    request.mutable_begun()->set_place(place);
    request.mutable_begun()->set_table("t");
    Answer(request);
  }
  void Close() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() { return stream_->Finish(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::DumpInfoRequest, pb::DumpInfoResponse>> stream_;
};

class ControllerServiceTest : public testing::Test {
 protected:
  ControllerServiceTest() { Open({}); }
  ~ControllerServiceTest() override { Close(); }

  void Open(const ControllerOptions& options) {
    Close();
    auto opened = ControllerService::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    service_ = *std::move(opened);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = pb::DBLogController::NewStub(server_->InProcessChannel({}));
  }
  ControllerOptions OnDisk() const {
    ControllerOptions options;
    options.data_dir = dir_.path() / "schedule";
    return options;
  }
  void Close() {
    if (service_ != nullptr) service_->Shutdown();
    if (server_ != nullptr) server_->Shutdown();
    stub_.reset();
    server_.reset();
    service_.reset();
  }

  grpc::Status Schedule(const pb::ScheduleRequest& request) {
    grpc::ClientContext context;
    pb::ScheduleResponse response;
    return stub_->Schedule(&context, request, &response);
  }
  // One page after the other.
  grpc::Status SchedulePages(const std::string& uri, uint32_t pages) {
    pb::ScheduleRequest request;
    request.set_uri(uri);
    for (uint32_t page = 0; page < pages; ++page) {
      auto& dump = *request.add_dumps();
      dump.set_schema("public");
      dump.set_table("t");
      dump.set_page_begin(page);
      dump.set_page_end(page);
    }
    return Schedule(request);
  }
  grpc::Status ScheduleTable(const std::string& uri, const std::string& table) {
    pb::ScheduleRequest request;
    request.set_uri(uri);
    auto& dump = *request.add_tables();
    dump.set_schema("public");
    dump.set_table(table);
    return Schedule(request);
  }
  grpc::Status Stop(const std::string& uri) {
    grpc::ClientContext context;
    pb::StopScheduleRequest request;
    request.set_uri(uri);
    pb::StopScheduleResponse response;
    return stub_->StopSchedule(&context, request, &response);
  }
  grpc::Status CoolDown(const std::string& uri, milliseconds duration) {
    grpc::ClientContext context;
    pb::SetScheduleCoolDownRequest request;
    request.set_uri(uri);
    request.mutable_duration()->set_seconds(duration.count() / 1'000);
    request.mutable_duration()->set_nanos(static_cast<int32_t>(duration.count() % 1'000) *
                                          1'000'000);
    pb::SetScheduleCoolDownResponse response;
    return stub_->SetScheduleCoolDown(&context, request, &response);
  }
  pb::ControllerStatusResponse Status(const std::string& uri) {
    grpc::ClientContext context;
    pb::ControllerStatusRequest request;
    request.set_uri(uri);
    pb::ControllerStatusResponse response;
    EXPECT_TRUE(stub_->Status(&context, request, &response).ok());
    return response;
  }
  template <typename Ready>
  void WaitUntil(const std::string& uri, Ready ready) {
    const auto end = steady_clock::now() + seconds(30);
    while (!ready(Status(uri))) {
      ASSERT_LT(steady_clock::now(), end) << Status(uri).DebugString();
      std::this_thread::yield();
    }
  }
  void WaitUntilDone(const std::string& uri) {
    WaitUntil(uri, [](const auto& status) { return !status.scheduled(); });
  }

  const TempDir dir_;
  std::unique_ptr<ControllerService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<pb::DBLogController::Stub> stub_;
};

TEST_F(ControllerServiceTest, GivesDumpsInTheOrderOfTheRequestOneAtATime) {
  ASSERT_TRUE(SchedulePages("a", 3).ok());
  Puller puller(*stub_, "a");
  for (const char* dump : {"t 0-0", "t 1-1", "t 2-2"}) {
    EXPECT_EQ(puller.Next(), dump);
    EXPECT_EQ(Status("a").consumers(0).dumps_in_hand(), 1u);
    puller.Ack();
  }
  WaitUntilDone("a");
  EXPECT_EQ(Status("a").jobs_done(), 1u);
  puller.Close();
  EXPECT_EQ(puller.Next(), "ended");
  EXPECT_TRUE(puller.Finish().ok());
}

TEST_F(ControllerServiceTest, AClientThatIsThereBeforeTheScheduleGetsItsDumps) {
  Puller puller(*stub_, "a");
  WaitUntil("a", [](const auto& status) { return status.consumers_size() == 1; });
  ASSERT_TRUE(SchedulePages("a", 1).ok());
  EXPECT_EQ(puller.Next(), "t 0-0");
}

TEST_F(ControllerServiceTest, ManyClientsShareAScheduleAndEachUriHasItsOwn) {
  ASSERT_TRUE(SchedulePages("a", 3).ok());
  ASSERT_TRUE(SchedulePages("b", 1).ok());
  Puller one(*stub_, "a");
  EXPECT_EQ(one.Next(), "t 0-0");
  Puller two(*stub_, "a");
  EXPECT_EQ(two.Next(), "t 1-1");
  Puller other(*stub_, "b");
  EXPECT_EQ(other.Next(), "t 0-0");
  two.Ack();
  EXPECT_EQ(two.Next(), "t 2-2");
}

TEST_F(ControllerServiceTest, AnEmptyUriIsInvalid) {
  Puller puller(*stub_, "");
  EXPECT_EQ(puller.Next(), "ended");
  EXPECT_EQ(puller.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(SchedulePages("", 1).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Stop("").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ControllerServiceTest, PagesThatEndBeforeTheyBeginAreInvalid) {
  pb::ScheduleRequest request;
  request.set_uri("a");
  auto& dump = *request.add_dumps();
  dump.set_schema("public");
  dump.set_table("t");
  dump.set_page_begin(2);
  dump.set_page_end(1);
  EXPECT_EQ(Schedule(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(Status("a").scheduled());
}

TEST_F(ControllerServiceTest, ASecondScheduleOfAUriIsRefusedUntilTheFirstIsDone) {
  ASSERT_TRUE(SchedulePages("a", 1).ok());
  const grpc::Status again = SchedulePages("a", 1);
  EXPECT_EQ(again.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(again.error_message(), HasSubstr("already scheduled"));
  Puller puller(*stub_, "a");
  EXPECT_EQ(puller.Next(), "t 0-0");
  puller.Ack();
  WaitUntilDone("a");
  EXPECT_TRUE(SchedulePages("a", 1).ok());
  EXPECT_EQ(puller.Next(), "t 0-0");
}

TEST_F(ControllerServiceTest, WhoSaysThatItsRowsBeginIsToldWhenThatIsKeptAndTheNextHasIt) {
  ASSERT_TRUE(SchedulePages("a", 2).ok());
  {
    Puller puller(*stub_, "a");
    EXPECT_TRUE(puller.Read()->asks_begun());
    puller.Begin(500);
    EXPECT_EQ(puller.Read()->noted(), 1U);
    puller.Begin(400);
    EXPECT_EQ(puller.Read()->noted(), 2U);
    puller.Cancel();
  }
  // Who does not know of it has dumps only.
  Puller older(*stub_, "a", {}, 0, /*repeats=*/false);
  EXPECT_EQ(older.Next(), "t 0-0");
  Puller another(*stub_, "a", {}, 0, /*repeats=*/false);
  EXPECT_EQ(another.Next(), "t 1-1");
  // Nor does it stand in the way of others.
  another.Ack();
  WaitUntil("a", [](const auto& status) { return status.jobs(0).dumps_in_hand() == 1; });
  Puller next(*stub_, "a");
  const auto owed = next.Read();
  ASSERT_TRUE(owed.has_value());
  EXPECT_EQ(owed->owed().shown(), 400U);
  EXPECT_EQ(owed->owed().table(), "t");
  older.Begin(500, std::string(2'000, 'x'));
  EXPECT_FALSE(older.Read().has_value());
  const grpc::Status status = older.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("place too long"));
}

// What it is told comes between the dumps, also when it does not wait for that.
TEST_F(ControllerServiceTest, WhatIsKeptIsToldBesideTheDumps) {
  ASSERT_TRUE(SchedulePages("a", 200).ok());
  Puller puller(*stub_, "a");
  uint32_t noted = 0;
  int dumps = 0;
  while (dumps < 200) {
    const auto response = puller.Read();
    ASSERT_TRUE(response.has_value());
    if (response->noted() > 0) {
      EXPECT_GT(response->noted(), noted);
      noted = response->noted();
      continue;
    }
    ++dumps;
    puller.Begin(500);
    puller.Ack();
  }
  while (noted < 200) {
    const auto response = puller.Read();
    ASSERT_TRUE(response.has_value());
    noted = response->noted();
  }
}

TEST_F(ControllerServiceTest, ACoolDownIsOfTheConsumerHoweverManyCallsItHas) {
  ASSERT_TRUE(SchedulePages("a", 3).ok());
  ASSERT_TRUE(CoolDown("a", milliseconds(300)).ok());
  Puller one(*stub_, "a", "", /*consumer=*/7);
  EXPECT_EQ(one.Next(), "t 0-0");
  Puller other(*stub_, "a", "", /*consumer=*/7);
  Puller another_consumer(*stub_, "a", "", /*consumer=*/8);
  EXPECT_EQ(another_consumer.Next(), "t 1-1");
  const auto answered = steady_clock::now();
  one.Ack();
  // Whichever of its calls it is.
  EXPECT_EQ(other.Next(), "t 2-2");
  EXPECT_GE(steady_clock::now() - answered, milliseconds(300));
}

TEST_F(ControllerServiceTest, WhoAsksForItGetsTheirDumpsInThePlaceOfWhatIsScheduled) {
  ASSERT_TRUE(SchedulePages("a", 2).ok());
  Puller puller(*stub_, "a");
  EXPECT_EQ(puller.Next(), "t 0-0");
  pb::ScheduleRequest request;
  request.set_uri("a");
  request.set_replace(true);
  pb::TableDump& dump = *request.add_tables();
  dump.set_schema("public");
  dump.set_table("u");
  grpc::ClientContext context;
  pb::ScheduleResponse response;
  const grpc::Status status = stub_->Schedule(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.once(), pb::ScheduleResponse::NOT_KNOWN);
  ASSERT_EQ(Status("a").jobs_size(), 1);
  EXPECT_EQ(Status("a").jobs(0).table(), "u");
  puller.Ack();
  EXPECT_THAT(puller.Next(), testing::StartsWith("u 0-"));
}

TEST_F(ControllerServiceTest, TheAnswerTellsWhoAskedOnceWhetherThatWasTheFirstTime) {
  pb::ScheduleRequest request;
  request.set_uri("a");
  pb::TableDump& dump = *request.add_tables();
  dump.set_schema("public");
  dump.set_table("t");
  std::vector<pb::ScheduleResponse::Once> answers;
  for (const bool once : {false, true, true}) {
    grpc::ClientContext context;
    request.set_once(once);
    pb::ScheduleResponse response;
    const grpc::Status status = stub_->Schedule(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    answers.push_back(response.once());
  }
  EXPECT_THAT(answers,
              testing::ElementsAre(pb::ScheduleResponse::NOT_KNOWN, pb::ScheduleResponse::SCHEDULED,
                                   pb::ScheduleResponse::WAS_BEFORE));
}

TEST_F(ControllerServiceTest, ARequeuedDumpComesAgainNext) {
  ASSERT_TRUE(SchedulePages("a", 2).ok());
  Puller puller(*stub_, "a");
  EXPECT_EQ(puller.Next(), "t 0-0");
  const auto asked = steady_clock::now();
  puller.Requeue("no");
  EXPECT_EQ(puller.Next(), "t 0-0");
  EXPECT_GE(steady_clock::now() - asked, milliseconds(1'900)) << "the cool-down after a requeue";
  EXPECT_EQ(Status("a").jobs(0).reason(), "no");
}

TEST_F(ControllerServiceTest, AClientThatGoesAwayGivesItsDumpBack) {
  for (const bool cancel : {true, false}) {
    // A client of the first that is going away could have the dump of the second.
    const std::string uri = cancel ? "a" : "b";
    ASSERT_TRUE(SchedulePages(uri, 1).ok());
    {
      Puller dies(*stub_, uri);
      EXPECT_EQ(dies.Next(), "t 0-0");
      if (cancel) {
        dies.Cancel();
      } else {
        dies.Close();
      }
      EXPECT_EQ(dies.Next(), "ended");
      (void)dies.Finish();
    }
    WaitUntil(uri, [](const auto& status) { return status.jobs(0).dumps_in_hand() == 0; });
    EXPECT_EQ(Status(uri).jobs(0).requeues(), 1u);
    Puller next(*stub_, uri);
    EXPECT_EQ(next.Next(), "t 0-0");
    next.Ack();
    WaitUntilDone(uri);
  }
}

TEST_F(ControllerServiceTest, StopForgetsTheRestAndLetsTheDumpInHandFinish) {
  ASSERT_TRUE(SchedulePages("a", 3).ok());
  Puller puller(*stub_, "a");
  EXPECT_EQ(puller.Next(), "t 0-0");
  ASSERT_TRUE(Stop("a").ok());
  EXPECT_FALSE(Status("a").scheduled());
  puller.Ack();
  pb::ScheduleRequest request;
  ASSERT_TRUE(ScheduleTable("a", "other").ok());
  EXPECT_EQ(puller.Next(), "other 0-127");
}

TEST_F(ControllerServiceTest, StopAndCoolDownOfAUriThatIsNotScheduledAreNoErrors) {
  EXPECT_TRUE(Stop("a").ok());
  EXPECT_TRUE(CoolDown("a", seconds(1)).ok());
}

TEST_F(ControllerServiceTest, TheCoolDownIsFromAnAcknowledgementToTheNextDump) {
  ASSERT_TRUE(SchedulePages("a", 2).ok());
  ASSERT_TRUE(CoolDown("a", milliseconds(300)).ok());
  Puller puller(*stub_, "a");
  EXPECT_EQ(puller.Next(), "t 0-0");
  const auto acknowledged = steady_clock::now();
  puller.Ack();
  EXPECT_EQ(puller.Next(), "t 1-1");
  EXPECT_GE(steady_clock::now() - acknowledged, milliseconds(300));
}

TEST_F(ControllerServiceTest, AnAnswerWithoutADumpInHandIsInvalid) {
  Puller puller(*stub_, "a");
  puller.Ack();
  EXPECT_EQ(puller.Next(), "ended");
  EXPECT_EQ(puller.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// --- Additions

TEST_F(ControllerServiceTest, AClientThatHoldsIsShownAndGetsNothing) {
  ASSERT_TRUE(SchedulePages("a", 1).ok());
  Puller held(*stub_, "a", "too far behind");
  WaitUntil("a", [](const auto& status) { return status.consumers_size() == 1; });
  EXPECT_EQ(Status("a").consumers(0).hold(), "too far behind");
  Puller puller(*stub_, "a");
  EXPECT_EQ(puller.Next(), "t 0-0");
  held.Close();
  EXPECT_EQ(held.Next(), "ended");
  WaitUntil("a", [](const auto& status) { return status.consumers_size() == 1; });
}

TEST_F(ControllerServiceTest, AUriWithoutASlashIsTheDefaultOfItsTopicWhereThereIsOne) {
  Open({.data_dir = {}, .default_name = "default"});
  ASSERT_TRUE(SchedulePages("a", 1).ok());
  EXPECT_EQ(SchedulePages("a/default", 1).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Status("a").uri(), "a/default");
  Puller puller(*stub_, "a/default");
  EXPECT_EQ(puller.Next(), "t 0-0");
}

TEST_F(ControllerServiceTest, PauseAndResume) {
  ASSERT_TRUE(SchedulePages("a", 2).ok());
  grpc::ClientContext pause_context;
  pb::PauseRequest pause;
  pause.set_uri("a");
  pb::PauseResponse paused;
  ASSERT_TRUE(stub_->Pause(&pause_context, pause, &paused).ok());
  EXPECT_TRUE(Status("a").paused());
  Puller puller(*stub_, "a");
  WaitUntil("a", [](const auto& status) { return status.consumers_size() == 1; });
  EXPECT_EQ(Status("a").consumers(0).dumps_in_hand(), 0u);
  grpc::ClientContext resume_context;
  pb::ResumeRequest resume;
  resume.set_uri("a");
  pb::ResumeResponse resumed;
  ASSERT_TRUE(stub_->Resume(&resume_context, resume, &resumed).ok());
  EXPECT_EQ(puller.Next(), "t 0-0");
}

TEST_F(ControllerServiceTest, ATableIsBoundToTheServerOfItsFirstAnswer) {
  ASSERT_TRUE(ScheduleTable("a", "t").ok());
  Puller puller(*stub_, "a");
  auto dump = puller.Read();
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->page_end(), 127u);
  EXPECT_NE(dump->job(), 0u);
  pb::DumpInfoRequest answer;
  answer.set_pages(200);
  answer.set_server("s");
  answer.set_relfilenode(7);
  answer.set_sweep_from(5);
  answer.set_rows(10);
  puller.Answer(answer);
  dump = puller.Read();
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->page_begin(), 128u);
  EXPECT_EQ(dump->page_end(), UINT32_MAX);
  EXPECT_EQ(dump->server(), "s");
  EXPECT_EQ(dump->relfilenode(), 7u);
  EXPECT_EQ(Status("a").jobs(0).pages_done(), 128u);
  puller.Answer(answer);
  dump = puller.Read();
  ASSERT_TRUE(dump);
  EXPECT_TRUE(dump->sweep());
  EXPECT_EQ(dump->sweep_from(), 5u);
  puller.Answer(answer);
  WaitUntilDone("a");
  EXPECT_EQ(Status("a").jobs(0).state(), pb::DumpJob::DONE);
  EXPECT_EQ(Status("a").rows(), 30u);
}

TEST_F(ControllerServiceTest, ARestartGoesOnWhereItWas) {
  const ControllerOptions options = OnDisk();
  Open(options);
  ASSERT_TRUE(SchedulePages("a", 4).ok());
  ASSERT_TRUE(SchedulePages("stopped", 4).ok());
  ASSERT_TRUE(Stop("stopped").ok());
  {
    Puller puller(*stub_, "a");
    EXPECT_EQ(puller.Next(), "t 0-0");
    puller.Ack();
    EXPECT_EQ(puller.Next(), "t 1-1");
    Open(options);
    EXPECT_EQ(puller.Next(), "ended");
    EXPECT_EQ(puller.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  EXPECT_FALSE(Status("stopped").scheduled());
  EXPECT_TRUE(Status("a").scheduled());
  Puller puller(*stub_, "a");
  for (const char* dump : {"t 1-1", "t 2-2", "t 3-3"}) {
    EXPECT_EQ(puller.Next(), dump);
    puller.Ack();
  }
  WaitUntilDone("a");
  Open(options);
  EXPECT_FALSE(Status("a").scheduled());
  EXPECT_EQ(Status("a").jobs_done(), 1u);
}

TEST_F(ControllerServiceTest, AMillionDumpsAreThereAtOnceAfterARestart) {
  const ControllerOptions options = OnDisk();
  Open(options);
  pb::ScheduleRequest request;
  request.set_uri("a");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    auto& dump = *request.add_dumps();
    dump.set_schema("public");
    dump.set_table(i % 2 == 0 ? "t" : "u");
    dump.set_page_begin(i / 2);
    dump.set_page_end(i / 2);
  }
  ASSERT_TRUE(Schedule(request).ok());
  Puller puller(*stub_, "a");
  EXPECT_EQ(puller.Next(), "t 0-0");
  puller.Ack();
  EXPECT_EQ(puller.Next(), "u 0-0");
  const auto closed = steady_clock::now();
  Open(options);
  // A second is what it may take on an idle machine in a release build.
  EXPECT_LT(steady_clock::now() - closed, seconds(10));
  EXPECT_EQ(Status("a").jobs_total(), 2u);
  Puller next(*stub_, "a");
  EXPECT_EQ(next.Next(), "u 0-0");
  next.Ack();
  EXPECT_EQ(next.Next(), "t 1-1");
}

TEST_F(ControllerServiceTest, AFolderInUseIsRefused) {
  const ControllerOptions options = OnDisk();
  Open(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(ControllerService::Open(options).status()));
}

TEST_F(ControllerServiceTest, EveryDumpIsAcknowledgedOnceByClientsThatComeAndGo) {
  constexpr uint32_t kPages = 500;
  ASSERT_TRUE(SchedulePages("a", kPages).ok());
  std::atomic<uint32_t> acknowledged = 0;
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back([&] {
        Puller puller(*stub_, "a");
        while (const auto dump = puller.Read()) {
          puller.Ack();
          ++acknowledged;
        }
        (void)puller.Finish();
      });
    }
    WaitUntilDone("a");
    service_->Shutdown();
  }
  EXPECT_EQ(acknowledged, kPages);
}

}  // namespace
}  // namespace pgc
