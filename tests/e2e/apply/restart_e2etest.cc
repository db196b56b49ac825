// The sink over restarts: of itself, of the target, as a command of its own; several replicas.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <string>

#include "e2e/apply/apply_fixture.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class ApplyRestart : public Apply {
 protected:
  void SetUp() override {
    Apply::SetUp();
    // Nothing hides a row that is applied twice.
    Both(
        "CREATE TABLE keyless (a int, v text); ALTER TABLE keyless REPLICA IDENTITY FULL;"
        "CREATE TABLE counted (id int PRIMARY KEY, n int); INSERT INTO counted SELECT i, 0 FROM "
        "generate_series(1, 10) i");
  }
  void Write(int transactions) {
    for (int i = 0; i < transactions; ++i) {
      Sql(
          fmt::format("INSERT INTO keyless VALUES ({0}, 'v'), ({0}, 'v'); UPDATE counted SET n = n "
                      "+ 1 WHERE id = {1}",
                      i, i % 10 + 1));
    }
    Sql("DELETE FROM keyless WHERE ctid = (SELECT max(ctid) FROM keyless)");
  }
};

TEST_F(ApplyRestart, AReplicaThatWasAwayIsTakenUpAgain) {
  Serve();
  Write(50);
  WaitApplied();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(target_->StopImmediately().ok());
  Write(50);
  EXPECT_FALSE(serve().process().Wait(std::chrono::milliseconds(500)).has_value())
      << serve().process().errors();
  ASSERT_TRUE(target_->Restart().ok());
  ReconnectTarget();
  Write(50);
  WaitApplied();
  // In good order, too.
  ASSERT_TRUE(target_->Restart().ok());
  ReconnectTarget();
  Write(10);
  StopAndCompare();
}

TEST_F(ApplyRestart, AConnectionThatIsCutInTheMiddleIsNotAppliedTwice) {
  Serve();
  for (int i = 0; i < 20; ++i) {
    Write(10);
    OnTarget(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()");
  }
  StopAndCompare();
}

TEST_F(ApplyRestart, AStoppedLogIsAppliedByACommandOfItsOwnAndServedAgain) {
  ServeWithout();
  Write(50);
  Sql("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (1)");
  Lsn end = WaitCaptured();
  Stop();
  for (const char* command : {"apply", "pulsar2pg"}) {
    const auto apply = Program({command, "--store", data_dir().string(), "--topic", name(),
                                "--target", target_url(), "--log-format", "json"});
    WaitApplied(*apply, end);
    if (HasFatalFailure()) return;
    ExpectEqual();
    apply->Signal(SIGTERM);
    EXPECT_EQ(apply->Wait(seconds(20)), 0) << apply->errors();
    ServeWithout();
    Write(50);
    end = WaitCaptured();
    Stop();
  }
  Serve();
  Write(50);
  StopAndCompare();
}

TEST_F(ApplyRestart, SeveralReplicasAreKeptAndOneThatIsAwayHoldsBackNobody) {
  auto other = PostgresServer::StartOf(ExtensionBin(), {});
  ASSERT_TRUE(other.ok()) << other.status();
  const std::string url = (*other)->Url("postgres");
  const auto other_sql = Connect(url);
  ASSERT_NE(other_sql, nullptr);
  const absl::Status made = other_sql->Execute(
      "CREATE TABLE marker (n bigint PRIMARY KEY); CREATE TABLE keyless (a int, v text); CREATE "
      "TABLE counted (id int PRIMARY KEY, n int); INSERT INTO counted SELECT i, 0 FROM "
      "generate_series(1, 10) i");
  ASSERT_TRUE(made.ok()) << made;
  Serve({"--replica", url});
  Write(50);
  WaitApplied();
  ASSERT_TRUE((*other)->StopImmediately().ok());
  Write(50);
  WaitApplied();
  ASSERT_TRUE((*other)->Restart().ok());
  Write(50);
  WaitApplied();
  if (HasFatalFailure()) return;
  const auto deadline = std::chrono::steady_clock::now() + seconds(60);
  absl::StatusOr<DatabaseDiff> diff = CompareDatabases(source_url(), url);
  while (diff.ok() && !diff->differences.empty() && std::chrono::steady_clock::now() < deadline) {
    diff = CompareDatabases(source_url(), url);
  }
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_EQ(diff->differences, std::vector<std::string>());
  StopAndCompare();
}

TEST_F(ApplyRestart, SequencesFollow) {
  Both(
      "CREATE TABLE numbered (id serial PRIMARY KEY, b bigint GENERATED ALWAYS AS IDENTITY);"
      "CREATE SEQUENCE down INCREMENT -5 MAXVALUE 1000 START 1000; CREATE SEQUENCE unused");
  Serve();
  Sql("INSERT INTO numbered SELECT FROM generate_series(1, 100); SELECT nextval('down'), "
      "nextval('down')");
  Sql("CREATE TABLE later (id bigserial PRIMARY KEY); INSERT INTO later DEFAULT VALUES");
  WaitApplied();
  if (HasFatalFailure()) return;
  const auto expected = SequencesOf(source_url());
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_THAT(*expected, HasSubstr("numbered_id_seq 101"));
  const auto deadline = std::chrono::steady_clock::now() + seconds(60);
  absl::StatusOr<std::string> got = SequencesOf(target_url());
  while (got.ok() && *got != *expected && std::chrono::steady_clock::now() < deadline) {
    got = SequencesOf(target_url());
  }
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, *expected);
  StopAndCompare();
}

TEST_F(ApplyRestart, WithTheRoleOriginTriggersOfTheTargetFire) {
  Both("CREATE TABLE t (id int PRIMARY KEY)");
  OnTarget(
      "CREATE TABLE seen (id int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ "
      "BEGIN INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END $$; CREATE TRIGGER note "
      "AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()");
  Serve({"--replication-role", "origin", "--synchronous-commit", "on"});
  Sql("INSERT INTO t SELECT generate_series(1, 10)");
  WaitApplied();
  if (HasFatalFailure()) return;
  EXPECT_EQ(AskTarget("SELECT count(*) FROM seen"), "10");
  Stop();
}

}  // namespace
}  // namespace pgc
