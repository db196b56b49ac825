// PostgreSQL, capture, a Pulsar broker, apply, PostgreSQL.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <random>
#include <string>

#include "e2e/pulsar/pulsar_fixture.h"
#include "pgcapture.pb.h"
#include "pulsar/pulsar_testing.h"
#include "testing/environment.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;

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
      case 2: {
        const absl::Status unloaded = broker_->Unload(topic_path());
        EXPECT_TRUE(unloaded.ok()) << unloaded;
        break;
      }
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

// With the names of flags that the Go program has. Its sink cannot find the partition of a row.
TEST_F(PulsarE2e, PartitionsHaveTheirOwnNames) {
  const std::string url = server_->Url(name_);
  auto capture = Run({"pg2pulsar", "--PGConnURL", url, "--PGReplURL", url + "?replication=database",
                      "--PulsarURL=" + broker_->url(), "--PulsarTopic", topic(), "--pulsar-library",
                      PulsarBroker::Library()});
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  auto apply = Run({"pulsar2pg", "--PGConnURL", replica_url(), "--PulsarURL", broker_->url(),
                    "--PulsarTopic=" + topic(), "--ReaderPrefix", "mine", "--BatchTxSize", "10",
                    "--Renice=-1", "--pulsar-library", PulsarBroker::Library()});
  Sql("CREATE TABLE marks (name text PRIMARY KEY)");
  Sql("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)");
  Sql("CREATE TABLE low PARTITION OF p FOR VALUES FROM (0) TO (100)");
  Sql("CREATE TABLE high PARTITION OF p FOR VALUES FROM (100) TO (200)");
  Sql("INSERT INTO p SELECT i, 'v' FROM generate_series(0, 199) i; UPDATE p SET v = 'w'");
  Sql("DELETE FROM p WHERE id = 150; UPDATE p SET id = 150 WHERE id = 50");
  Sql("TRUNCATE low; INSERT INTO p VALUES (7, 'seven')");
  ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
  const auto stats = broker_->Admin("GET", "persistent/" + topic_path() + "/stats");
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_THAT(*stats, HasSubstr("\"mine-"));
  const auto client = pulsar::Client::Create(broker_->url(), {.library = PulsarBroker::Library()});
  ASSERT_TRUE(client.ok()) << client.status();
  size_t of_partitions = 0;
  size_t of_parent = 0;
  for (const auto& message : pulsar::ReadAll(*client, topic())) {
    pb::Message event;
    ASSERT_TRUE(event.ParseFromString(pulsar::TextOf(message)));
    of_partitions += event.change().table() == "low" || event.change().table() == "high" ? 1 : 0;
    of_parent += event.change().table() == "p" ? 1 : 0;
  }
  EXPECT_GT(of_partitions, 400U);
  EXPECT_EQ(of_parent, 0U);
  Stop(*apply);
  Stop(*capture);
  ExpectEqual();
}

TEST_F(PulsarE2e, DoctorSaysWhichLibraryItIsAndWhetherTheClusterAnswers) {
  const auto doctor = [this](const std::string& store, const std::string& library) {
    auto process = Run({"doctor", "--source", server_->Url(name_), "--topic", topic(), "--store",
                        store, "--pulsar-library", library});
    const auto code = process->Wait(kWait);
    std::string text = fmt::format("{}:", code.value_or(-1));
    for (const std::string& line : process->output_lines()) {
      if (line.find("pulsar") != std::string::npos) text += line + "\n";
    }
    return text;
  };
  const std::string library = PulsarBroker::Library();
  EXPECT_THAT(doctor(broker_->url(), library),
              testing::AllOf(testing::StartsWith("0:"), HasSubstr("pulsar_library: " + library),
                             HasSubstr("is not partitioned")));
  EXPECT_THAT(doctor(broker_->url(), "/nowhere/libpulsar.so"),
              testing::AllOf(testing::StartsWith("1:mend"), HasSubstr("--pulsar-library")));
  EXPECT_THAT(doctor("pulsar://127.0.0.1:1", library),
              testing::AllOf(testing::StartsWith("1:"), HasSubstr("mend    pulsar: ")));
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
