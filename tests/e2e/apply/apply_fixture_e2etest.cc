#include <fmt/format.h>

#include <chrono>
#include <cstdlib>

#include "e2e/apply/apply_fixture.h"
#include "testing/slots.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr char kProgram[] = PGC_BINARY_DIR "/pgcapture";
// For a busy machine; what takes longer stands still.
constexpr seconds kWait{120};
constexpr milliseconds kPoll{10};
constexpr char kStopped[] = R"("message":"replica stopped")";

std::string AskOne(Connection* connection, const std::string& query) {
  if (connection == nullptr) return "no connection";
  const auto rows = connection->Query(query);
  EXPECT_TRUE(rows.ok()) << rows.status() << "\n" << query;
  if (!rows.ok()) return "?";
  std::string text;
  for (int row = 0; row < rows->rows(); ++row) {
    text += fmt::format("{}{}", row > 0 ? "," : "", rows->Text(row, 0));
  }
  return text;
}

}  // namespace

std::unique_ptr<PostgresServer> Apply::source_;
std::unique_ptr<PostgresServer> Apply::target_;

std::string ExtensionBin() {
  const char* const given = std::getenv("PGCAPTURE_EXTENSION_BIN");
  return given != nullptr ? given : PGC_SOURCE_DIR "/build/pg/15/usr/lib/postgresql/15/bin";
}

void Apply::SetUpTestSuite() {
  auto source = PostgresServer::StartOf(
      ExtensionBin(), {{"max_replication_slots", "60"}, {"max_wal_senders", "60"}});
  ASSERT_TRUE(source.ok()) << source.status();
  source_ = *std::move(source);
  auto target = PostgresServer::StartOf(ExtensionBin(), {{"deadlock_timeout", "100ms"}});
  ASSERT_TRUE(target.ok()) << target.status();
  target_ = *std::move(target);
  auto admin = Connection::Open(target_->Url("postgres"));
  ASSERT_TRUE(admin.ok()) << admin.status();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE((*admin)->Execute("CREATE TYPE other AS (a int); DROP TYPE other").ok());
  }
}

void Apply::TearDownTestSuite() {
  source_.reset();
  target_.reset();
}

std::unique_ptr<Connection> Apply::Connect(const std::string& url) {
  auto connection = Connection::Open(url);
  EXPECT_TRUE(connection.ok()) << connection.status();
  return connection.ok() ? *std::move(connection) : nullptr;
}

void Apply::SetUp() {
  ASSERT_TRUE(source_ != nullptr && target_ != nullptr);
  static int number = 0;
  name_ = fmt::format("apply_{}", ++number);
  for (const auto* server : {&source_, &target_}) {
    const auto admin = Connect((*server)->Url("postgres"));
    ASSERT_NE(admin, nullptr);
    const absl::Status made = admin->Execute("CREATE DATABASE " + name_);
    ASSERT_TRUE(made.ok()) << made;
  }
  source_sql_ = Connect(source_url());
  target_sql_ = Connect(target_url());
  ASSERT_TRUE(source_sql_ != nullptr && target_sql_ != nullptr);
  Both("CREATE TABLE marker (n bigint PRIMARY KEY)");
}

void Apply::TearDown() {
  serve_.reset();
  if (source_sql_ == nullptr) return;
  (void)DropSlots(*source_sql_);
}

void Apply::Sql(const std::string& sql) {
  if (HasFatalFailure()) return;  // What follows a failure says nothing.
  const absl::Status status = source_sql_->Execute(sql);
  ASSERT_TRUE(status.ok()) << status << "\n" << sql.substr(0, 1000);
}

void Apply::OnTarget(const std::string& sql) {
  if (HasFatalFailure()) return;
  const absl::Status status = target_sql_->Execute(sql);
  ASSERT_TRUE(status.ok()) << "on the target: " << status << "\n" << sql.substr(0, 1000);
}

void Apply::Both(const std::string& sql) {
  Sql(sql);
  OnTarget(sql);
}

std::string Apply::Ask(const std::string& query) {
  return HasFatalFailure() ? "?" : AskOne(source_sql_.get(), query);
}
std::string Apply::AskTarget(const std::string& query) {
  return HasFatalFailure() ? "?" : AskOne(target_sql_.get(), query);
}

void Apply::ExpectTarget(const std::string& query, const std::string& answer) {
  const auto deadline = Clock::now() + kWait;
  std::string got = AskTarget(query);
  while (got != answer && Clock::now() < deadline && !testing::Test::HasFailure()) {
    OnTarget("SELECT pg_sleep(0.01)");
    got = AskTarget(query);
  }
  EXPECT_EQ(got, answer) << query;
}

ServeProcess::Options Apply::ServeOptions(std::vector<std::string> flags) const {
  flags.insert(flags.end(), {"--topic", name_, "--heartbeat-interval-ms", "500"});
  return {.program = kProgram,
          .source = source_url(),
          .data_dir = data_dir(),
          .flags = std::move(flags),
          .wrapper = {}};
}

void Apply::Serve(std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--replica", target_url()});
  ServeWithout(std::move(flags));
}

void Apply::ServeWithout(std::vector<std::string> flags) {
  if (HasFatalFailure()) return;
  serve_.emplace(ServeOptions(std::move(flags)));
  const absl::Status started = serve_->Start();
  ASSERT_TRUE(started.ok()) << started;
}

Lsn Apply::WriteMarker() {
  const Lsn lsn = ParseLsn(Ask("SELECT pg_current_wal_insert_lsn()")).value_or(Lsn{});
  EXPECT_NE(lsn, Lsn{});
  Sql("INSERT INTO public.marker SELECT coalesce(max(n), 0) + 1 FROM public.marker");
  return lsn;
}

// Its row is not there before the sink has begun.
bool Apply::HasApplied(Lsn lsn) {
  const auto row = target_sql_->Query(fmt::format(
      "SELECT commit >= '{}' FROM pgcapture.sources WHERE id = '{}'", ToString(lsn), name_));
  return row.ok() && row->rows() == 1 && row->Bool(0, 0);
}

void Apply::WaitApplied() {
  if (HasFatalFailure()) return;
  const Lsn lsn = WriteMarker();
  WaitApplied(serve_->process(), lsn);
}

void Apply::WaitApplied(Subprocess& process, Lsn lsn) {
  if (HasFatalFailure()) return;
  const auto deadline = Clock::now() + kWait;
  while (!HasApplied(lsn)) {
    // A serve goes on without the replica, and looks seldom whether it has been mended.
    ASSERT_FALSE(process.WaitForLine(kStopped, kPoll).has_value()) << process.errors();
    const auto code = process.Wait(kPoll);
    ASSERT_FALSE(code.has_value()) << "ended with " << *code << ": " << process.errors();
    ASSERT_LT(Clock::now(), deadline)
        << "the target is at " << AskTarget("SELECT to_jsonb(s) FROM pgcapture.sources s")
        << " and should be at " << ToString(lsn) << ": " << process.errors();
  }
}

Lsn Apply::WaitCaptured() {
  const Lsn lsn = WriteMarker();
  const std::string end = Ask("SELECT pg_current_wal_insert_lsn()");
  const auto deadline = Clock::now() + kWait;
  while (Ask(fmt::format(
             "SELECT confirmed_flush_lsn >= '{}' FROM pg_replication_slots WHERE slot_name = '{}'",
             end, name_)) != "t") {
    if (serve_->process().Wait(kPoll).has_value() || Clock::now() > deadline) {
      ADD_FAILURE() << "not captured: " << serve_->process().errors();
      break;
    }
  }
  return lsn;
}

void Apply::Stop() { EXPECT_EQ(serve_->Stop(), 0) << serve_->process().errors(); }

void Apply::StopAndCompare() {
  WaitApplied();
  if (HasFatalFailure()) return;
  Stop();
  ExpectEqual();
}

void Apply::ExpectEqual() {
  if (HasFatalFailure()) return;
  const auto diff = CompareDatabases(source_url(), target_url());
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_EQ(diff->differences, std::vector<std::string>());
  EXPECT_GT(diff->tables, 1u) << "nothing was compared but the marker";
  EXPECT_GT(diff->rows, 1) << "nothing was compared but the marker";
}

void Apply::ExpectEqualSchema() {
  if (HasFatalFailure()) return;
  const auto expected = SchemaOf(ExtensionBin(), source_url());
  const auto actual = SchemaOf(ExtensionBin(), target_url());
  ASSERT_TRUE(expected.ok() && actual.ok()) << expected.status() << actual.status();
  EXPECT_EQ(FirstDifference(*expected, *actual), "");
}

std::unique_ptr<Subprocess> Apply::Program(std::vector<std::string> args) {
  args.insert(args.begin(), kProgram);
  auto process = Subprocess::Start(
      {.args = std::move(args), .environment = {}, .as_postgres = false, .directory = {}});
  EXPECT_TRUE(process.ok()) << process.status();
  return process.ok() ? *std::move(process) : nullptr;
}

std::string Apply::WhyStopped() {
  if (HasFatalFailure()) return "?";
  const auto line = serve_->process().WaitForLine(kStopped, kWait);
  EXPECT_TRUE(line.has_value()) << serve_->process().errors();
  EXPECT_FALSE(serve_->process().Wait(milliseconds(0)).has_value()) << "capture goes on";
  return line.value_or("?");
}

}  // namespace pgc
