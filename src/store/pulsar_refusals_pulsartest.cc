// What an operator has to mend: it is said with the topic's name and the way out, nothing counts as
// durable that is not stored, and once it is mended all goes on.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "store/pulsar_faults_testing.h"
#include "store/pulsar_store.h"
#include "store/pulsar_testing.h"
#include "testing/tcp_forwarder.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;

constexpr seconds kWait{90};
// A writer's limit on what has no receipt, and what its source has handed out beside.
constexpr uint64_t kMaxHeld = 20'000 / Transactions::kEvents + 10;

class PulsarRefusals : public testing::Test {
 protected:
  void SetUp() override {
    name_ = testing::UnitTest::GetInstance()->current_test_info()->name();
    topic_ = fmt::format("persistent://public/{}/t", name_);
    store_ = OpenStore(TestBroker().url());
    ASSERT_NE(store_, nullptr);
  }

  static std::unique_ptr<EventStore> OpenStore(const std::string& url) {
    auto store = OpenPulsarStore(
        {.url = url, .library = PulsarBroker::Library(), .stall_timeout = seconds(2)});
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

  static void Admin(std::string_view method, const std::string& path, std::string_view body = "") {
    const auto done = TestBroker().Admin(method, path, body);
    EXPECT_TRUE(done.ok()) << done.status();
  }
  std::string Namespace(std::string_view rest = "") const {
    return fmt::format("namespaces/public/{}{}", name_, rest);
  }
  void MakeNamespace() const { Admin("PUT", Namespace()); }
  std::string Topic(std::string_view rest = "") const {
    return fmt::format("persistent/public/{}/t{}", name_, rest);
  }
  void TrimToOneLedger() const {
    const auto deadline = std::chrono::steady_clock::now() + kWait;
    for (bool removed = false; !removed; Pause(milliseconds(50), {})) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the ledgers stay";
      Admin("POST", Topic("/trim"));
      const auto stats = TestBroker().Admin("GET", Topic("/internalStats"));
      ASSERT_TRUE(stats.ok()) << stats.status();
      removed = stats->find(R"(},{"ledgerId")") == std::string::npos;
    }
  }
  // Goes on until the writer has failed with these words.
  void ExpectSaid(Capturing& capturing, std::string_view words) {
    const auto deadline = std::chrono::steady_clock::now() + kWait;
    while (std::string(capturing.last().message()).find(words) == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline)
          << "it says: " << capturing.last() << capturing.status();
      transactions_.Allow(10);
      Pause(milliseconds(20), {});
    }
  }

  std::string name_;
  std::string topic_;
  std::unique_ptr<EventStore> store_;
  Transactions transactions_;
};

TEST_F(PulsarRefusals, ANamespaceThatIsNotThereIsSaidAndOnceItIsThereAllIsStored) {
  transactions_.Allow(100);
  {
    Capturing capturing(*store_, topic_, transactions_);
    const absl::Status status = capturing.WaitEnd(kWait);
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(status.message(), AllOf(HasSubstr(topic_), HasSubstr("namespace")));
  }
  const auto reader = store_->OpenReader(topic_, {.start = FromBeginning{}});
  EXPECT_TRUE(absl::IsNotFound(reader.status())) << reader.status();
  EXPECT_EQ(transactions_.durable(), 0U);
  MakeNamespace();
  Capturing capturing(*store_, topic_, transactions_);
  EXPECT_TRUE(transactions_.WaitDurable(100, kWait)) << capturing.status();
  ExpectStored(*store_, topic_, 100);
}

TEST_F(PulsarRefusals, ATopicThatIsDeletedIsSaidAndOnceItIsThereAgainTheRestIsStored) {
  MakeNamespace();
  Admin("POST", Namespace("/autoTopicCreation"), R"({"allowAutoTopicCreation":false})");
  Admin("PUT", Topic());
  Following following(*store_, topic_);
  transactions_.Allow(100);
  transactions_.MayBeRemoved();
  {
    Capturing capturing(*store_, topic_, transactions_);
    ASSERT_TRUE(transactions_.WaitDurable(100, kWait)) << capturing.status();
    ASSERT_TRUE(following.Wait(300, kWait));
    Admin("DELETE", Topic("?force=true"));
    transactions_.Allow(100);
    const absl::Status status = capturing.WaitEnd(kWait);
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(status.message(), AllOf(HasSubstr(topic_), HasSubstr("not there")));
  }
  EXPECT_EQ(transactions_.durable(), 100U);
  Admin("PUT", Topic());
  Capturing capturing(*store_, topic_, transactions_);
  EXPECT_TRUE(transactions_.WaitDurable(200, kWait)) << capturing.status();
  // Who read along has the rest, or is told unless it knows that it had all.
  if (following.Wait(600, kWait)) {
    ExpectWhole(following.seen(), 200, "the reader that read along");
  } else {
    EXPECT_TRUE(absl::IsDataLoss(following.status())) << following.status();
  }
}

// A namespace that keeps nothing removes a ledger as soon as it is full.
TEST_F(PulsarRefusals, AReaderWhosePlaceIsRemovedWhileItLagsIsTold) {
  MakeNamespace();
  Admin("POST", Namespace("/retention"), R"({"retentionTimeInMinutes":0,"retentionSizeInMB":0})");
  Admin("PUT", Topic());
  const auto lagging = store_->OpenReader(topic_, {.start = FromBeginning{}});
  ASSERT_TRUE(lagging.ok()) << lagging.status();
  Capturing capturing(*store_, topic_, transactions_);
  for (int ledger = 0; ledger < 4; ++ledger) {
    transactions_.Allow(1'000);
    ASSERT_TRUE(transactions_.WaitDurable(transactions_.allowed(), kWait)) << capturing.last();
    Admin("PUT", Topic("/unload"));
  }
  transactions_.Allow(1'000);
  ASSERT_TRUE(transactions_.WaitDurable(5'000, kWait)) << capturing.last();
  TrimToOneLedger();
  std::vector<Checkpoint> seen;
  while (true) {
    const auto slice = (*lagging)->Next({});
    if (!slice.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(slice.status())) << slice.status();
      EXPECT_THAT(slice.status().message(), AllOf(HasSubstr(topic_), HasSubstr("keep messages")));
      break;
    }
    for (SliceCursor cursor(*slice); cursor.Next();) seen.push_back(cursor.event().checkpoint);
    ASSERT_LT(seen.size(), 5'000 * Transactions::kEvents) << "nothing was removed";
  }
  ExpectWhole(seen, seen.size() / Transactions::kEvents, "what it had before");
}

// Of a replica of a quiet database that is out of reach for long.
class PulsarCutOff : public PulsarRefusals {
 protected:
  void SetUp() override {
    PulsarRefusals::SetUp();
    MakeNamespace();
    Admin("POST", Namespace("/retention"), R"({"retentionTimeInMinutes":0,"retentionSizeInMB":0})");
    Admin("PUT", Topic());
    auto forwarder = TcpForwarder::Start(TestBroker().port());
    ASSERT_TRUE(forwarder.ok()) << forwarder.status();
    forwarder_ = *std::move(forwarder);
    far_store_ = OpenStore(fmt::format("pulsar://127.0.0.1:{}", forwarder_->port()));
    capturing_.emplace(*store_, topic_, transactions_);
    following_.emplace(*far_store_, topic_);
  }

  void Write() {
    transactions_.Allow(1'000);
    ASSERT_TRUE(transactions_.WaitDurable(transactions_.allowed(), kWait)) << capturing_->last();
  }
  // Once the reader has the first thousand, and knows that this is the end.
  void CutOff() {
    Write();
    ASSERT_TRUE(following_->Wait(kEvents, kWait)) << following_->status();
    Pause(seconds(2), {});
    forwarder_->Hold(TcpForwarder::kToServer);
    forwarder_->Hold(TcpForwarder::kToClient);
    forwarder_->Cut();
    cut_at_ = std::chrono::steady_clock::now();
  }
  // For longer than it goes by what it saw.
  void Heal() {
    Pause(cut_at_ + seconds(12) - std::chrono::steady_clock::now(), {});
    EXPECT_EQ(following_->seen().size(), kEvents);
    forwarder_->Heal();
  }
  void ExpectTold() {
    const absl::Status status = following_->WaitEnd(kWait);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(status.message(), AllOf(HasSubstr(topic_), HasSubstr("keep messages")));
    EXPECT_EQ(following_->restarts(), 0) << "it was not moved on, but began anew";
    ExpectWhole(following_->seen(), 1'000, "what it had before");
  }

  static constexpr size_t kEvents = size_t{1'000} * Transactions::kEvents;
  std::unique_ptr<TcpForwarder> forwarder_;
  std::unique_ptr<EventStore> far_store_;
  std::optional<Capturing> capturing_;
  std::optional<Following> following_;
  std::chrono::steady_clock::time_point cut_at_;
};

TEST_F(PulsarCutOff, AReaderThatHadAllAndWhosePlaceIsRemovedIsTold) {
  ASSERT_NO_FATAL_FAILURE(CutOff());
  ASSERT_NO_FATAL_FAILURE(Write());
  Admin("PUT", Topic("/unload"));
  ASSERT_NO_FATAL_FAILURE(Write());
  TrimToOneLedger();
  Heal();
  ExpectTold();
}

// There is no more, and yet it has not read all.
TEST_F(PulsarCutOff, AReaderThatFindsTheTopicEmptyIsToldOnceThereIsMore) {
  ASSERT_NO_FATAL_FAILURE(CutOff());
  ASSERT_NO_FATAL_FAILURE(Write());
  Admin("PUT", Topic("/unload"));
  TrimToOneLedger();
  Heal();
  Pause(seconds(5), {});
  EXPECT_TRUE(following_->status().ok()) << following_->status();
  ASSERT_NO_FATAL_FAILURE(Write());
  ExpectTold();
}

TEST_F(PulsarCutOff, AReaderThatHasAllOfATopicThatBecomesEmptyGoesOn) {
  ASSERT_NO_FATAL_FAILURE(Write());
  ASSERT_TRUE(following_->Wait(kEvents, kWait)) << following_->status();
  Pause(seconds(2), {});
  Admin("PUT", Topic("/unload"));
  TrimToOneLedger();
  Pause(seconds(14), {});
  ASSERT_NO_FATAL_FAILURE(Write());
  EXPECT_TRUE(following_->Wait(2 * kEvents, kWait)) << following_->status();
  ExpectWhole(following_->seen(), 2'000, "the reader");
}

TEST_F(PulsarRefusals, AMessageAboveTheLimitIsSaidAndNothingBehindItIsStored) {
  MakeNamespace();
  TestWriter writer(*store_, topic_);
  writer.Append({3});
  const auto durable = writer.durable();
  std::mt19937_64 random(1);
  std::string incompressible(6 << 20, '\0');
  for (char& byte : incompressible) byte = static_cast<char>(random());
  BlockBuilder builder;
  std::memcpy(builder.Add(EventKind::kLogicalMessage, Event::kNoTable, {.lsn = {100}, .seq = 0},
                          incompressible.size()),
              incompressible.data(), incompressible.size());
  const absl::Status status =
      writer.sink().Append(MakeBatch({builder.Finish(), MakeBlock(101, 0, 3)}, 102));
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), AllOf(HasSubstr(topic_), HasSubstr("maxMessageSize")));
  EXPECT_EQ(writer.sink().Append(MakeBatch({MakeBlock(103, 0, 3)}, 104)), status);
  EXPECT_EQ(writer.durable(), durable);
  EXPECT_EQ(TestWriter(*store_, topic_).resume().last, (Checkpoint{.lsn = {1}, .seq = 2}));
}

class Quota : public PulsarRefusals, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    PulsarRefusals::SetUp();
    std::replace(name_.begin(), name_.end(), '/', '-');
    topic_ = fmt::format("persistent://public/{}/t", name_);
  }
};

TEST_P(Quota, ThatIsUsedUpHoldsTheWriterBackUntilThereIsRoom) {
  MakeNamespace();
  Admin("POST", Namespace("/backlogQuota"),
        fmt::format(R"({{"limitSize":20000,"limit":20000,"policy":"{}"}})", GetParam()));
  Admin("PUT", Topic());
  // It is what a subscription has not read that counts.
  Admin("PUT", Topic("/subscription/slow"));
  Capturing capturing(*store_, topic_, transactions_);
  ASSERT_NO_FATAL_FAILURE(ExpectSaid(capturing, "backlog quota"));
  EXPECT_THAT(capturing.last().message(), HasSubstr(topic_));
  const uint64_t durable = transactions_.durable();
  transactions_.Allow(30'000);
  for (int restarts = capturing.restarts(); capturing.restarts() < restarts + 2;) {
    ASSERT_TRUE(capturing.status().ok()) << capturing.status();
    Pause(milliseconds(20), {});
  }
  EXPECT_EQ(transactions_.durable(), durable);
  EXPECT_LE(transactions_.given(), durable + kMaxHeld);
  Admin("DELETE", Topic("/subscription/slow?force=true"));
  const uint64_t all = transactions_.allowed();
  ASSERT_TRUE(transactions_.WaitDurable(all, kWait)) << capturing.status() << capturing.last();
  ExpectStored(*store_, topic_, all);
}

INSTANTIATE_TEST_SUITE_P(Policies, Quota,
                         testing::Values("producer_request_hold", "producer_exception"),
                         [](const auto& policy) { return std::string(policy.param); });

}  // namespace
}  // namespace pgc
