// PostgreSQL, capture, a Pulsar broker, apply, PostgreSQL.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <random>
#include <string>

#include "e2e/pulsar/pulsar_fixture.h"
#include "testing/environment.h"

namespace pgc {
namespace {

using testing::HasSubstr;

TEST_F(PulsarE2e, AReplicaIsEqualThoughEverythingIsKilled) {
  const uint64_t seed = FromEnvironment("PGCAPTURE_TEST_SEED", std::random_device()());
  const auto count = static_cast<int>(FromEnvironment("PGCAPTURE_TRANSACTIONS", 200));
  SCOPED_TRACE(fmt::format("PGCAPTURE_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  Sql("CREATE TABLE marks (name text PRIMARY KEY)");
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  auto apply = Apply();
  ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
  const int broker_dies = static_cast<int>(random() % count);
  for (int i = 0; i < count; ++i) {
    ASSERT_NO_FATAL_FAILURE(Transaction(random, i));
    if (i == broker_dies) {
      broker_->Kill();
      ASSERT_TRUE(broker_->Launch().ok());
    }
    switch (random() % 50) {
      case 0:
        Kill(*capture);
        capture = Capture();
        break;
      case 1:
        Kill(*apply);
        apply = Apply();
        break;
      case 2:
        EXPECT_TRUE(broker_->Unload("public/default/" + name_).ok());
        break;
      default:
        break;
    }
  }
  ASSERT_TRUE(WaitApplied()) << "capture: " << capture->errors() << "apply: " << apply->errors();
  Stop(*apply);
  Stop(*capture);
  ExpectEqual();
}

TEST_F(PulsarE2e, EachGoesOnWhereItStoppedInGoodOrder) {
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  Sql("CREATE TABLE marks (name text PRIMARY KEY)");
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  for (int round = 0; round < 3; ++round) {
    auto apply = Apply();
    Sql(fmt::format("INSERT INTO t SELECT {0} * 1000 + i, 'v' FROM generate_series(1, 500) i",
                    round));
    ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
    Stop(*apply);
    EXPECT_THAT(apply->errors(), testing::Not(HasSubstr("all of it is read")));
    Stop(*capture);
    // What came while nobody captured.
    Sql(fmt::format("INSERT INTO t SELECT {0} * 1000 + 500 + i, 'v' FROM generate_series(1, 9) i",
                    round));
    capture = Capture();
    ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  }
  auto apply = Apply();
  ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
  Stop(*apply);
  Stop(*capture);
  ExpectEqual();
}

TEST_F(PulsarE2e, ASecondCaptureOfATopicIsRefused) {
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  auto second = Capture();
  EXPECT_EQ(second->Wait(kWait), 1);
  EXPECT_THAT(second->errors(), HasSubstr("ProducerBusy"));
  Stop(*capture);
}

TEST_F(PulsarE2e, WithoutTheLibraryTheWaysToGetItAreSaid) {
  auto apply = Run({"apply", "--store", broker_->url(), "--topic", topic(), "--target",
                    replica_url(), "--pulsar-library", "/nowhere/libpulsar.so"});
  EXPECT_EQ(apply->Wait(kWait), 1);
  EXPECT_THAT(apply->errors(), HasSubstr("--pulsar-library"));
}

}  // namespace
}  // namespace pgc
