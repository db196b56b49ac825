// PostgreSQL, capture, a Pulsar broker, a gateway, consumers.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "client/capture_client.h"
#include "e2e/pulsar/pulsar_fixture.h"
#include "pulsar/message_id.h"
#include "testing/environment.h"
#include "testing/free_port.h"

namespace pgc {
namespace {

using Entry = std::pair<int64_t, int64_t>;  // ledger and entry

int32_t IdOf(const pb::Change& change) {
  uint32_t id = 0;
  for (const char byte : change.new_(0).binary()) id = id << 8 | static_cast<uint8_t>(byte);
  return static_cast<int32_t>(id);
}

Entry EntryOf(const pb::Checkpoint& checkpoint) {
  const auto id = pulsar::ParseMessageId(checkpoint.data());
  EXPECT_TRUE(id.ok()) << id.status();
  return id.ok() ? Entry{id->ledger, id->entry} : Entry{};
}

// What the consumers of one subscription got.
struct Received {
  Mutex mutex;
  CondVar changed;
  std::map<int32_t, int> delivered PGC_GUARDED_BY(mutex);
  std::map<int32_t, Entry> acknowledged PGC_GUARDED_BY(mutex);
  std::set<Entry> not_whole PGC_GUARDED_BY(mutex);  // entries with a requeued row
};

class GatewayE2e : public PulsarE2e {
 protected:
  std::unique_ptr<Subprocess> Gateway() const {
    auto gateway = Run({"gateway", "--listen-addr", address_, "--pulsar-library",
                        PulsarBroker::Library(), "--resolver-config", config()});
    EXPECT_TRUE(gateway->WaitForLine("the gateway listens", kWait).has_value());
    return gateway;
  }
  std::string config() const {
    return fmt::format(
        R"({{"shop": {{"PulsarURL": "{}", "PulsarTopic": "{}", "PulsarSubscription": "s"}}}})",
        broker_->url(), topic());
  }
  absl::StatusOr<std::unique_ptr<CaptureClient>> Open(const std::string& uri) const {
    CaptureClientOptions options{.gateway = address_, .uri = uri, .parameters = {}};
    (*options.parameters.mutable_fields())["TableRegex"].set_string_value("^t$");
    return CaptureClient::Open(options, {});
  }

  // Takes changes until `stop`; acknowledges most, and requeues one in `requeues` (0: none).
  std::jthread Consume(Received& received, uint64_t seed, uint64_t requeues) const {
    return std::jthread([this, &received, random = std::mt19937_64(seed),
                         requeues](const std::stop_token& stop) mutable {
      auto client = Open("shop");
      ASSERT_TRUE(client.ok()) << client.status();
      while (true) {
        const auto message = (*client)->Next(stop);
        if (absl::IsCancelled(message.status())) break;
        ASSERT_TRUE(message.ok()) << message.status();
        const int32_t id = IdOf(message->change());
        const bool again = requeues > 0 && random() % requeues == 0;
        {
          MutexLock lock(received.mutex);
          ++received.delivered[id];
          if (again) {
            received.not_whole.insert(EntryOf(message->checkpoint()));
          } else {
            received.acknowledged[id] = EntryOf(message->checkpoint());
          }
          received.changed.NotifyAll();
        }
        const absl::Status status = again ? (*client)->Requeue(message->checkpoint(), "again")
                                          : (*client)->Ack(message->checkpoint());
        ASSERT_TRUE(status.ok()) << status;
      }
      EXPECT_TRUE((*client)->Close().ok());
    });
  }
  static bool WaitDelivered(Received& received, const std::set<int32_t>& wanted) {
    MutexLock lock(received.mutex);
    return received.changed.WaitUntil(received.mutex, {}, std::chrono::steady_clock::now() + kWait,
                                      [&]() PGC_REQUIRES(received.mutex) {
                                        return std::all_of(
                                            wanted.begin(), wanted.end(),
                                            [&](int32_t id) PGC_REQUIRES(received.mutex) {
                                              return received.delivered.contains(id);
                                            });
                                      });
  }

  const std::string address_ = fmt::format("127.0.0.1:{}", FreePort());
};

TEST_F(GatewayE2e, EveryChangeComesAndWhatIsAcknowledgedNotAgainAfterARestart) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  constexpr int kRows = 3'000;
  std::set<int32_t> left;
  for (int32_t id = 0; id < kRows; ++id) left.insert(id);
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  auto gateway = Gateway();
  Received before;
  {
    // The subscription begins where it is made.
    auto first = Open("shop");
    ASSERT_TRUE(first.ok()) << first.status();
    ASSERT_TRUE((*first)->Close().ok());
    const auto one = Consume(before, seed, 20);
    const auto two = Consume(before, seed + 1, 20);
    for (int row = 0; row < kRows; row += 10) {
      Sql(fmt::format("INSERT INTO t SELECT i, 'v' FROM generate_series({}, {}) i", row, row + 9));
    }
    ASSERT_TRUE(WaitDelivered(before, left)) << capture->errors() << gateway->errors();
  }
  Stop(*gateway);
  {
    MutexLock lock(before.mutex);
    for (const auto& [id, entry] : before.acknowledged) left.erase(id);
  }
  left.insert(kRows);
  ASSERT_TRUE(broker_->Stop().ok());
  ASSERT_TRUE(broker_->Launch().ok());
  gateway = Gateway();
  Received after;
  {
    const auto one = Consume(after, seed, 0);
    Sql(fmt::format("INSERT INTO t VALUES ({}, 'last')", kRows));
    ASSERT_TRUE(WaitDelivered(after, left)) << gateway->errors();
  }
  MutexLock lock(before.mutex);
  MutexLock also(after.mutex);
  size_t again = 0;
  for (int32_t id = 0; id < kRows; ++id) {
    const auto acknowledged = before.acknowledged.find(id);
    const bool came = after.delivered.contains(id);
    if (acknowledged != before.acknowledged.end() && came) {
      ++again;
      EXPECT_TRUE(before.not_whole.contains(acknowledged->second))
          << id << " was acknowledged, and all that shares its entry";
    }
  }
  EXPECT_LT(again, size_t{kRows}) << "some entries were acknowledged whole";
  Stop(*gateway);
  Stop(*capture);
}

TEST_F(GatewayE2e, WhatPulsarDoesNotHaveIsSaid) {
  auto gateway = Gateway();
  CaptureClientOptions options{.gateway = address_, .uri = "shop", .parameters = {}};
  (*options.parameters.mutable_fields())["KeyShared"].set_bool_value(true);
  const auto keyed = CaptureClient::Open(options, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(keyed.status())) << keyed.status();
  EXPECT_THAT(keyed.status().message(), testing::HasSubstr("KeyShared"));
  Stop(*gateway);
}

}  // namespace
}  // namespace pgc
