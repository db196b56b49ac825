// Failures of the target that are worth another try, and what the log says while all is well.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "e2e/apply/apply_fixture.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ApplyRetries : public Apply {
 protected:
  void SetUp() override {
    Apply::SetUp();
    Both(
        "CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a VALUES (1, 0);"
        "CREATE TABLE b (id int PRIMARY KEY, n int); INSERT INTO b VALUES (1, 0);"
        "CREATE TABLE c (id int PRIMARY KEY, n int); INSERT INTO c VALUES (1, 0);"
        "CREATE TABLE keyless (n int); ALTER TABLE keyless REPLICA IDENTITY FULL");
  }
  void ExpectLine(const std::string& text) {
    EXPECT_TRUE(serve().process().WaitForLine(text, seconds(60)).has_value())
        << text << " is not in\n"
        << serve().process().errors();
  }
  // Waits until so many sessions of the target's database wait for a lock.
  void ExpectWaiting(int count) {
    ExpectTarget(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
        "wait_event_type = 'Lock'",
        std::to_string(count));
  }
};

TEST_F(ApplyRetries, ADeadlockOnTheTargetCostsNothingButTime) {
  Serve();
  WaitApplied();
  if (HasFatalFailure()) return;
  const auto first = Connect(target_url());
  const auto second = Connect(target_url());
  ASSERT_TRUE(first != nullptr && second != nullptr);
  // Only the sink looks for deadlocks, and when it meets the second lock.
  ASSERT_TRUE(first->Execute("BEGIN; SELECT FROM b FOR UPDATE").ok());
  ASSERT_TRUE(second->Execute("SET deadlock_timeout = '1h'; BEGIN; SELECT FROM c FOR UPDATE").ok());
  Sql("BEGIN; UPDATE a SET n = n + 1; INSERT INTO keyless VALUES (1); UPDATE b SET n = n + 1; "
      "UPDATE c SET n = n + 1; COMMIT");
  ExpectWaiting(1);
  absl::Status opposite;
  std::jthread waits([&] { opposite = second->Execute("SELECT FROM a FOR UPDATE; COMMIT"); });
  ExpectWaiting(2);
  ASSERT_TRUE(first->Execute("COMMIT").ok());
  waits.join();
  EXPECT_TRUE(opposite.ok()) << opposite;
  ExpectLine("SQLSTATE 40P01");
  WaitApplied();
  EXPECT_EQ(AskTarget("SELECT count(*) FROM keyless"), "1");
  StopAndCompare();
}

TEST_F(ApplyRetries, ASerializationFailureIsTriedAgain) {
  // A sequence remembers across what is rolled back.
  OnTarget(
      "CREATE SEQUENCE tries; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
      "IF nextval('public.tries') <= 3 THEN RAISE serialization_failure; END IF; RETURN NEW; END "
      "$$; CREATE TRIGGER fail BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION fail(); ALTER "
      "TABLE a ENABLE ALWAYS TRIGGER fail");
  Serve();
  if (HasFatalFailure()) return;
  Sql("BEGIN; INSERT INTO keyless VALUES (1); UPDATE a SET n = n + 1; COMMIT");
  ExpectLine("SQLSTATE 40001");
  WaitApplied();
  EXPECT_EQ(AskTarget("SELECT last_value FROM tries"), "4");
  EXPECT_EQ(AskTarget("SELECT count(*) FROM keyless"), "1");
  StopAndCompare();
}

TEST_F(ApplyRetries, ASinkThatIsBusySaysHowFarBehindItIs) {
  Serve();
  if (HasFatalFailure()) return;
  constexpr char kApplying[] = R"("message":"applying")";
  std::optional<std::string> line;
  const auto deadline = std::chrono::steady_clock::now() + seconds(60);
  while (!line.has_value() && std::chrono::steady_clock::now() < deadline) {
    Sql("UPDATE a SET n = n + 1");
    line = serve().process().WaitForLine(kApplying, milliseconds(100));
  }
  ASSERT_TRUE(line.has_value()) << serve().process().errors();
  const auto fields = nlohmann::json::parse(*line, nullptr, false);
  ASSERT_TRUE(fields.is_object()) << *line;
  EXPECT_EQ(fields["topic"], name());
  EXPECT_TRUE(ParseLsn(fields["lsn"].get<std::string>()).ok()) << *line;
  const int64_t lag_ms = std::stoll(fields["lag_ms"].get<std::string>());
  EXPECT_GE(lag_ms, 0);
  EXPECT_LT(lag_ms, 60'000);
  EXPECT_GT(std::stoll(fields["changes"].get<std::string>()), 0);
}

}  // namespace
}  // namespace pgc
