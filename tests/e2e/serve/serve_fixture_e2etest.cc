#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "e2e/serve/serve_fixture.h"

namespace pgc {

using std::chrono::seconds;

std::unique_ptr<PostgresServer> ServeTest::postgres_;
int ServeTest::tests_ = 0;

void ServeTest::SetUpTestSuite() {
  auto server = PostgresServer::Start({{"max_replication_slots", "40"}, {"max_wal_senders", "40"}});
  ASSERT_TRUE(server.ok()) << server.status();
  postgres_ = *std::move(server);
}

void ServeTest::SetUp() {
  ASSERT_NE(postgres_, nullptr);
  name_ = fmt::format("serve_{}", ++tests_);
  auto admin = Connection::Open(postgres_->Url("postgres"));
  ASSERT_TRUE(admin.ok()) << admin.status();
  const absl::Status made = (*admin)->Execute("CREATE DATABASE " + name_);
  ASSERT_TRUE(made.ok()) << made;
  auto connection = Connection::Open(url());
  ASSERT_TRUE(connection.ok()) << connection.status();
  connection_ = *std::move(connection);
}

void ServeTest::TearDown() { connection_.reset(); }

void ServeTest::Sql(const std::string& sql) {
  const absl::Status status = connection_->Execute(sql);
  ASSERT_TRUE(status.ok()) << status << "\n" << sql;
}

ServeProcess::Options ServeTest::ServeOptions(std::vector<std::string> flags) const {
  flags.insert(flags.end(), {"--topic", name_});
  return {.program = kProgram,
          .source = url(),
          .data_dir = data_dir(),
          .flags = std::move(flags),
          .wrapper = {}};
}

std::vector<std::string> ServeTest::OnSmallDisk(const std::string& disk, const std::string& size,
                                                const std::string& script) {
  // In a chroot the root is no mount of its own, and has no propagation to be changed.
  const std::string mount =
      "{ mount --make-rprivate / 2>/dev/null || true; } && mount -t tmpfs -o size=" + size +
      " none \"$0\" && ";
  return {"unshare",   getuid() == 0 ? "--mount" : "--map-root-user",
          "--mount",   "--propagation",
          "unchanged", "sh",
          "-c",        mount + script,
          disk};
}

std::unique_ptr<Subprocess> ServeTest::Program(std::vector<std::string> args,
                                               std::vector<std::string> environment) {
  args.insert(args.begin(), kProgram);
  auto process = Subprocess::Start({.args = std::move(args),
                                    .environment = std::move(environment),
                                    .as_postgres = false,
                                    .directory = {}});
  EXPECT_TRUE(process.ok()) << process.status();
  return *std::move(process);
}

std::unique_ptr<Subprocess> ServeTest::Tail(const ServeProcess& serve, const std::string& uri,
                                            int limit, std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"tail", "--gateway", serve.address(), "--format", "json",
                               "--log-format", "json", "--limit", std::to_string(limit),
                               uri.find('/') == uri.npos ? "--topic" : "--uri", uri});
  auto tail = Program(std::move(flags));
  EXPECT_TRUE(tail->WaitForLine(R"("message":"reading")", seconds(20)).has_value())
      << tail->errors();
  return tail;
}

std::vector<std::string> WithoutLsn(const std::vector<std::string>& lines) {
  std::vector<std::string> rest;
  for (const std::string& line : lines) {
    const size_t seq = line.find("\"seq\"");
    rest.push_back(line.starts_with("{\"lsn\":\"") && seq != std::string::npos
                       ? "{" + line.substr(seq)
                       : line);
  }
  return rest;
}

}  // namespace pgc
