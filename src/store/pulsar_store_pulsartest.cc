// What is Pulsar's own: places, messages as other programs write them, a writer that is killed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "base/pause.h"
#include "pulsar/consumer.h"
#include "pulsar/pulsar_testing.h"
#include "store/pulsar_store.h"
#include "store/pulsar_testing.h"
#include "store/store_testing.h"
#include "testing/environment.h"
#include "testing/subprocess.h"

namespace pgc {

namespace {

// Never ended by a destructor at exit, when the library's threads are gone: the kernel and
// scripts/pulsar see to its end.
PulsarBroker* g_broker = nullptr;

}  // namespace

PulsarBroker& TestBroker() {
  if (g_broker == nullptr) {
    auto started = PulsarBroker::Start({{"backlogQuotaCheckIntervalInSeconds", "1"}});
    if (!started.ok()) {
      fmt::print(stderr, "{}\n", started.status().ToString());
      std::abort();
    }
    g_broker = started->release();
  }
  return *g_broker;
}

namespace {

class StopBroker : public testing::Environment {
 public:
  void TearDown() override { delete std::exchange(g_broker, nullptr); }
};
[[maybe_unused]] const auto* const g_stop = testing::AddGlobalTestEnvironment(new StopBroker());

std::unique_ptr<EventStore> OpenStore(const std::string& url) {
  auto store = OpenPulsarStore({.url = url, .library = PulsarBroker::Library()});
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

std::string TestName() { return testing::UnitTest::GetInstance()->current_test_info()->name(); }

// A writer in a process of its own: transactions without end, until it is killed.
constexpr char kUrlVariable[] = "PGCAPTURE_TEST_PULSAR_URL";
constexpr char kTopicVariable[] = "PGCAPTURE_TEST_PULSAR_TOPIC";

[[noreturn]] void WriteForever(const std::string& url, const std::string& topic) {
  const auto store = OpenStore(url);
  auto sink = store->OpenWriter(topic);
  // The broker may not have seen yet that the one before is gone.
  while (absl::IsFailedPrecondition(sink.status())) sink = store->OpenWriter(topic);
  const auto resume = (*sink)->Open([](Lsn captured) {
    fmt::print("durable {}\n", captured.value);
    std::fflush(stdout);
  });
  for (uint64_t lsn = resume->last.lsn.value + (resume->last.seq == 2 ? 1 : 0);; ++lsn) {
    const absl::Status status =
        (*sink)->Append(MakeBatch({MakeBlock(std::max<uint64_t>(lsn, 1), 0, 3)}, lsn));
    if (!status.ok()) _exit(1);
  }
}

const bool kIsWriter = [] {
  const char* const url = std::getenv(kUrlVariable);
  if (url != nullptr) WriteForever(url, std::getenv(kTopicVariable));
  return false;
}();

TEST(PulsarStore, AMessageHasTheKeyAndTheBytesOfItsEvent) {
  const auto store = OpenStore(TestBroker().url());
  TestWriter(*store, TestName()).AppendAndWait(MakeBatch({MakeBlock(0x16B374D848, 9, 2)}, 0x17));
  const auto client = pulsar::NewClient(TestBroker().url());
  const auto messages = pulsar::ReadAll(client, TestName());
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0].key(), "16/B374D848|9");
  EXPECT_EQ(messages[1].key(), "16/B374D848|a");
  EXPECT_EQ(pulsar::TextOf(messages[1]), MessageOf({.lsn = {0x16B374D848}, .seq = 10}));
}

TEST(PulsarStore, AReaderGoesOnAtAPlace) {
  const auto store = OpenStore(TestBroker().url());
  TestWriter writer(*store, TestName());
  writer.Append({5, 5, 5});
  const auto reader = store->OpenReader(TestName(), {.start = FromBeginning{}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto all = ReadCount(**reader, 15);
  for (const size_t at : {0, 3, 4, 9, 13}) {
    const std::string place = (*reader)->PlaceOf(at);
    const auto id = pulsar::ParseMessageId(place);
    ASSERT_TRUE(id.ok()) << at;
    EXPECT_EQ(pulsar::Serialize(*id), place) << "as the Go client writes it";
    const auto next = store->OpenReader(
        TestName(), {.start = FromAfter{.checkpoint = all[at].checkpoint, .place = place}});
    ASSERT_TRUE(next.ok()) << next.status();
    EXPECT_EQ((*next)->start(), all[at].checkpoint);
    const auto rest = ReadCount(**next, 14 - at);
    EXPECT_EQ(rest.front().checkpoint, all[at + 1].checkpoint);
    EXPECT_EQ(rest.back().checkpoint, all.back().checkpoint);
  }
  (*reader)->Release(10);
  EXPECT_NE((*reader)->PlaceOf(10), "");
  EXPECT_EQ((*reader)->PlaceOf(15), "") << "no such event";
}

TEST(PulsarStore, APlaceThatIsGoneIsDataLoss) {
  const auto store = OpenStore(TestBroker().url());
  std::string place;
  {
    TestWriter writer(*store, TestName());
    writer.Append({5});
    const auto reader = store->OpenReader(TestName(), {.start = FromBeginning{}});
    ASSERT_TRUE(reader.ok()) << reader.status();
    ASSERT_EQ(ReadCount(**reader, 5).size(), 5U);
    place = (*reader)->PlaceOf(4);
  }
  ASSERT_TRUE(
      TestBroker()
          .Admin("DELETE", fmt::format("persistent/public/default/{}?force=true", TestName()))
          .ok());
  TestWriter(*store, TestName()).AppendAndWait(MakeBatch({MakeBlock(100, 0, 1)}, 101));
  const auto reader = store->OpenReader(
      TestName(), {.start = FromAfter{.checkpoint = {.lsn = {1}, .seq = 4}, .place = place}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto next = (*reader)->Next({});
  EXPECT_TRUE(absl::IsDataLoss(next.status())) << next.status();
}

TEST(PulsarStore, AMessageThatIsNoEventIsDataLoss) {
  const auto client = pulsar::NewClient(TestBroker().url());
  const auto producer =
      pulsar::Producer::Open(client, {.topic = TestName(), .name = "somebody"}, nullptr);
  ASSERT_TRUE(producer.ok()) << producer.status();
  ASSERT_TRUE((*producer)->Send("not a checkpoint", pulsar::AsBytes("text")).ok());
  ASSERT_TRUE((*producer)->Flush().ok());
  const auto store = OpenStore(TestBroker().url());
  const auto reader = store->OpenReader(TestName(), {.start = FromBeginning{}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_TRUE(absl::IsDataLoss((*reader)->Next({}).status()));
  const auto writer = store->OpenWriter(TestName());
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE(absl::IsDataLoss((*writer)->Open([](Lsn) {}).status()));
}

TEST(PulsarStore, AReaderBeginsWithTheFirstTransactionOfATime) {
  const auto store = OpenStore(TestBroker().url());
  const int64_t now = PgNow().us;
  TestWriter(*store, TestName())
      .AppendAndWait(MakeBatch({MakeTransactions(10, {{now}, {now + 300}, {now + 200}})}, 99));
  const auto reader = store->OpenReader(TestName(), {.start = FromTime{{now + 1}}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto slice = (*reader)->Next({});
  ASSERT_TRUE(slice.ok()) << slice.status();
  EXPECT_EQ(slice->block->first(), (Checkpoint{.lsn = {11}, .seq = 0}));
}

TEST(PulsarStore, ABlockedBrokerEndsTheWriterAndNothingIsCalledDurable) {
  auto opened = OpenPulsarStore({.url = TestBroker().url(),
                                 .library = PulsarBroker::Library(),
                                 .stall_timeout = std::chrono::seconds(2)});
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto writer = std::make_unique<TestWriter>(**opened, TestName());
  writer->Append({3});
  const auto durable = writer->durable();
  TestBroker().Signal(SIGSTOP);
  absl::Status status;
  // What a source hands out when it has nothing: the position alone.
  for (uint64_t lsn = 100; status.ok(); ++lsn) {
    status =
        writer->sink().Append(MakeBatch(lsn == 100 ? std::vector{MakeBlock(lsn, 0, 1)}
                                                   : std::vector<std::shared_ptr<const Block>>{},
                                        lsn));
  }
  TestBroker().Signal(SIGCONT);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(writer->durable(), durable);
}

// Between sending and the receipt too: what is durable is there, once, and the rest goes on.
TEST(PulsarStore, AWriterThatIsKilledLeavesNoGapAndItsReaderSeesNoRepeat) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  uint64_t durable = 0;
  for (int round = 0; round < 4; ++round) {
    auto writer =
        Subprocess::Start({.args = {"/proc/self/exe"},
                           .environment = {fmt::format("{}={}", kUrlVariable, TestBroker().url()),
                                           fmt::format("{}={}", kTopicVariable, TestName())},
                           .as_postgres = false,
                           .directory = {}});
    ASSERT_TRUE(writer.ok()) << writer.status();
    const uint64_t lines = 1 + random() % 50;
    while ((*writer)->output_lines().size() < lines) {
      ASSERT_TRUE((*writer)->WaitForLine("durable", std::chrono::seconds(60)).has_value())
          << "the writer of round " << round << " stores nothing: " << (*writer)->errors();
    }
    (*writer)->Signal(SIGKILL);
    ASSERT_TRUE((*writer)->Wait(std::chrono::seconds(30)).has_value());
    for (const std::string& line : (*writer)->output_lines()) {
      if (line.size() > 8)
        durable = std::max<uint64_t>(durable, std::strtoull(line.c_str() + 8, nullptr, 10));
    }
  }
  const auto store = OpenStore(TestBroker().url());
  const TestWriter last(*store, TestName());
  ASSERT_GE(last.resume().last.lsn.value, durable);
  const uint64_t whole = last.resume().last.lsn.value - (last.resume().last.seq == 2 ? 0 : 1);
  const auto reader = store->OpenReader(TestName(), {.start = FromBeginning{}});
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto seen = ReadCount(**reader, whole * 3);
  ASSERT_GE(seen.size(), whole * 3);
  for (uint64_t i = 0; i < whole * 3; ++i) {
    ASSERT_EQ(seen[i].checkpoint,
              (Checkpoint{.lsn = {1 + i / 3}, .seq = static_cast<uint32_t>(i % 3)}));
  }
}

// How many entries a subscription has not acknowledged, as the broker has it.
int64_t EntriesLeft(const std::string& topic, const std::string& subscription) {
  const auto text =
      TestBroker().Admin("GET", fmt::format("persistent/public/default/{}/stats", topic));
  EXPECT_TRUE(text.ok()) << text.status();
  if (!text.ok()) return 0;
  const auto stats = nlohmann::json::parse(*text);
  return stats.at("subscriptions").at(subscription).at("msgBacklog").get<int64_t>();
}

constexpr char kTracker[] = "pulsar-subscription-tracker-consumer";

// The Go program's tracker takes the last message that is not acknowledged in it for the end.
TEST(PulsarTracker, ItsSubscriptionKeepsTheEndOfATopicAndLittleElse) {
  const std::string topic = TestName();
  const auto store = OpenPulsarStore({.url = TestBroker().url(),
                                      .library = PulsarBroker::Library(),
                                      .tracker_interval = std::chrono::milliseconds(50)});
  ASSERT_TRUE(store.ok()) << store.status();
  constexpr size_t kRounds = 20;
  {
    TestWriter writer(**store, topic);
    for (size_t round = 0; round < kRounds; ++round) {
      writer.Append({3});
      Pause(std::chrono::milliseconds(60), {});
    }
    // Of the last two rounds; acknowledgements are on their way for a while.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (EntriesLeft(topic, kTracker) > 6) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << EntriesLeft(topic, kTracker);
      Pause(std::chrono::milliseconds(20), {});
    }
  }
  auto client = pulsar::NewClient(TestBroker().url());
  const auto all = pulsar::ReadAll(client, topic);
  ASSERT_EQ(all.size(), 3 * kRounds);
  auto consumer = pulsar::Consumer::Open(client, {.topic = topic,
                                                  .subscription = kTracker,
                                                  .name = "pulsar-subscription-tracker",
                                                  .kind = pulsar::Consumer::Kind::kExclusive});
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  std::vector<std::string> left;
  while (const auto message = pulsar::WaitNext(**consumer, std::chrono::seconds(2))) {
    left.push_back(std::string(message->key()));
  }
  ASSERT_FALSE(left.empty());
  EXPECT_LT(left.size(), all.size() / 2);
  EXPECT_EQ(left.back(), all.back().key());
}

}  // namespace
}  // namespace pgc
