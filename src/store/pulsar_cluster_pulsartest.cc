// Two brokers that share their topics, of which one loses them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "store/pulsar_faults_testing.h"
#include "store/pulsar_store.h"
#include "testing/environment.h"
#include "testing/pulsar_broker.h"
#include "testing/pulsar_cluster.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A killed broker is missed after 5 s, and its topics are opened elsewhere in 10 more.
constexpr seconds kWait{120};

TEST(PulsarCluster, ATopicThatMovesAndOneWhoseBrokerIsKilledLoseRepeatAndReorderNothing) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  fmt::print("PGCAPTURE_TEST_SEED={}\n", seed);
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  const auto cluster = PulsarCluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto store =
      OpenPulsarStore({.url = (*cluster)->url(), .library = PulsarBroker::Library()});
  ASSERT_TRUE(store.ok()) << store.status();
  const std::string topic = fmt::format("moving-{}", seed);
  const std::string full = "public/default/" + topic;
  Transactions transactions;
  Capturing capturing(**store, topic, transactions);
  Following following(**store, topic);
  transactions.Allow(1);
  ASSERT_TRUE(transactions.WaitDurable(1, kWait)) << capturing.status() << capturing.last();

  for (uint64_t moves = 2 + random() % 3; moves > 0; --moves) {
    const auto owner = (*cluster)->OwnerOf(full);
    ASSERT_TRUE(owner.ok()) << owner.status();
    Flow(random, transactions, milliseconds(200));
    const auto moved = (*cluster)->Move(full, 1 - *owner);
    ASSERT_TRUE(moved.ok()) << moved;
    Flow(random, transactions, milliseconds(random() % 1'000));
    ASSERT_TRUE(transactions.WaitDurable(transactions.allowed(), kWait)) << capturing.last();
    const auto now = (*cluster)->OwnerOf(full);
    ASSERT_TRUE(now.ok()) << now.status();
    EXPECT_NE(*now, *owner) << "it did not move";
  }

  const auto owner = (*cluster)->OwnerOf(full);
  ASSERT_TRUE(owner.ok()) << owner.status();
  Flow(random, transactions, milliseconds(random() % 300));
  (*cluster)->Kill(*owner);
  Flow(random, transactions, milliseconds(300));
  const uint64_t all = transactions.allowed();
  ASSERT_TRUE(transactions.WaitDurable(all, kWait)) << capturing.status() << capturing.last();
  EXPECT_TRUE(following.Wait(all * Transactions::kEvents, kWait)) << following.status();
  ExpectWhole(following.seen(), all, "the reader that read along");
  ExpectStored(**store, topic, all);
}

}  // namespace
}  // namespace pgc
