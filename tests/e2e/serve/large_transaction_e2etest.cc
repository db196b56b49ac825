// A transaction larger than anyone's memory passes in pieces, and small ones beside it.
//
// PGCAPTURE_LARGE_ROWS chooses how many rows it has.
#include <fmt/format.h>

#include <chrono>
#include <fstream>

#include "client/capture_client.h"
#include "e2e/serve/serve_fixture.h"
#include "testing/environment.h"

namespace pgc {
namespace {

using std::chrono::seconds;

using LargeTransaction = ServeTest;

int64_t PeakMemoryMb(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::atoll(line.c_str() + 6) / 1024;
  }
  return -1;
}

int32_t Id(const pb::CaptureMessage& message) {
  uint32_t id = 0;
  for (const char byte : message.change().new_(0).binary()) {
    id = id << 8 | static_cast<uint8_t>(byte);
  }
  return static_cast<int32_t>(id);
}

TEST_F(LargeTransaction, PassesInLittleMemoryWithoutSpillingOnTheServerOrHoldingUpOthers) {
  const auto rows = static_cast<int32_t>(FromEnvironment("PGCAPTURE_LARGE_ROWS", 1'000'000));
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql(fmt::format("ALTER DATABASE {} SET logical_decoding_work_mem = '4MB'", name()));
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  auto client = CaptureClient::Open(
      {.gateway = serve.address(), .uri = name() + "/large", .parameters = {}}, {});
  ASSERT_TRUE(client.ok()) << client.status();

  auto large = Connection::Open(url());
  ASSERT_TRUE(large.ok()) << large.status();
  ASSERT_TRUE((*large)
                  ->Execute(fmt::format("BEGIN; INSERT INTO t SELECT i, md5(i::text) FROM "
                                        "generate_series(1, {}) i",
                                        rows))
                  .ok());
  Sql("INSERT INTO t VALUES (0, 'small')");
  const auto small = (*client)->Next({});
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_EQ(Id(*small), 0) << "it does not wait for the large one";
  ASSERT_TRUE((*client)->Ack(small->checkpoint()).ok());

  ASSERT_TRUE((*large)->Execute("COMMIT").ok());
  for (int32_t id = 1; id <= rows; ++id) {
    const auto message = (*client)->Next({});
    ASSERT_TRUE(message.ok()) << message.status();
    ASSERT_EQ(Id(*message), id);
    ASSERT_TRUE((*client)->Ack(message->checkpoint()).ok());
  }
  const int64_t peak = PeakMemoryMb(serve.process().pid());
  fmt::print("{} rows, peak resident memory {} MB\n", rows, peak);
  EXPECT_GT(peak, 0);
  EXPECT_LT(peak, 200);

  EXPECT_EQ(serve.Stop(), 0);
  const auto stats = (*large)->Query(fmt::format(
      "SELECT spill_bytes, stream_txns FROM pg_stat_replication_slots WHERE slot_name = '{}'",
      name()));
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->Int(0, 0), 0);
  EXPECT_GE(stats->Int(0, 1), 1);
}

}  // namespace
}  // namespace pgc
