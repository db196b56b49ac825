// What goes wrong between a writer, a reader and their broker: nothing is lost, repeated or out of
// order, and what an operator must mend is said.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "store/pulsar_faults_testing.h"
#include "store/pulsar_store.h"
#include "store/pulsar_testing.h"
#include "testing/environment.h"
#include "testing/tcp_forwarder.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// For a busy machine; what takes longer stands still.
constexpr seconds kWait{90};

std::unique_ptr<EventStore> OpenStore(const std::string& url) {
  auto store = OpenPulsarStore(
      {.url = url, .library = PulsarBroker::Library(), .stall_timeout = seconds(2)});
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

std::string TestName() { return testing::UnitTest::GetInstance()->current_test_info()->name(); }

std::string UrlOf(const TcpForwarder& forwarder) {
  return fmt::format("pulsar://127.0.0.1:{}", forwarder.port());
}

// One thing that goes wrong, for a while, and is over.
std::string Fault(std::mt19937_64& random, TcpForwarder& forwarder, const std::string& topic,
                  Transactions& transactions) {
  using enum TcpForwarder::Direction;
  const milliseconds length(random() % 2'500);
  std::string said;
  switch (random() % 8) {
    case 0:
      forwarder.Cut();
      return "cut";
    case 1:
    case 2:
      // Now and then again before all have come back.
      for (uint64_t times = 1 + random() % 3; times > 0; --times) {
        const auto status = TestBroker().Unload("public/default/" + topic);
        EXPECT_TRUE(status.ok()) << status;
        Flow(random, transactions, milliseconds(random() % 200));
        said += "unloaded ";
      }
      return said;
    case 3:
      forwarder.Delay(kToServer, milliseconds(random() % 300));
      forwarder.Delay(kToClient, milliseconds(random() % 300));
      said = "delayed";
      break;
    case 4:
      forwarder.Hold(kToServer);
      said = "held to the server";
      break;
    case 5:
      forwarder.Hold(kToClient);
      said = "held to the client";
      break;
    default:
      forwarder.Hold(kToServer);
      forwarder.Hold(kToClient);
      said = "held";
      break;
  }
  Flow(random, transactions, length);
  if (random() % 2 == 0) {
    forwarder.Cut();
    said += ", cut";
  }
  forwarder.Heal();
  return fmt::format("{} for {} ms", said, length.count());
}

TEST(PulsarFaults, ABadNetworkAndAMovingTopicLoseRepeatAndReorderNothing) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  const uint64_t rounds = FromEnvironment("PGCAPTURE_ROUNDS", 8);
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  fmt::print("PGCAPTURE_TEST_SEED={}\n", seed);
  std::mt19937_64 random(seed);
  const std::string topic = fmt::format("{}-{}", TestName(), seed);
  const auto forwarder = TcpForwarder::Start(TestBroker().port());
  ASSERT_TRUE(forwarder.ok()) << forwarder.status();
  const auto store = OpenStore(UrlOf(**forwarder));
  Transactions transactions;
  Capturing capturing(*store, topic, transactions);
  Following following(*store, topic);
  transactions.Allow(1);
  ASSERT_TRUE(transactions.WaitDurable(1, kWait));
  std::string history;
  for (uint64_t round = 0; round < rounds; ++round) {
    Flow(random, transactions, milliseconds(random() % 300));
    history += Fault(random, **forwarder, topic, transactions) + "; ";
    if (random() % 3 == 0) {
      ASSERT_TRUE(transactions.WaitDurable(transactions.allowed(), kWait))
          << history << capturing.last();
    }
    ASSERT_TRUE(capturing.status().ok()) << history << capturing.status();
    ASSERT_TRUE(following.status().ok()) << history << following.status();
  }
  const uint64_t all = transactions.allowed();
  fmt::print("{}\n", history);
  ASSERT_TRUE(transactions.WaitDurable(all, kWait)) << history << capturing.last();
  EXPECT_TRUE(following.Wait(all * Transactions::kEvents, kWait))
      << history << "the reader has " << following.seen().size() << " of " << all * 3;
  fmt::print("{} transactions, writer reopened {}, reader {} times, {} connections\n", all,
             capturing.restarts(), following.restarts(), (*forwarder)->accepted());
  ExpectWhole(following.seen(), all, "the reader that read along");
  ExpectStored(*OpenStore(TestBroker().url()), topic, all);
}

// The machine of a writer is gone without a word, and another one takes over.
TEST(PulsarFaults, AWriterThatIsOutOfReachMakesRoomForAnother) {
  const auto forwarder = TcpForwarder::Start(TestBroker().port());
  ASSERT_TRUE(forwarder.ok()) << forwarder.status();
  const auto lost_store = OpenStore(UrlOf(**forwarder));
  TestWriter lost(*lost_store, TestName());
  lost.Append({3});
  (*forwarder)->Hold(TcpForwarder::kToServer);
  (*forwarder)->Hold(TcpForwarder::kToClient);
  const auto store = OpenStore(TestBroker().url());
  // The broker asks the one that it has whether it is still there, for 5 s.
  TestWriter writer(*store, TestName());
  EXPECT_EQ(writer.resume().last, (Checkpoint{.lsn = {1}, .seq = 2}));
  const auto durable = lost.durable();
  absl::Status status = lost.sink().Append(MakeBatch({MakeBlock(2, 0, 3)}, 2));
  (*forwarder)->Heal();
  writer.AppendAndWait(MakeBatch({MakeBlock(2, 0, 3), MakeBlock(3, 0, 3)}, 3));
  while (status.ok()) {
    status = lost.sink().Append(MakeBatch({}, 4));
    Pause(milliseconds(50), {});
  }
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(lost.durable(), durable);
  ExpectStored(*store, TestName(), 3);
}

// One thread of a process that stands still, for as long as this object is there. Of one thread of
// the test.
class StoppedThread {
 public:
  StoppedThread(pid_t process, std::string_view name) {
    for (const auto& task :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process))) {
      std::string found;
      std::getline(std::ifstream(task.path() / "comm"), found);
      if (found.starts_with(name)) thread_ = std::stoi(task.path().filename().string());
    }
    stopped_ = thread_ != 0 && ptrace(PTRACE_SEIZE, thread_, nullptr, nullptr) == 0 &&
               ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) == 0 &&
               waitpid(thread_, nullptr, __WALL) == thread_;
  }
  ~StoppedThread() {
    if (stopped_) ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
  }
  StoppedThread(const StoppedThread&) = delete;
  StoppedThread& operator=(const StoppedThread&) = delete;

  bool stopped() const { return stopped_; }

 private:
  pid_t thread_ = 0;
  bool stopped_ = false;
};

// The broker answers, and waits itself for what it was sent.
TEST(PulsarFaults, AWriterThatGaveUpForWantOfReceiptsDoesNotKeepItsNameFromTheNext) {
  const auto store = OpenStore(TestBroker().url());
  Transactions transactions;
  Capturing capturing(*store, TestName(), transactions);
  transactions.Allow(10);
  ASSERT_TRUE(transactions.WaitDurable(10, kWait)) << capturing.last();
  {
    const StoppedThread journal(TestBroker().pid(), "BookieJournal");
    ASSERT_TRUE(journal.stopped());
    transactions.Allow(10);
    const auto deadline = std::chrono::steady_clock::now() + seconds(12);
    while (!capturing.ended() && std::chrono::steady_clock::now() < deadline) {
      Pause(milliseconds(50), {});
    }
    EXPECT_GE(capturing.restarts(), 2);
    EXPECT_TRUE(capturing.status().ok()) << capturing.status();
  }
  ASSERT_TRUE(transactions.WaitDurable(20, kWait)) << capturing.status() << capturing.last();
  ExpectStored(*store, TestName(), 20);
}

}  // namespace
}  // namespace pgc
