// What can happen to the folder where transactions in progress wait.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "e2e/serve/serve_fixture.h"

namespace pgc {
namespace {

using std::chrono::seconds;

constexpr seconds kWait{60};

class SpoolFolder : public ServeTest {
 protected:
  void SetUp() override {
    ServeTest::SetUp();
    Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    Sql(fmt::format("ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'", name()));
    auto connection = Connection::Open(url());
    ASSERT_TRUE(connection.ok()) << connection.status();
    large_ = *std::move(connection);
  }
  // A transaction of some 10 MB, not committed.
  void BeginLarge() {
    const absl::Status status = large_->Execute(
        "BEGIN; INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 10000) i");
    ASSERT_TRUE(status.ok()) << status;
  }
  // `serve` with all it has to deliver: its rows, in order, and how it ends.
  void ExpectAll(ServeProcess& serve) {
    ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
    const auto tail = Tail(serve, name() + "/all", 10'001, {"--from", "beginning"});
    ASSERT_TRUE(large_->Execute("COMMIT").ok());
    ASSERT_EQ(tail->Wait(kWait), 0) << tail->errors();
    EXPECT_NE(tail->output_lines().front().find(R"("id":0)"), std::string::npos);
    EXPECT_NE(tail->output_lines().back().find(R"("id":10000)"), std::string::npos);
    EXPECT_EQ(serve.Stop(), 0);
  }

  std::unique_ptr<Connection> large_;
};

TEST_F(SpoolFolder, AFullDiskStopsCaptureAndLosesNothing) {
  const std::string disk = (folder() / "disk").string();
  std::filesystem::create_directory(disk);
  auto small = ServeOptions({"--no-ddl", "--spool-dir", disk + "/spool"});
  small.wrapper = OnSmallDisk(disk, "2m", R"(exec "$@")");
  ServeProcess serve(small);
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  Sql("INSERT INTO t VALUES (0)");
  BeginLarge();
  ASSERT_EQ(serve.process().Wait(kWait), 1) << serve.process().errors();
  for (const std::string& part :
       {disk + "/spool", std::string("make room there"), std::string("--spool-dir")}) {
    EXPECT_NE(serve.process().errors().find(part), std::string::npos)
        << "no '" << part << "' in: " << serve.process().errors();
  }
  ServeProcess roomy(ServeOptions());
  ExpectAll(roomy);
}

TEST_F(SpoolFolder, ADamagedFileIsNotDelivered) {
  ServeProcess serve(ServeOptions());
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  Sql("INSERT INTO t VALUES (0)");
  BeginLarge();
  const std::filesystem::path spool = data_dir() / "spool";
  const auto deadline = std::chrono::steady_clock::now() + kWait;
  std::filesystem::path file;
  while (file.empty()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "nothing was spooled";
    for (const auto& entry : std::filesystem::directory_iterator(spool)) {
      if (entry.file_size() > (1 << 20)) file = entry.path();
    }
    Sql("SELECT pg_sleep(0.01)");
  }
  {
    std::fstream damage(file, std::ios::in | std::ios::out | std::ios::binary);
    damage.seekp(500'000);
    damage << "damage";
  }
  // Another transaction is not concerned.
  const auto tail = Tail(serve, name() + "/small", 1);
  Sql("INSERT INTO t VALUES (20000)");
  EXPECT_EQ(tail->Wait(kWait), 0) << tail->errors();
  ASSERT_TRUE(large_->Execute("COMMIT").ok());
  ASSERT_EQ(serve.process().Wait(kWait), 1) << serve.process().errors();
  for (const std::string& part : {file.string(), std::string("start again")}) {
    EXPECT_NE(serve.process().errors().find(part), std::string::npos)
        << "no '" << part << "' in: " << serve.process().errors();
  }
  // The server sends it once more: the log has it whole, after the small ones.
  ServeProcess again(ServeOptions());
  ASSERT_TRUE(again.Start().ok()) << again.process().errors();
  const auto all = Tail(again, name() + "/all", 10'002, {"--from", "beginning"});
  ASSERT_EQ(all->Wait(kWait), 0) << all->errors();
  EXPECT_NE(all->output_lines()[2].find(R"("id":1,)"), std::string::npos);
  EXPECT_NE(all->output_lines().back().find(R"("id":10000)"), std::string::npos);
  EXPECT_EQ(again.Stop(), 0);
}

}  // namespace
}  // namespace pgc
