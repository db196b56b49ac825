// The library against a broker of this program's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <future>
#include <set>
#include <thread>

#include "pulsar/consumer.h"
#include "pulsar/pulsar_testing.h"

namespace pgc::pulsar {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

class PulsarTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto broker = PulsarBroker::Start();
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = broker->release();
  }
  static void TearDownTestSuite() {
    delete broker_;
    broker_ = nullptr;
  }
  void SetUp() override {
    ASSERT_NE(broker_, nullptr);
    client_ = NewClient(broker_->url());
    ASSERT_NE(client_, nullptr);
    topic_ = testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  std::unique_ptr<Producer> Open(Producer::Options options = {}) {
    options.topic = topic_;
    options.name = topic_ + "-producer";
    auto producer = Producer::Open(client_, options, receipts_.callback());
    EXPECT_TRUE(producer.ok()) << producer.status();
    return producer.ok() ? *std::move(producer) : nullptr;
  }
  static std::string Numbered(uint64_t number) {
    return fmt::format("{:010} {}", number, std::string(number % 200, 'x'));
  }
  static uint64_t NumberOf(const Message& message) {
    return std::stoull(TextOf(message).substr(0, 10));
  }
  // What is sent again after a disconnection may be there twice, but in order and without a gap.
  void ExpectEveryNumber(const std::vector<Message>& messages, uint64_t count) {
    uint64_t next = 0;
    for (const Message& message : messages) {
      ASSERT_LE(NumberOf(message), next) << "a gap";
      if (NumberOf(message) == next) ++next;
    }
    EXPECT_EQ(next, count);
  }

  static PulsarBroker* broker_;
  Receipts receipts_;
  std::shared_ptr<Client> client_;
  std::string topic_;
};

PulsarBroker* PulsarTest::broker_ = nullptr;

TEST_F(PulsarTest, WhatIsSentIsReadInOrderUnderKeysAndIds) {
  auto producer = Open({.host = "here"});
  constexpr uint64_t kCount = 2'500;
  for (uint64_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(producer->Send(fmt::format("0/{:X}|0", i), AsBytes(Numbered(i))).ok());
  }
  ASSERT_TRUE(producer->Flush().ok());
  EXPECT_EQ(receipts_.stored(), kCount);
  const auto messages = ReadAll(client_, topic_);
  ASSERT_EQ(messages.size(), kCount);
  MessageId last{};
  std::set<int64_t> entries;
  for (uint64_t i = 0; i < kCount; ++i) {
    const MessageId id = messages[i].id();
    EXPECT_EQ(TextOf(messages[i]), Numbered(i));
    EXPECT_EQ(messages[i].key(), fmt::format("0/{:X}|0", i));
    EXPECT_TRUE(Precedes(last, id)) << ToString(id);
    EXPECT_EQ(id.partition, 0);
    EXPECT_LT(id.batch_index, id.batch_size);
    EXPECT_LE(id.batch_size, 1'000);
    entries.insert(id.entry);
    last = id;
  }
  EXPECT_LT(entries.size(), 200U) << "they were not sent in batches";
}

TEST_F(PulsarTest, AReaderBeginsWithTheIdItIsGiven) {
  auto producer = Open();
  for (uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(producer->Send("k", AsBytes(Numbered(i))).ok());
    if (i % 100 == 99) {
      ASSERT_TRUE(producer->Flush().ok());
    }
  }
  const auto all = ReadAll(client_, topic_);
  ASSERT_EQ(all.size(), 300U);
  for (const uint64_t at : {0, 1, 99, 100, 150, 299}) {
    const auto from = ReadAll(client_, topic_, FromId{all[at].id()});
    ASSERT_EQ(from.size(), 300 - at) << ToString(all[at].id());
    EXPECT_EQ(NumberOf(from.front()), at);
  }
  EXPECT_TRUE(ReadAll(client_, topic_, FromLatest{}).empty());
  const uint64_t middle_ms = all[100].publish_time_ms();
  const auto since = ReadAll(client_, topic_, FromPublishTime{middle_ms});
  ASSERT_FALSE(since.empty());
  EXPECT_EQ(since.front().publish_time_ms(), middle_ms);
  EXPECT_TRUE(ReadAll(client_, topic_, FromPublishTime{middle_ms + 3'600'000}).empty());
}

TEST_F(PulsarTest, AReaderWaitsNoLongerThanItIsTold) {
  auto producer = Open();
  const auto reader = Reader::Open(client_, {.topic = topic_, .from = FromLatest{}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto none = (*reader)->Next(std::chrono::milliseconds(50));
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_FALSE(none->has_value());
  ASSERT_TRUE(producer->Send("k", AsBytes("later")).ok());
  const auto later = (*reader)->Next(seconds(30));
  ASSERT_TRUE(later.ok() && later->has_value());
  EXPECT_EQ(TextOf(**later), "later");
}

TEST_F(PulsarTest, AProducerNameHasOneProducer) {
  auto producer = Open();
  const auto second =
      Producer::Open(client_, {.topic = topic_, .name = topic_ + "-producer"}, nullptr);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  producer.reset();
  EXPECT_NE(Open(), nullptr);
}

TEST_F(PulsarTest, APartitionedTopicIsRefused) {
  ASSERT_TRUE(
      broker_->Admin("PUT", fmt::format("persistent/public/default/{}/partitions", topic_), "3")
          .ok());
  const auto producer = Producer::Open(client_, {.topic = topic_, .name = "p"}, nullptr);
  EXPECT_TRUE(absl::IsFailedPrecondition(producer.status())) << producer.status();
  EXPECT_THAT(producer.status().message(), testing::HasSubstr("3 partitions"));
}

TEST_F(PulsarTest, ATopicOfANamespaceThatIsNotThereIsAClearError) {
  const auto producer =
      Producer::Open(client_, {.topic = "persistent://public/nowhere/t", .name = "p"}, nullptr);
  ASSERT_FALSE(producer.ok());
  EXPECT_THAT(producer.status().message(), testing::HasSubstr("public/nowhere"));
}

TEST_F(PulsarTest, ALargeMessageIsSentAndOneAboveTheLimitEndsTheProducer) {
  auto producer = Open();
  const std::string large(3 << 20, 'a');
  ASSERT_TRUE(producer->Send("k", AsBytes("before")).ok());
  ASSERT_TRUE(producer->Send("k", AsBytes(large)).ok());
  EXPECT_EQ(receipts_.stored(), 2U) << "a large message is waited for";
  ASSERT_TRUE(producer->Send("k", AsBytes("after")).ok());
  std::string incompressible(6 << 20, '\0');
  uint32_t random = 1;
  for (char& byte : incompressible) {
    random = random * 1'664'525 + 1'013'904'223;
    byte = static_cast<char>(random >> 24);
  }
  const auto refused = producer->Send("k", AsBytes(incompressible));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_EQ(producer->Send("k", AsBytes("behind the gap")), refused);
  EXPECT_EQ(producer->Flush(), refused);
  EXPECT_EQ(ReadAll(client_, topic_).size(), 3U);
}

TEST_F(PulsarTest, UnloadingTheTopicLosesNothing) {
  auto producer = Open();
  constexpr uint64_t kCount = 20'000;
  for (uint64_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(producer->Send("k", AsBytes(Numbered(i))).ok());
    if (i % 5'000 == 2'500) {
      ASSERT_TRUE(broker_->Unload("public/default/" + topic_).ok());
    }
    // The library does not stand a second unloading before it is connected again.
    if (i % 5'000 == 4'999) {
      ASSERT_TRUE(producer->Flush().ok());
    }
  }
  ASSERT_TRUE(producer->Flush().ok());
  const auto reader = Reader::Open(client_, {.topic = topic_});
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<Message> messages;
  while (messages.size() < kCount / 2) {
    auto next = (*reader)->Next(seconds(30));
    ASSERT_TRUE(next.ok() && next->has_value()) << next.status();
    messages.push_back(**std::move(next));
  }
  ASSERT_TRUE(broker_->Unload("public/default/" + topic_).ok());
  for (Message& message : ReadToEnd(**reader)) messages.push_back(std::move(message));
  ExpectEveryNumber(messages, kCount);
}

TEST_F(PulsarTest, AKilledBrokerLosesNothingThatHadAReceiptNorTheRest) {
  auto producer = Open({.stall_timeout = seconds(120)});
  constexpr uint64_t kCount = 30'000;
  std::promise<void> half;
  absl::Status status;
  std::jthread sender([&] {
    for (uint64_t i = 0; i < kCount && status.ok(); ++i) {
      if (i == kCount / 2) half.set_value();
      status = producer->Send("k", AsBytes(Numbered(i)));
    }
  });
  half.get_future().wait();
  broker_->Kill();
  ASSERT_TRUE(broker_->Launch().ok());
  sender.join();
  ASSERT_TRUE(status.ok()) << status;
  const auto flushed = producer->Flush();
  ASSERT_TRUE(flushed.ok()) << flushed;
  EXPECT_EQ(receipts_.stored(), kCount);
  ExpectEveryNumber(ReadAll(client_, topic_), kCount);
}

TEST_F(PulsarTest, ABlockedBrokerHoldsTheSenderBackWithinItsLimitAndItsTime) {
  auto producer = Open({.max_in_flight_bytes = 1 << 20, .stall_timeout = seconds(2)});
  ASSERT_TRUE(producer->Send("k", AsBytes("first")).ok());
  ASSERT_TRUE(producer->Flush().ok());
  broker_->Signal(SIGSTOP);
  uint64_t sent = 0;
  const std::string kilobyte(1'000, 'a');
  absl::Status status;
  const auto begun = steady_clock::now();
  while (status.ok() && sent < 10'000) {
    status = producer->Send("k", AsBytes(kilobyte));
    ++sent;
  }
  EXPECT_EQ(producer->Check(), status);
  producer.reset();
  client_.reset();
  const auto took = steady_clock::now() - begun;
  broker_->Signal(SIGCONT);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_LE(sent, 1'050U) << "more than a megabyte without a receipt";
  EXPECT_GE(took, seconds(2));
  EXPECT_LT(took, seconds(10)) << "closing waited for the broker";
}

TEST_F(PulsarTest, EachMessageGoesToOneConsumerOfASubscription) {
  const Consumer::Options options{.topic = topic_, .subscription = "s"};
  auto one = Consumer::Open(client_, options);
  auto two = Consumer::Open(client_, options);
  ASSERT_TRUE(one.ok() && two.ok()) << one.status() << two.status();
  auto producer = Open({.batch_messages = 10});
  constexpr uint64_t kCount = 3'000;
  for (uint64_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(producer->Send("k", AsBytes(Numbered(i))).ok());
  }
  ASSERT_TRUE(producer->Flush().ok());
  std::multiset<uint64_t> seen;
  const auto deadline = steady_clock::now() + seconds(60);
  while (seen.size() < kCount) {
    ASSERT_LT(steady_clock::now(), deadline) << "got " << seen.size() << " of " << kCount;
    std::promise<void> ready;
    std::atomic<bool> set = false;
    const auto notify = [&] {
      if (!set.exchange(true)) ready.set_value();
    };
    for (auto* const consumer : {one->get(), two->get()}) {
      while (true) {
        const auto message = consumer->TryNext();
        ASSERT_TRUE(message.ok()) << message.status();
        if (!message->has_value()) break;
        seen.insert(NumberOf(**message));
        if ((*message)->id().batch_index + 1 == (*message)->id().batch_size) {
          consumer->AckEntry((*message)->id());
        }
      }
    }
    if (seen.size() == kCount) break;
    (*one)->NotifyWhenReady(notify);
    (*two)->NotifyWhenReady(notify);
    (void)ready.get_future().wait_until(deadline);
    (*one)->NotifyWhenReady([] {});
    (*two)->NotifyWhenReady([] {});
  }
  EXPECT_EQ(std::set<uint64_t>(seen.begin(), seen.end()).size(), kCount);
}

TEST_F(PulsarTest, WhatIsNotAcknowledgedComesAgain) {
  const Consumer::Options options{
      .topic = topic_, .subscription = "s", .nack_delay = std::chrono::milliseconds(200)};
  auto consumer = Consumer::Open(client_, options);
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  auto producer = Open();
  for (const uint64_t number : {0, 1, 2}) {
    ASSERT_TRUE(producer->Send("k", AsBytes(Numbered(number))).ok());
    ASSERT_TRUE(producer->Flush().ok());
  }
  std::vector<MessageId> ids;
  for (const uint64_t number : {0, 1, 2}) {
    const auto message = WaitNext(**consumer);
    ASSERT_TRUE(message.has_value()) << "no message " << number;
    EXPECT_EQ(NumberOf(*message), number);
    ids.push_back(message->id());
  }
  (*consumer)->AckEntry(ids[0]);
  (*consumer)->NackEntry(ids[1]);
  const auto again = WaitNext(**consumer);
  ASSERT_TRUE(again.has_value()) << "the requeued message did not come again";
  EXPECT_EQ(again->id(), ids[1]);
  (*consumer)->AckEntry(ids[1]);
  const auto last = (*consumer)->LastId();
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_TRUE(last->has_value() && (*last)->same_entry(ids[2]));
  consumer->reset();
  consumer = Consumer::Open(client_, options);
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  const auto left = WaitNext(**consumer);
  ASSERT_TRUE(left.has_value()) << "what was not acknowledged did not come again";
  EXPECT_EQ(left->id(), ids[2]);
}

TEST_F(PulsarTest, AConsumerTakesNoMoreThanItsLimitUntilItIsAsked) {
  const Consumer::Options options{.topic = topic_,
                                  .subscription = "s",
                                  .from_earliest = true,
                                  .queue_messages = 10,
                                  .taken_messages = 5};
  auto producer = Open({.batch_messages = 2});
  for (uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(producer->Send("k", AsBytes(Numbered(i))).ok());
  ASSERT_TRUE(producer->Flush().ok());
  auto slow = Consumer::Open(client_, options);
  ASSERT_TRUE(slow.ok()) << slow.status();
  ASSERT_TRUE(WaitNext(**slow).has_value());
  // The rest goes to another one.
  auto other = Consumer::Open(client_, options);
  ASSERT_TRUE(other.ok()) << other.status();
  for (int i = 0; i < 150; ++i) {
    const auto message = WaitNext(**other);
    ASSERT_TRUE(message.has_value()) << "message " << i << " is held by the slow consumer";
    (*other)->AckEntry(message->id());
  }
}

}  // namespace
}  // namespace pgc::pulsar
