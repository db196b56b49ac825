#include <fmt/format.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <random>
#include <stop_token>
#include <thread>

#include "base/mutex.h"
#include "base/pause.h"
#include "client/capture_client.h"
#include "client/message_text.h"
#include "e2e/dump/dump_fixture.h"
#include "event/lsn.h"
#include "testing/slots.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr char kDumpedProgram[] = PGC_BINARY_DIR "/pgcapture";
constexpr milliseconds kLook{20};

std::unique_ptr<PostgresServer> StartServer() {
  auto server = PostgresServer::Start(
      {{"max_replication_slots", "60"}, {"max_wal_senders", "60"}, {"max_connections", "200"}});
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

std::string AskOf(Connection& connection, const std::string& query) {
  const auto rows = connection.Query(query);
  EXPECT_TRUE(rows.ok()) << rows.status() << "\n" << query;
  if (!rows.ok()) return "?";
  std::string text;
  for (int row = 0; row < rows->rows(); ++row) {
    text += fmt::format("{}{}", row > 0 ? "," : "", rows->Text(row, 0));
  }
  return text;
}

void Do(Connection* connection, const std::string& sql) {
  if (connection == nullptr || testing::Test::HasFatalFailure()) return;
  const absl::Status status = connection->Execute(sql);
  ASSERT_TRUE(status.ok()) << status << "\n" << sql.substr(0, 1000);
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + '\n';
  return all;
}

template <typename Service>
std::unique_ptr<typename Service::Stub> StubOf(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(-1);
  return Service::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

}  // namespace

// --- Servers

PostgresServer& ServedDumps::Source() {
  static const std::unique_ptr<PostgresServer> source = StartServer();
  return *source;
}

PostgresServer& ServedDumps::Replica(size_t number) {
  static std::array<std::unique_ptr<PostgresServer>, kMostReplicas> replicas;
  auto& replica = replicas.at(number);
  if (replica == nullptr) replica = StartServer();
  return *replica;
}

std::unique_ptr<Connection> ServedDumps::Connect(const std::string& url) {
  auto connection = Connection::Open(url);
  EXPECT_TRUE(connection.ok()) << connection.status();
  return connection.ok() ? *std::move(connection) : nullptr;
}

void ServedDumps::SetUp() {
  static int number = 0;
  name_ = fmt::format("dumps_{}", ++number);
  std::vector<PostgresServer*> servers{&Source()};
  for (size_t i = 0; i < replicas_; ++i) servers.push_back(&Replica(i));
  for (PostgresServer* const server : servers) {
    const auto admin = Connect(server->Url("postgres"));
    ASSERT_NE(admin, nullptr);
    ASSERT_NO_FATAL_FAILURE(Do(admin.get(), "CREATE DATABASE " + name_));
  }
  source_sql_ = Connect(source_url());
  for (size_t i = 0; i < replicas_; ++i) replica_sql_.push_back(Connect(replica_url(i)));
  Everywhere("CREATE TABLE marker (n bigint PRIMARY KEY)");
}

void ServedDumps::TearDown() {
  serve_.reset();
  if (source_sql_ == nullptr) return;
  (void)DropSlots(*source_sql_);
}

void ServedDumps::Sql(const std::string& sql) { Do(source_sql_.get(), sql); }

void ServedDumps::OnReplica(const std::string& sql, size_t number) {
  // Its server may have been started again.
  if (!replica_sql_.at(number)->Execute("SELECT").ok()) {
    replica_sql_[number] = Connect(replica_url(number));
  }
  Do(replica_sql_[number].get(), sql);
}

void ServedDumps::Everywhere(const std::string& sql) {
  Sql(sql);
  for (size_t i = 0; i < replicas_; ++i) OnReplica(sql, i);
}

std::string ServedDumps::Ask(const std::string& query) { return AskOf(*source_sql_, query); }
std::string ServedDumps::AskReplica(const std::string& query, size_t number) {
  return AskOf(*replica_sql_.at(number), query);
}

void ServedDumps::MakeTable(const std::string& table, int rows) {
  Everywhere(
      fmt::format("CREATE TABLE {0} (id int PRIMARY KEY, n int NOT NULL, note text) WITH "
                  "(autovacuum_enabled = off); INSERT INTO {0} SELECT g, 0, rpad('row ' || g, 160, "
                  "'.') FROM generate_series(1, {1}) g",
                  table, rows));
}

// --- Programs

void ServedDumps::Serve(std::vector<std::string> flags) {
  for (size_t i = 0; i < replicas_; ++i) {
    flags.insert(flags.end(), {"--replica", replica_url(i)});
  }
  ServeOnly(std::move(flags));
}

void ServedDumps::ServeOnly(std::vector<std::string> flags) {
  if (HasFatalFailure()) return;
  flags.insert(flags.end(), {"--topic", name_, "--no-ddl", "--heartbeat-interval-ms", "200"});
  serve_.emplace(ServeProcess::Options{.program = kDumpedProgram,
                                       .source = source_url(),
                                       .data_dir = folder_.path() / "data",
                                       .flags = std::move(flags),
                                       .wrapper = {}});
  const absl::Status started = serve_->Start();
  ASSERT_TRUE(started.ok()) << started;
}

void ServedDumps::WaitApplied(size_t number) {
  const std::string end = Ask("SELECT pg_current_wal_insert_lsn()");
  Sql("INSERT INTO marker SELECT coalesce(max(n), 0) + 1 FROM marker");
  const std::string query =
      fmt::format("SELECT commit >= '{}' FROM pgcapture.sources WHERE id = '{}'", end, name_);
  const auto deadline = Clock::now() + kDumpWait;
  while (true) {
    const auto row = replica_sql_.at(number)->Query(query);
    if (row.ok() && row->rows() == 1 && row->Bool(0, 0)) return;
    ASSERT_LT(Clock::now(), deadline) << "replica " << number << " has not applied up to " << end
                                      << ": " << serve_->process().errors();
    Pause(kLook, {});
  }
}

std::unique_ptr<Subprocess> ServedDumps::Start(std::vector<std::string> args) {
  args.insert(args.begin(), kDumpedProgram);
  auto process = Subprocess::Start(
      {.args = std::move(args), .environment = {}, .as_postgres = false, .directory = {}});
  EXPECT_TRUE(process.ok()) << process.status();
  return *std::move(process);
}

ServedDumps::Ran ServedDumps::Finish(Subprocess& program) {
  const std::optional<int> code = program.Wait(kDumpWait);
  EXPECT_TRUE(code.has_value()) << "the program has not ended: " << program.errors();
  return {
      .code = code.value_or(-1), .out = Joined(program.output_lines()), .errors = program.errors()};
}

std::unique_ptr<Subprocess> ServedDumps::StartDump(std::vector<std::string> args) {
  args.insert(args.begin(), {"dump", "--controller", serve_->address(), "--log-format", "json"});
  if (std::find(args.begin(), args.end(), "--uri") == args.end()) {
    args.insert(args.end(), {"--uri", name_});
  }
  return Start(std::move(args));
}

ServedDumps::Ran ServedDumps::Dump(std::vector<std::string> args) {
  return Finish(*StartDump(std::move(args)));
}

std::unique_ptr<Subprocess> ServedDumps::StartTail(std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"tail", "--gateway", serve_->address(), "--format", "json",
                               "--log-format", "json"});
  auto tail = Start(std::move(flags));
  EXPECT_TRUE(tail->WaitForLine(R"("message":"reading")", kDumpWait).has_value()) << tail->errors();
  return tail;
}

// --- What is known of a schedule

pb::ControllerStatusResponse ServedDumps::Status(const std::string& uri) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  context.set_wait_for_ready(true);
  pb::ControllerStatusRequest request;
  request.set_uri(uri);
  pb::ControllerStatusResponse response;
  const auto stub = StubOf<pb::DBLogController>(serve_->address());
  (void)stub->Status(&context, request, &response);
  return response;
}

void ServedDumps::WaitStatus(
    const std::string& uri, const std::string& what,
    const std::function<bool(const pb::ControllerStatusResponse&)>& is_so) {
  const auto deadline = Clock::now() + kDumpWait;
  while (true) {
    const auto status = Status(uri);
    if (is_so(status)) return;
    ASSERT_LT(Clock::now(), deadline) << "never was: " << what << "\n"
                                      << status.DebugString() << serve_->process().errors();
    Pause(kLook, {});
  }
}

void ServedDumps::WaitAllAcknowledged(const std::string& subscription) {
  Sql("INSERT INTO marker SELECT coalesce(max(n), 0) + 1 FROM marker");
  const uint64_t end = ParseLsn(Ask("SELECT pg_current_wal_insert_lsn()")).value_or(Lsn{}).value;
  const auto stub = StubOf<pb::DBLogStore>(serve_->address());
  const auto deadline = Clock::now() + kDumpWait;
  while (true) {
    grpc::ClientContext context;
    pb::ListTopicsResponse topics;
    (void)stub->ListTopics(&context, pb::ListTopicsRequest(), &topics);
    for (const auto& topic : topics.topics()) {
      if (topic.name() != name_ || topic.captured_lsn() < end) continue;
      for (const auto& of : topic.subscriptions()) {
        if (of.name() == subscription && of.backlog_events() == 0) return;
      }
    }
    ASSERT_LT(Clock::now(), deadline) << "not all is acknowledged: " << topics.DebugString();
    Pause(kLook, {});
  }
}

std::map<int64_t, std::string> ServedDumps::SourceRows(const std::string& table) {
  std::map<int64_t, std::string> all;
  const auto rows =
      source_sql_->Query(fmt::format("SELECT id, to_jsonb(t) FROM {} t ORDER BY id", table));
  EXPECT_TRUE(rows.ok()) << rows.status();
  for (int row = 0; rows.ok() && row < rows->rows(); ++row) {
    all[rows->Int(row, 0)] = nlohmann::json::parse(rows->Text(row, 1)).dump();
  }
  return all;
}

void ServedDumps::ExpectEqual(const ReceivedTables& received, const std::string& table) {
  const auto expected = SourceRows(table);
  const auto actual = received.Rows(table);
  EXPECT_FALSE(expected.empty()) << table;
  int shown = 0;
  for (const auto& [id, row] : expected) {
    const auto found = actual.find(id);
    if (found != actual.end() && found->second == row) continue;
    if (++shown > 5) break;
    ADD_FAILURE() << table << ": " << row << " is "
                  << (found == actual.end() ? "missing" : found->second);
  }
  for (const auto& [id, row] : actual) {
    if (expected.contains(id)) continue;
    if (++shown > 5) break;
    ADD_FAILURE() << table << ": is not there any more: " << row;
  }
  EXPECT_EQ(expected.size(), actual.size()) << table;
}

// --- A consumer

class DumpsReader::State {
 public:
  explicit State(Options options) : options_(std::move(options)) {
    MutexLock lock(mutex_);
    holds_ = options_.holds;
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        Session(stop);
        Pause(milliseconds(50), stop);
      }
    });
  }

  void Release() {
    MutexLock lock(mutex_);
    holds_ = false;
    (void)AcknowledgeHeld();
  }
  void Leave() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }
  template <typename IsSo>
  bool Wait(IsSo is_so) {
    MutexLock lock(mutex_);
    return changed_.WaitUntil(mutex_, {}, Clock::now() + kDumpWait, is_so);
  }
  bool WaitAttached() {
    return Wait([this]() PGC_REQUIRES(mutex_) { return attached_; });
  }
  bool WaitForDumpRows(size_t count) {
    return Wait([this, count]() PGC_REQUIRES(mutex_) { return dump_rows_ >= count; });
  }
  std::vector<std::string> lines() {
    MutexLock lock(mutex_);
    return lines_;
  }
  size_t dump_rows() {
    MutexLock lock(mutex_);
    return dump_rows_;
  }

 private:
  void Session(const std::stop_token& stop) {
    CaptureClientOptions options{
        .gateway = options_.gateway, .uri = options_.uri, .parameters = {}};
    auto& parameters = *options.parameters.mutable_fields();
    parameters["Batched"].set_bool_value(true);
    if (!options_.from.empty()) parameters["From"].set_string_value(options_.from);
    if (!options_.table_regex.empty()) {
      parameters["TableRegex"].set_string_value(options_.table_regex);
    }
    auto client = CaptureClient::Open(options, stop);
    if (!client.ok()) return;
    {
      MutexLock lock(mutex_);
      client_ = client->get();
      attached_ = true;
      changed_.NotifyAll();
    }
    CaptureBatch batch;
    while ((*client)->NextBatch(batch, stop).ok() && Take(batch)) {
    }
    MutexLock lock(mutex_);
    client_ = nullptr;
    held_.clear();
  }

  // False when the session has ended.
  bool Take(const CaptureBatch& batch) {
    MutexLock lock(mutex_);
    for (size_t i = 0; i < batch.size(); ++i) {
      lines_.push_back(MessageToJson(batch[i]));
      if (batch[i].checkpoint().lsn() == 0) ++dump_rows_;
      held_.push_back(batch[i].checkpoint());
    }
    changed_.NotifyAll();
    return holds_ || AcknowledgeHeld();
  }

  bool AcknowledgeHeld() PGC_REQUIRES(mutex_) {
    if (client_ == nullptr) return false;
    for (const pb::Checkpoint& checkpoint : held_) {
      if (!client_->Ack(checkpoint).ok()) return false;
    }
    held_.clear();
    return true;
  }

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  bool holds_ PGC_GUARDED_BY(mutex_) = false;
  CaptureClient* client_ PGC_GUARDED_BY(mutex_) = nullptr;  // the session's
  bool attached_ PGC_GUARDED_BY(mutex_) = false;
  std::vector<std::string> lines_ PGC_GUARDED_BY(mutex_);
  std::vector<pb::Checkpoint> held_ PGC_GUARDED_BY(mutex_);
  size_t dump_rows_ PGC_GUARDED_BY(mutex_) = 0;
  std::jthread thread_;
};

DumpsReader::DumpsReader(Options options) : state_(std::make_unique<State>(std::move(options))) {}
DumpsReader::~DumpsReader() { Leave(); }
void DumpsReader::Release() { state_->Release(); }
void DumpsReader::Leave() { state_->Leave(); }
bool DumpsReader::WaitAttached() { return state_->WaitAttached(); }
bool DumpsReader::WaitForDumpRows(size_t count) { return state_->WaitForDumpRows(count); }
std::vector<std::string> DumpsReader::lines() const { return state_->lines(); }
size_t DumpsReader::dump_rows() const { return state_->dump_rows(); }

// --- A load

class DumpsLoad::State {
 public:
  State(std::string url, std::vector<std::string> tables, uint64_t seed)
      : url_(std::move(url)), tables_(std::move(tables)), random_(seed) {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }
  size_t Stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    EXPECT_TRUE(status_.ok()) << status_;
    return transactions_;
  }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  void Run(const std::stop_token& stop) {
    auto sql = Connection::Open(url_);
    status_ = sql.status();
    while (status_.ok() && !stop.stop_requested()) {
      std::string transaction = "BEGIN;";
      for (uint64_t i = 0; i <= Below(4); ++i) transaction += Statement();
      status_ = (*sql)->Execute(transaction + "COMMIT");
      ++transactions_;
      Pause(milliseconds(2), stop);
    }
  }

  // Of rows 1 to 200, of which those that move are a million further.
  std::string Statement() {
    const std::string& table = tables_[Below(tables_.size())];
    const uint64_t id = 1 + Below(200);
    const uint64_t moved = id + 1'000'000;
    switch (Below(6)) {
      case 0:
        return fmt::format("DELETE FROM {} WHERE id = {};", table, id);
      case 1:
        return fmt::format("INSERT INTO {} VALUES ({}, {}, 'new') ON CONFLICT DO NOTHING;", table,
                           id, Below(1000));
      case 2:
        return fmt::format(
            "UPDATE {0} SET id = {2} WHERE id = {1} AND NOT EXISTS (SELECT FROM {0} WHERE id = "
            "{2});",
            table, id, moved);
      case 3:
        return fmt::format(
            "UPDATE {0} SET id = {1} WHERE id = {2} AND NOT EXISTS (SELECT FROM {0} WHERE id = "
            "{1});",
            table, id, moved);
      default:
        return fmt::format("UPDATE {} SET n = n + 1, note = 'note {}' WHERE id = {};", table,
                           random_(), id);
    }
  }

  const std::string url_;
  const std::vector<std::string> tables_;
  // Of the thread until it has ended.
  std::mt19937_64 random_;
  absl::Status status_;
  size_t transactions_ = 0;
  std::jthread thread_;
};

DumpsLoad::DumpsLoad(const std::string& url, std::vector<std::string> tables, uint64_t seed)
    : state_(std::make_unique<State>(url, std::move(tables), seed)) {}
DumpsLoad::~DumpsLoad() { (void)state_->Stop(); }
size_t DumpsLoad::Stop() { return state_->Stop(); }

}  // namespace pgc
