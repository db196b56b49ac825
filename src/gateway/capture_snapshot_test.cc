// From with `snapshot` over a store that does not tell which subscriptions are new: the controller
// remembers which have had theirs.
#include <thread>

#include "gateway/dumps_testing.h"

namespace pgc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const DumpConsumer::Parameters kFromSnapshot = {{"From", TextValue("snapshot")}};
const DumpConsumer::Parameters kFromSnapshotInMemory = {{"From", TextValue("snapshot")},
                                                        {"Ephemeral", BoolValue(true)}};

// The pages that it is likely to have, and what may be behind them.
constexpr size_t kDumpsOfATable = 2;

class CaptureSnapshot : public DumpsTest {
 protected:
  CaptureSnapshot() {
    resolver_.tells_new = false;
    agent().Tables({"t"});
    agent().Pages({&OneRow});
  }

  // Of each table one row, which is on its first page.
  static grpc::Status OneRow(const ScriptedAgent::Call& call) {
    const std::string& table = call.request.info().table();
    const bool is_first = call.request.info().page_begin() == 0;
    call.send(
        DumpAnswer({.table = table}, is_first ? std::vector{table} : std::vector<std::string>()));
    return grpc::Status::OK;
  }
  bool WaitUntilAllIsDone() {
    return AskUntil([this] {
      const auto status = Status();
      return status.jobs_total() > 0 && !status.scheduled();
    });
  }

  std::vector<std::string> Subscriptions() {
    std::vector<std::string> names;
    const auto topic = store_->Describe("pgcapture");
    EXPECT_TRUE(topic.ok()) << topic.status();
    if (!topic.ok()) return {"?"};
    for (const SubscriptionInfo& one : topic->subscriptions) names.push_back(one.name);
    return names;
  }
};

TEST_F(CaptureSnapshot, TheRowsComeOnceAndThenTheChangesHoweverOftenItIsAskedFor) {
  auto consumer = Open(kFromSnapshot);
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row t"));
  ASSERT_TRUE(WaitUntilAllIsDone()) << "the dump is not acknowledged";
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  EXPECT_TRUE(consumer->Close().ok());
  log_.Add(200, "b").Write();
  consumer = Open(kFromSnapshot);
  EXPECT_THAT(consumer->Take(1), ElementsAre("b"));
  EXPECT_FALSE(Status().scheduled());
  EXPECT_THAT(agent().requests(), SizeIs(kDumpsOfATable));
}

TEST_F(CaptureSnapshot, ASubscriptionThatWasThereGetsItTheFirstTimeThatItAsks) {
  auto consumer = Open();
  log_.Add(100, "a").Write();
  EXPECT_THAT(consumer->Take(1), ElementsAre("a"));
  EXPECT_TRUE(consumer->Close().ok());
  consumer = Open(kFromSnapshot);
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row t"));
}

TEST_F(CaptureSnapshot, WhatComesBetweenATryThatFailedAndTheNextIsNotMissed) {
  agent().Tables({});
  const grpc::Status status = Open(kFromSnapshot)->Close();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("no server to dump from"));
  // The subscription is there, as after a gateway that was killed here.
  log_.Add(100, "a", "another").Write();
  agent().Tables({"t", "u"});
  const auto consumer = Open(kFromSnapshot);
  EXPECT_THAT(consumer->Take(3), testing::UnorderedElementsAre("a", "last row t", "last row u"));
}

// The controller has scheduled them, and the consumer was gone before it had any.
TEST_F(CaptureSnapshot, WhatWasScheduledForAConsumerThatIsGoneComesToTheNext) {
  Signal asked;
  Signal go;
  agent().Pages({[&](const ScriptedAgent::Call& call) {
                   asked.Set();
                   EXPECT_TRUE(go.Wait()) << "the first consumer did not go";
                   return OneRow(call);
                 },
                 &OneRow});
  auto gone = Open(kFromSnapshot);
  ASSERT_TRUE(asked.Wait()) << "no dump is read";
  gone = nullptr;
  ASSERT_TRUE(AskUntil([&] { return Status().consumers_size() == 0; })) << "it did not go";
  go.Set();
  const auto consumer = Open(kFromSnapshot);
  EXPECT_THAT(consumer->Take(1), ElementsAre("last row t"));
  ASSERT_TRUE(WaitUntilAllIsDone()) << "the dump is not acknowledged";
  EXPECT_EQ(Job().job(), 1U) << "it was scheduled a second time";
}

TEST_F(CaptureSnapshot, OfConsumersThatComeAtOnceOneBeginsIt) {
  constexpr size_t kConsumers = 4;
  agent().Pages({ScriptedAgent::Answers({}, {})});
  Serve();
  std::vector<std::unique_ptr<DumpConsumer>> consumers(kConsumers);
  {
    std::vector<std::jthread> threads;
    for (auto& consumer : consumers) {
      threads.emplace_back([&] { consumer = Open(kFromSnapshot); });
    }
  }
  ASSERT_TRUE(WaitUntilAllIsDone()) << "the dump is not done";
  EXPECT_EQ(Job().job(), 1U) << "it was scheduled a second time";
  EXPECT_THAT(agent().requests(), SizeIs(kDumpsOfATable));
}

TEST_F(CaptureSnapshot, NothingStaysScheduledForOneThatLivedInMemoryAndWentWhileTheTablesWereRead) {
  const auto go = std::make_shared<Signal>();
  agent().BeforeTables([go] { EXPECT_TRUE(go->Wait()); });
  Serve();
  {
    const DumpConsumer goes(server_->address(), kUri, kFromSnapshotInMemory, /*waits=*/false);
    ASSERT_TRUE(agent().WaitForTablesAsked(1));
  }
  ASSERT_TRUE(AskUntil([this] { return Subscriptions().empty(); }));
  const auto controller = pb::DBLogController::NewStub(controller_.channel());
  const auto is_scheduled = [&controller] {
    grpc::ClientContext context;
    pb::ListSchedulesResponse schedules;
    EXPECT_TRUE(controller->List(&context, {}, &schedules).ok());
    return schedules.schedules_size() > 0;
  };
  go->Set();
  // It is there for a moment, and then no more.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (!is_scheduled() && std::chrono::steady_clock::now() < until) {
    Pause(std::chrono::milliseconds(1), {});
  }
  EXPECT_TRUE(AskUntil([&] { return !is_scheduled(); }));
}

TEST_F(CaptureSnapshot, OneThatLivesInMemoryGetsItEachTime) {
  for (int i = 0; i < 2; ++i) {
    const auto consumer = Open(kFromSnapshotInMemory);
    EXPECT_THAT(consumer->Take(1), ElementsAre("last row t"));
  }
  EXPECT_TRUE(AskUntil([&] { return Subscriptions().empty(); })) << "the last is still there";
}

TEST_F(CaptureSnapshot, AControllerThatIsAwayIsTheReason) {
  resolver_.sources.controller = WideChannel("127.0.0.1:1");
  const grpc::Status status = Open(kFromSnapshot)->Close();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("the snapshot cannot begin: controller: "));
}

TEST_F(CaptureSnapshot, WithoutAnAgentItIsRefusedAndNoSubscriptionIsMade) {
  agents_.clear();
  const grpc::Status status = Open(kFromSnapshot)->Close();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("no agent"));
  EXPECT_THAT(Subscriptions(), IsEmpty());
}

}  // namespace
}  // namespace pgc
