// Subscriptions of a Pulsar topic: everything comes at least once, and what is acknowledged not
// again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/pause.h"
#include "pulsar/pulsar_testing.h"
#include "store/pulsar_consumer.h"
#include "store/pulsar_store.h"
#include "store/pulsar_testing.h"
#include "store/store_testing.h"
#include "testing/environment.h"
#include "testing/tcp_forwarder.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

// An event that was handed out.
struct Got {
  Checkpoint checkpoint;
  std::string data;
};

class PulsarConsumerTest : public testing::Test {
 protected:
  void SetUp() override { store_ = Open(); }

  static std::unique_ptr<EventStore> Open() {
    auto store = OpenPulsarStore({.url = TestBroker().url(),
                                  .library = PulsarBroker::Library(),
                                  .requeue_delay = milliseconds(300)});
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  std::unique_ptr<EventConsumer> Subscribe(const ConsumerOptions& options = {}) const {
    auto consumer = store_->OpenConsumer(topic_, "s", options);
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    return consumer.ok() ? *std::move(consumer) : nullptr;
  }

  // What comes until there are `count`, or nothing comes for so long.
  static std::vector<Got> Take(EventConsumer& consumer, size_t count,
                               milliseconds patience = seconds(30)) {
    std::vector<Got> got;
    while (got.size() < count) {
      const auto slice = consumer.TryNext();
      EXPECT_TRUE(slice.ok()) << slice.status();
      if (!slice.ok()) break;
      if (slice->has_value()) {
        for (SliceCursor cursor(**slice); cursor.Next();) {
          got.push_back({.checkpoint = cursor.event().checkpoint, .data = {}});
          consumer.AppendData(**slice, cursor.index(), got.back().data);
        }
        continue;
      }
      const auto ready = std::make_shared<Signal>();
      consumer.NotifyWhenReady([ready] { ready->Set(); });
      if (!ready->Wait(1, patience)) break;
    }
    return got;
  }
  static std::vector<Got> TakeNone(EventConsumer& consumer) {
    return Take(consumer, 1, milliseconds(1'500));
  }
  static std::map<Checkpoint, int> Count(const std::vector<Got>& got) {
    std::map<Checkpoint, int> count;
    for (const Got& one : got) ++count[one.checkpoint];
    return count;
  }
  // Of all events in the topic.
  std::vector<Checkpoint> ReadAllCheckpoints() const {
    std::vector<Checkpoint> all;
    for (const auto& message : pulsar::ReadAll(pulsar::NewClient(TestBroker().url()), topic_)) {
      const auto checkpoint = ParseKey(message.key());
      EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
      all.push_back(*checkpoint);
    }
    return all;
  }
  // Until the broker has so many of the subscription.
  void WaitForConsumers(int count) const {
    const std::string path = fmt::format("persistent/public/default/{}/stats", topic_);
    const auto deadline = Clock::now() + seconds(60);
    for (int there = -1; there != count; Pause(milliseconds(50), {})) {
      ASSERT_LT(Clock::now(), deadline) << "there are " << there;
      const auto stats = TestBroker().Admin("GET", path);
      ASSERT_TRUE(stats.ok()) << stats.status();
      there = 0;
      for (size_t at = 0; (at = stats->find("\"consumerName\"", at)) != std::string::npos; ++at) {
        ++there;
      }
    }
  }
  static void AckAll(EventConsumer& consumer, const std::vector<Got>& got) {
    for (const Got& one : got) EXPECT_TRUE(consumer.Ack(one.data).ok());
  }

  const std::string topic_ =
      fmt::format("consumer-{}", testing::UnitTest::GetInstance()->current_test_info()->name());
  std::unique_ptr<EventStore> store_;
};

TEST_F(PulsarConsumerTest, ConsumersShareASubscriptionAndWhatIsAcknowledgedIsDone) {
  auto one = Subscribe();
  auto two = Subscribe();
  TestWriter writer(*store_, topic_);
  for (int i = 0; i < 40; ++i) writer.Append({3, 2});
  std::vector<Got> all;
  while (all.size() < 200) {
    for (EventConsumer* const consumer : {one.get(), two.get()}) {
      const auto got = Take(*consumer, 1, milliseconds(30));
      AckAll(*consumer, got);
      all.insert(all.end(), got.begin(), got.end());
    }
  }
  EXPECT_EQ(all.size(), 200U);
  EXPECT_EQ(Count(all).size(), 200U);
  one.reset();
  two.reset();
  one = Subscribe();
  EXPECT_EQ(TakeNone(*one).size(), 0U);
}

TEST_F(PulsarConsumerTest, ANewSubscriptionBeginsAtTheEndOrAtTheBeginning) {
  TestWriter writer(*store_, topic_);
  writer.Append({4});
  auto consumer = Subscribe({.start = FromBeginning{}});
  EXPECT_EQ(Take(*consumer, 4).size(), 4U);
  const auto late = store_->OpenConsumer(topic_, "late", {});
  ASSERT_TRUE(late.ok()) << late.status();
  writer.Append({1});
  const auto got = Take(**late, 1);
  ASSERT_EQ(got.size(), 1U);
  EXPECT_GT(got[0].checkpoint.lsn, Lsn{1});
}

// What the place of a dump needs to know.
TEST_F(PulsarConsumerTest, AConsumerKnowsTheEndWhenItBeganAndWhatItHas) {
  using Rest = StreamProgress::Rest;
  const auto empty = Subscribe();
  const auto nothing = empty->HandedToOthers();
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_EQ(*nothing, Checkpoint{});
  TestWriter writer(*store_, topic_);
  writer.Append({4});
  writer.AppendAndWait(MakeBatch({MakeTransactions(50, {{7'000'000}})}, 50));
  const std::vector<Checkpoint> all = ReadAllCheckpoints();
  auto opened = store_->OpenConsumer(topic_, "others", {.start = FromBeginning{}});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EventConsumer& consumer = **opened;
  EXPECT_EQ(consumer.progress().captured, Lsn{});
  for (int i = 0; i < 2; ++i) {
    const auto others = consumer.HandedToOthers();
    ASSERT_TRUE(others.ok()) << others.status();
    EXPECT_EQ(*others, all.back());
    EXPECT_EQ(consumer.progress().end, all.back());
    EXPECT_EQ(consumer.progress().captured, Lsn{50});
    writer.AppendAndWait(MakeBatch({MakeTransactions(60, {{8'000'000}})}, 60));
  }
  EXPECT_EQ(consumer.progress().rest, Rest::kMore) << "something may be on its way";
  EXPECT_EQ(Take(consumer, all.size() + 2).back().checkpoint.lsn, Lsn{60});
  EXPECT_EQ(consumer.progress().rest, Rest::kMore);
  EXPECT_EQ(consumer.progress().end.lsn, Lsn{60});
  EXPECT_EQ(consumer.progress().captured, Lsn{60});
  Pause(PulsarConsumer::kSilence, {});
  EXPECT_EQ(consumer.progress().rest, Rest::kProbably);
  // It has no place for it, but finds it where it was itself.
  for (const size_t begin : {size_t{2}, all.size() - 1}) {
    const auto reader = consumer.OpenReader(FromAfter{.checkpoint = all[begin - 1]});
    ASSERT_TRUE(reader.ok()) << reader.status();
    const auto next = (*reader)->Next({});
    ASSERT_TRUE(next.ok()) << next.status();
    SliceCursor cursor(*next);
    ASSERT_TRUE(cursor.Next());
    EXPECT_EQ(cursor.event().checkpoint, all[begin]);
  }
}

TEST_F(PulsarConsumerTest, ARequeuedEventComesAgainWithoutThoseOfItsEntry) {
  const auto consumer = Subscribe();
  TestWriter writer(*store_, topic_);
  writer.Append({5});
  const auto got = Take(*consumer, 5);
  ASSERT_EQ(got.size(), 5U);
  EXPECT_TRUE(consumer->Ack(got[0].data).ok());
  EXPECT_TRUE(consumer->Requeue(got[2].data).ok());
  EXPECT_TRUE(consumer->Ack(got[4].data).ok());
  const auto again = Take(*consumer, 1);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(TakeNone(*consumer).size(), 0U) << "the others are done, or in hand";
  EXPECT_EQ(again[0].checkpoint, got[2].checkpoint);
  EXPECT_EQ(again[0].data, got[2].data);
  // Twice, and another one of the entry.
  EXPECT_TRUE(consumer->Requeue(got[2].data).ok());
  EXPECT_TRUE(consumer->Requeue(got[1].data).ok());
  const auto twice = Take(*consumer, 2);
  EXPECT_EQ(TakeNone(*consumer).size(), 0U);
  EXPECT_EQ(Count(twice),
            (std::map<Checkpoint, int>{{got[1].checkpoint, 1}, {got[2].checkpoint, 1}}));
  for (const size_t left : {1, 2, 3}) EXPECT_TRUE(consumer->Ack(got[left].data).ok());
  EXPECT_EQ(TakeNone(*consumer).size(), 0U);
}

TEST_F(PulsarConsumerTest, ARequeuedEventIsNotPutOffByThoseRequeuedAfterIt) {
  constexpr size_t kEvents = 60;
  const auto consumer = Subscribe();
  TestWriter writer(*store_, topic_);
  for (size_t i = 0; i < kEvents; ++i) writer.Append({1});
  const auto got = Take(*consumer, kEvents);
  ASSERT_EQ(got.size(), kEvents);
  std::map<Checkpoint, int> again;
  size_t requeued = 0;
  for (; requeued < kEvents && again[got[0].checkpoint] == 0; ++requeued) {
    EXPECT_TRUE(consumer->Requeue(got[requeued].data).ok());
    for (const Got& one : Take(*consumer, kEvents, milliseconds(50))) ++again[one.checkpoint];
  }
  EXPECT_LT(requeued, kEvents / 2) << "the first did not come";
  while (again.size() < requeued) {
    const auto more = Take(*consumer, 1);
    ASSERT_FALSE(more.empty()) << again.size() << " of " << requeued << " came again";
    for (const Got& one : more) ++again[one.checkpoint];
  }
  EXPECT_EQ(TakeNone(*consumer).size(), 0U);
}

TEST_F(PulsarConsumerTest, AnEventThatIsRequeuedWhileItsEntryIsOnItsWayComesAgain) {
  const auto consumer = Subscribe({.max_in_flight_bytes = 2'000});
  TestWriter writer(*store_, topic_);
  writer.Append({300});
  std::map<Checkpoint, int> acknowledged;
  std::optional<Checkpoint> requeued;
  while (acknowledged.size() < 300) {
    const auto got = Take(*consumer, 1, seconds(10));
    ASSERT_FALSE(got.empty()) << acknowledged.size() << " came";
    for (const Got& one : got) {
      if (!requeued.has_value()) {
        requeued = one.checkpoint;
        EXPECT_TRUE(consumer->Requeue(one.data).ok());
      } else {
        EXPECT_TRUE(consumer->Ack(one.data).ok());
        ++acknowledged[one.checkpoint];
      }
    }
  }
  EXPECT_EQ(acknowledged[*requeued], 1);
  EXPECT_EQ(TakeNone(*consumer).size(), 0U);
}

// Until then no dump begins.
void ExpectSilence(const EventConsumer& consumer, std::string_view who) {
  const auto deadline = Clock::now() + seconds(10);
  while (consumer.progress().rest != StreamProgress::Rest::kProbably) {
    ASSERT_LT(Clock::now(), deadline) << who << " waits for what does not come";
    Pause(milliseconds(50), {});
  }
}

TEST_F(PulsarConsumerTest, WhatWentToAnotherConsumerAfterARequeueIsNotWaitedFor) {
  const auto one = Subscribe();
  TestWriter writer(*store_, topic_);
  for (int i = 0; i < 20; ++i) writer.Append({1'000});
  std::set<std::pair<int64_t, int64_t>> entries;
  const auto all = Take(*one, 20'000);
  for (const Got& got : all) {
    const auto id = pulsar::ParseMessageId(got.data);
    ASSERT_TRUE(id.ok()) << id.status();
    const bool first = entries.insert({id->ledger, id->entry}).second;
    EXPECT_TRUE((first ? one->Requeue(got.data) : one->Ack(got.data)).ok());
  }
  const auto two = Subscribe();
  // The first one has room for two or three of them.
  const auto others = Take(*two, 20'000, milliseconds(1'500));
  EXPECT_GT(others.size(), 15'000U);
  AckAll(*two, others);
  AckAll(*one, Take(*one, 20'000, milliseconds(1'500)));
  ExpectSilence(*one, "who requeued them");
  ExpectSilence(*two, "the other");
}

TEST_F(PulsarConsumerTest, WhatIsCutOffAndGoesToAnotherConsumerIsNotWaitedFor) {
  const auto forwarder = TcpForwarder::Start(TestBroker().port());
  ASSERT_TRUE(forwarder.ok()) << forwarder.status();
  auto client = pulsar::NewClient(fmt::format("pulsar://127.0.0.1:{}", (*forwarder)->port()));
  auto cut = PulsarConsumer::Open(std::move(client), topic_,
                                  {.subscription = "s",
                                   .max_in_flight_bytes = 2'000,
                                   .requeue_delay = milliseconds(300),
                                   .many_unacked = 500});
  ASSERT_TRUE(cut.ok()) << cut.status();
  TestWriter writer(*store_, topic_);
  for (int i = 0; i < 4; ++i) writer.Append({900});
  std::vector<Got> held = Take(**cut, 1);
  ASSERT_FALSE(held.empty());
  // What it has fetched ahead ends within an entry.
  (*forwarder)->Hold(TcpForwarder::kToServer);
  (*forwarder)->Hold(TcpForwarder::kToClient);
  (*forwarder)->Cut();
  auto other = Subscribe();
  const auto taken = Take(*other, 3'600, seconds(30));
  EXPECT_EQ(taken.size(), 3'600U);
  AckAll(*other, taken);
  (*forwarder)->Heal();
  ASSERT_NO_FATAL_FAILURE(WaitForConsumers(2));
  std::map<Checkpoint, int> count;
  for (; !held.empty(); held = Take(**cut, 1, seconds(3))) {
    AckAll(**cut, held);
    for (const Got& got : held) ++count[got.checkpoint];
  }
  EXPECT_GT(count.size(), 900U);
  EXPECT_LT(count.size(), 1'800U);
  other.reset();
  writer.Append({1});
  AckAll(**cut, Take(**cut, 1));
  ExpectSilence(**cut, "who was cut off");
}

TEST_F(PulsarConsumerTest, WhatIsUnacknowledgedComesToTheNextConsumerWithItsEntryOnly) {
  auto consumer = Subscribe();
  TestWriter writer(*store_, topic_);
  writer.Append({3});
  writer.Append({4});
  const auto got = Take(*consumer, 7);
  ASSERT_EQ(got.size(), 7U);
  for (size_t i = 0; i < 6; ++i) EXPECT_TRUE(consumer->Ack(got[i].data).ok());
  consumer = Subscribe();
  const auto again = Take(*consumer, 4);
  ASSERT_EQ(again.size(), 4U) << "the second entry";
  EXPECT_EQ(TakeNone(*consumer).size(), 0U);
  EXPECT_EQ(again.front().checkpoint, got[3].checkpoint);
  EXPECT_EQ(again.back().checkpoint, got[6].checkpoint);
}

TEST_F(PulsarConsumerTest, NoMoreIsHandedOutThanMayBeInHand) {
  const auto consumer = Subscribe({.max_in_flight_bytes = 2'000});
  TestWriter writer(*store_, topic_);
  for (int i = 0; i < 10; ++i) writer.Append({30});
  std::vector<Got> all;
  while (all.size() < 300) {
    auto got = Take(*consumer, 1);
    ASSERT_GT(got.size(), 0U) << all.size() << " came";
    const auto more = Take(*consumer, 300, milliseconds(500));
    got.insert(got.end(), more.begin(), more.end());
    EXPECT_LT(got.size(), 100U);
    size_t bytes = 0;
    for (const Got& one : got) bytes += MessageOf(one.checkpoint).size();
    EXPECT_LE(bytes, 2'000U);
    const auto ready = std::make_shared<Signal>();
    consumer->NotifyWhenReady([ready] { ready->Set(); });
    if (all.size() + got.size() < 300) {
      EXPECT_EQ(ready->count(), 0) << "there is no room";
    }
    AckAll(*consumer, got);
    if (all.size() + got.size() < 300) {
      EXPECT_TRUE(ready->Wait());
    }
    all.insert(all.end(), got.begin(), got.end());
  }
  EXPECT_EQ(Count(all).size(), 300U);
}

TEST_F(PulsarConsumerTest, WhatPulsarDoesNotHaveIsRefusedAndGarbageToo) {
  TestWriter writer(*store_, topic_);
  for (const ConsumerOptions& options :
       std::vector<ConsumerOptions>{{.ephemeral = true},
                                    {.start = FromTime{{1}}},
                                    {.start = FromAfterLsn{Lsn{1}}},
                                    {.key_shared = true},
                                    {.replicate_state = true}}) {
    const auto consumer = store_->OpenConsumer(topic_, "s", options);
    EXPECT_TRUE(absl::IsFailedPrecondition(consumer.status())) << consumer.status();
  }
  const auto consumer = Subscribe();
  for (const std::string& bad : {std::string(), std::string("2024-01-01T00:00:00Z"),
                                 std::string("\x08", 1), std::string(100, '\xff')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(consumer->Ack(bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(consumer->Requeue(bad)));
  }
  const std::string unknown = pulsar::Serialize(
      {.ledger = 1'000'000, .entry = 7, .partition = 0, .batch_index = 900, .batch_size = 1'000});
  EXPECT_TRUE(consumer->Ack(unknown).ok()) << "from before a reconnection, perhaps";
  EXPECT_TRUE(consumer->Requeue(unknown).ok());
}

// Acks and requeues at random over restarts of consumers and broker: everything comes, and what
// was acknowledged does not come again but with an entry that was not acknowledged whole.
TEST_F(PulsarConsumerTest, NothingIsLostOverRequeuesAndRestarts) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  constexpr int kTransactions = 200;
  auto consumer = Subscribe();
  std::map<Checkpoint, int> delivered;
  std::map<Checkpoint, int> acknowledged;
  auto writer = std::make_unique<TestWriter>(*store_, topic_);
  const auto take = [&](milliseconds patience) {
    for (const Got& one : Take(*consumer, 200, patience)) {
      ++delivered[one.checkpoint];
      if (random() % 10 == 0) {
        EXPECT_TRUE(consumer->Requeue(one.data).ok());
      } else {
        EXPECT_TRUE(consumer->Ack(one.data).ok());
        ++acknowledged[one.checkpoint];
      }
    }
  };
  for (int i = 0; i < kTransactions; ++i) {
    writer->Append({static_cast<uint32_t>(1 + random() % 5)});
    if (random() % 8 == 0) take(milliseconds(50));
    switch (i % 100) {
      case 30:
        consumer = Subscribe();
        break;
      case 60:
        // In good order: what was acknowledged is.
        consumer.reset();
        writer.reset();
        ASSERT_TRUE(TestBroker().Stop().ok());
        ASSERT_TRUE(TestBroker().Launch().ok());
        store_ = Open();
        writer = std::make_unique<TestWriter>(*store_, topic_);
        consumer = Subscribe();
        break;
      case 90:
        ASSERT_TRUE(TestBroker().Unload("public/default/" + topic_).ok());
        break;
      default:
        break;
    }
  }
  const auto deadline = Clock::now() + seconds(60);
  const auto everything = ReadAllCheckpoints();
  while (acknowledged.size() < everything.size() && Clock::now() < deadline) take(seconds(1));
  for (const Checkpoint& one : everything) {
    ASSERT_GE(delivered[one], 1) << ToKey(one);
    ASSERT_GE(acknowledged[one], 1) << ToKey(one);
  }
  EXPECT_EQ(delivered.size(), everything.size());
  consumer = Subscribe();
  EXPECT_EQ(TakeNone(*consumer).size(), 0U) << "all is acknowledged";
}

}  // namespace
}  // namespace pgc
