// Streams of a store that does not answer, and those beside them.
#include <atomic>
#include <thread>

#include "gateway/dumps_testing.h"

namespace pgc {
namespace {

using testing::ElementsAre;

// Where a store on other machines lets a session wait.
enum class Wait : uint8_t { kOpening, kEnd, kClosing };

struct Waits {
  Wait at = Wait::kOpening;
  Signal begun;
  Signal go;
  std::atomic<int> consumers = 0;

  void Here(Wait place) {
    if (place != at) return;
    begun.Set();
    EXPECT_TRUE(go.Wait());
  }
};

class WaitingConsumer final : public ForwardingConsumer {
 public:
  WaitingConsumer(std::unique_ptr<EventConsumer> consumer, Waits& waits)
      : ForwardingConsumer(std::move(consumer)), waits_(waits) {
    ++waits_.consumers;
  }
  ~WaitingConsumer() override {
    waits_.Here(Wait::kClosing);
    --waits_.consumers;
  }
  WaitingConsumer(const WaitingConsumer&) = delete;
  WaitingConsumer& operator=(const WaitingConsumer&) = delete;

  bool IsRemote() const override { return true; }
  absl::StatusOr<Checkpoint> HandedToOthers() override {
    waits_.Here(Wait::kEnd);
    return ForwardingConsumer::HandedToOthers();
  }

 private:
  Waits& waits_;
};

// The subscription `away` is of a store that lets wait.
class WaitingResolver final : public StoreResolver {
 public:
  WaitingResolver(EventStore& store, Waits& waits) : StoreResolver(store), waits_(waits) {}

  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) override {
    const bool is_away = uri.ends_with("away");
    if (is_away) waits_.Here(Wait::kOpening);
    auto consumer = StoreResolver::OpenConsumer(uri, options);
    if (!consumer.ok() || !is_away) return consumer;
    return std::make_unique<WaitingConsumer>(*std::move(consumer), waits_);
  }
  DumpSources Dumps(std::string_view /*uri*/) override { return sources; }

  DumpSources sources;

 private:
  Waits& waits_;
};

class Attaching : public testing::TestWithParam<Wait> {
 protected:
  // More than gRPC has threads.
  static constexpr int kCalls = 32;

  void SetUp() override {
    waits_.at = GetParam();
    resolver_.sources.controller = controller_.channel();
    auto started = GatewayServer::Start({.address = "127.0.0.1:0"}, resolver_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }
  // What waits is to end before the server does.
  void TearDown() override { waits_.go.Set(); }

  // Calls that wait, all of them.
  std::vector<std::unique_ptr<DumpConsumer>> CallsThatWait() {
    std::vector<std::unique_ptr<DumpConsumer>> calls(kCalls);
    for (auto& call : calls) {
      call = std::make_unique<DumpConsumer>(server_->address(), "pgcapture/away",
                                            DumpConsumer::Parameters(), /*waits=*/false);
    }
    if (GetParam() == Wait::kClosing) {
      for (auto& call : calls) call->WaitUntilAttached();
      calls.clear();
    }
    EXPECT_TRUE(waits_.begun.Wait(kCalls));
    return calls;
  }

  const std::unique_ptr<EventStore> store_ = NewMemoryStore();
  DumpLog log_{*store_};
  TestController controller_;
  Waits waits_;
  WaitingResolver resolver_{*store_, waits_};
  std::unique_ptr<GatewayServer> server_;
};

TEST_P(Attaching, WhatLetsItWaitHoldsUpNobodyElse) {
  DumpConsumer before(server_->address(), "pgcapture/before", {});
  const auto calls = CallsThatWait();
  DumpConsumer after(server_->address(), "pgcapture/after", {});
  log_.Add(100, "a").Write();
  EXPECT_THAT(before.Take(1), ElementsAre("a"));
  EXPECT_THAT(after.Take(1), ElementsAre("a"));
  waits_.go.Set();
  for (const auto& call : calls) call->WaitUntilAttached();
  log_.Add(200, "b").Write();
  const auto left = static_cast<int>(calls.size());
  EXPECT_TRUE(AskUntil([&] { return waits_.consumers == left; }));
  EXPECT_THAT(before.Take(1), ElementsAre("b"));
}

TEST_P(Attaching, WhoGoesMeanwhileLeavesNothing) {
  auto calls = CallsThatWait();
  calls.clear();
  waits_.go.Set();
  EXPECT_TRUE(AskUntil([this] { return waits_.consumers == 0; }));
}

TEST_P(Attaching, AServerThatShutsDownEndsItsCallsAtOnce) {
  auto calls = CallsThatWait();
  std::jthread stopper([this] { server_->Shutdown(); });
  for (const auto& call : calls) {
    EXPECT_EQ(call->Close().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  waits_.go.Set();
}

INSTANTIATE_TEST_SUITE_P(Places, Attaching,
                         testing::Values(Wait::kOpening, Wait::kEnd, Wait::kClosing),
                         [](const testing::TestParamInfo<Wait>& place) -> std::string {
                           switch (place.param) {
                             case Wait::kOpening:
                               return "Opening";
                             case Wait::kEnd:
                               return "End";
                             case Wait::kClosing:
                               return "Closing";
                           }
                           return "";
                         });

}  // namespace
}  // namespace pgc
