#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "base/pause.h"
#include "e2e/dump/order_run.h"
#include "pg/connection.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kPoll{20};
// Of a question, which is asked again then: on a busy machine a connection may be given up. That
// serve still runs is seen at its end.
constexpr std::chrono::seconds kAnswerWait{20};
constexpr int kSharers = 3;

std::string UriOf(const OrderRunOptions& options) {
  return fmt::format("{}/{}", options.topic, options.schema);
}

std::shared_ptr<grpc::Channel> ChannelOf(const std::string& address) {
  return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
}

// One run: the load, the schedule and the comparisons.
class OrderRun {
 public:
  explicit OrderRun(const OrderRunOptions& options)
      : options_(options),
        random_(options.seed),
        controller_(pb::DBLogController::NewStub(
            ChannelOf(options.controller.empty() ? options.gateway : options.controller))),
        store_(pb::DBLogStore::NewStub(ChannelOf(options.gateway))) {}

  std::string Run();

 private:
  bool Dump();
  bool WaitForDumps();
  absl::StatusOr<bool> IsAcknowledged(Lsn lsn);
  bool WaitUntilAcknowledged(Lsn lsn);
  std::string Compare();

  const OrderRunOptions options_;
  std::mt19937_64 random_;
  const std::unique_ptr<pb::DBLogController::Stub> controller_;
  const std::unique_ptr<pb::DBLogStore::Stub> store_;
  std::unique_ptr<Connection> sql_;
  std::unique_ptr<OrderConsumers> consumers_;
  int barriers_ = 0;
};

bool OrderRun::Dump() {
  pb::ScheduleRequest request;
  request.set_uri(UriOf(options_));
  for (const OrderTable& table : OrderTables()) {
    if (!table.has_key && options_.shared) continue;
    pb::TableDump& dump = *request.add_tables();
    dump.set_schema(options_.schema);
    dump.set_table(table.name);
    // A table without a key is dumped as one.
    if (table.has_key) dump.set_pages_per_dump(static_cast<uint32_t>(options_.pages_per_dump));
  }
  grpc::ClientContext context;
  pb::ScheduleResponse response;
  const grpc::Status scheduled = controller_->Schedule(&context, request, &response);
  EXPECT_TRUE(scheduled.ok()) << scheduled.error_message();
  if (!scheduled.ok()) return false;
  if (options_.cool_down > milliseconds(0)) {
    grpc::ClientContext cool_down_context;
    pb::SetScheduleCoolDownRequest cool_down;
    cool_down.set_uri(UriOf(options_));
    cool_down.mutable_duration()->set_nanos(
        static_cast<int32_t>(std::chrono::nanoseconds(options_.cool_down).count()));
    pb::SetScheduleCoolDownResponse cooled;
    EXPECT_TRUE(controller_->SetScheduleCoolDown(&cool_down_context, cool_down, &cooled).ok());
  }
  return WaitForDumps();
}

bool OrderRun::WaitForDumps() {
  const auto deadline = Clock::now() + kOrderWait;
  pb::ControllerStatusResponse status;
  grpc::Status asked;
  while (Clock::now() < deadline && consumers_->error().empty()) {
    grpc::ClientContext context;
    pb::ControllerStatusRequest request;
    request.set_uri(UriOf(options_));
    context.set_deadline(std::chrono::system_clock::now() + kAnswerWait);
    asked = controller_->Status(&context, request, &status);
    if (asked.ok() && !status.scheduled()) {
      EXPECT_EQ(status.jobs_failed(), 0U) << status.ShortDebugString();
      return status.jobs_failed() == 0;
    }
    Pause(kPoll, {});
  }
  ADD_FAILURE() << "the dumps are not done: " << consumers_->error() << " " << asked.error_message()
                << " " << status.ShortDebugString() << "; " << consumers_->Counts();
  return false;
}

absl::StatusOr<bool> OrderRun::IsAcknowledged(Lsn lsn) {
  grpc::ClientContext context;
  pb::ListTopicsResponse topics;
  context.set_deadline(std::chrono::system_clock::now() + kAnswerWait);
  const grpc::Status asked = store_->ListTopics(&context, {}, &topics);
  if (!asked.ok()) return absl::UnavailableError(asked.error_message());
  for (const pb::StoreTopic& topic : topics.topics()) {
    if (topic.name() != options_.topic) continue;
    for (const pb::StoreSubscription& subscription : topic.subscriptions()) {
      if (subscription.name() == options_.schema && subscription.acknowledged().lsn() > lsn.value) {
        return true;
      }
    }
  }
  return false;
}

// What was requeued comes again later, so having seen the last event is not enough.
bool OrderRun::WaitUntilAcknowledged(Lsn lsn) {
  OrderRunOptions::IsAcknowledged is_acknowledged = [this, lsn] { return IsAcknowledged(lsn); };
  if (options_.acknowledgement) is_acknowledged = options_.acknowledgement();
  const auto deadline = Clock::now() + kOrderWait;
  absl::StatusOr<bool> done = false;
  while (Clock::now() < deadline && consumers_->error().empty()) {
    done = is_acknowledged();
    if (done.ok() && *done) return true;
    Pause(kPoll, {});
  }
  ADD_FAILURE() << "the changes up to " << ToString(lsn)
                << " are not acknowledged: " << consumers_->error() << " " << done.status() << "; "
                << consumers_->Counts();
  return false;
}

std::string OrderRun::Compare() {
  const auto end = sql_->Query("SELECT pg_current_wal_insert_lsn()");
  EXPECT_TRUE(end.ok()) << end.status();
  if (!end.ok()) return {};
  const absl::Status written = sql_->Execute(
      fmt::format("INSERT INTO {}.barrier VALUES ({})", options_.schema, ++barriers_));
  EXPECT_TRUE(written.ok()) << written;
  if (!consumers_->WaitForBarrier(barriers_)) return {};
  if (options_.shared && !WaitUntilAcknowledged(*ParseLsn(end->Text(0, 0)))) return {};
  std::string differences;
  for (size_t i = 0; i < OrderTables().size(); ++i) {
    const OrderTable& table = OrderTables()[i];
    if (!table.has_key && options_.shared) continue;
    const auto rows = sql_->Query(SelectOrderRows(options_.schema, table));
    EXPECT_TRUE(rows.ok()) << rows.status();
    if (!rows.ok()) return {};
    OrderRows expected;
    for (int row = 0; row < rows->rows(); ++row) expected.insert(std::string(rows->Text(row, 0)));
    EXPECT_FALSE(expected.empty()) << "nothing is compared";
    differences += DifferenceOf(table, expected, consumers_->RowsOf(i));
  }
  return differences;
}

std::string OrderRun::Run() {
  auto sql = Connection::Open(options_.source);
  EXPECT_TRUE(sql.ok()) << sql.status();
  if (!sql.ok()) return {};
  sql_ = *std::move(sql);
  EXPECT_TRUE(sql_->Execute("SET synchronous_commit = local").ok());
  consumers_ = std::make_unique<OrderConsumers>(options_);
  std::vector<std::string> vacuumed{options_.source};
  if (!options_.replica.empty()) vacuumed.push_back(options_.replica);
  OrderLoad load({.url = options_.source,
                  .vacuumed = std::move(vacuumed),
                  .schema = options_.schema,
                  .seed = options_.seed,
                  .writers = options_.writers,
                  .moves_bring_all = options_.shared && !options_.has_old_rows,
                  .moves_in_bursts = options_.moves_in_bursts,
                  .consumed = [this] { return consumers_->newest(); }});
  for (int round = 0; round < options_.rounds; ++round) {
    Pause(milliseconds(random_() % 100), {});
    consumers_->AllowRequeues(options_.shared ? 2 : 0);
    if (!Dump()) return {};
    load.Pause();
    const std::string differences = Compare();
    if (!differences.empty() || testing::Test::HasFailure()) {
      return differences.empty() ? differences
                                 : fmt::format("after dump {}: {}", round + 1, differences);
    }
    // One that has lost what it had begins anew.
    if (!options_.shared && random_() % 2 == 0) consumers_->Clear();
    load.Resume();
  }
  return {};
}

}  // namespace

OrderConsumers::OrderConsumers(const OrderRunOptions& options) : options_(options) {
  for (const OrderTable& table : OrderTables()) {
    copies_.push_back(options.shared ? NewCopyByVersion(table) : NewCopyByArrival(table));
  }
  const int sessions = options.shared ? kSharers : 1;
  for (int i = 0; i < sessions; ++i) {
    threads_.emplace_back([this, seed = options.seed * 8 + static_cast<uint64_t>(i)](
                              const std::stop_token& stop) { Consume(stop, seed); });
  }
  MutexLock lock(mutex_);
  while (attached_ < sessions && error_.empty()) changed_.Wait(mutex_);
}

OrderConsumers::~OrderConsumers() {
  for (std::jthread& thread : threads_) thread.request_stop();
}

void OrderConsumers::Consume(const std::stop_token& stop, uint64_t seed) {
  std::mt19937_64 random(seed);
  CaptureClientOptions options{
      .gateway = options_.gateway, .uri = UriOf(options_), .parameters = {}};
  auto& parameters = *options.parameters.mutable_fields();
  parameters["SchemaRegex"].set_string_value(fmt::format("^{}$", options_.schema));
  parameters["Batched"].set_bool_value(random() % 2 == 0);
  const auto client = CaptureClient::Open(options, stop);
  const auto end = [this](const absl::Status& status) {
    MutexLock lock(mutex_);
    error_ = status.ToString();
    changed_.NotifyAll();
  };
  if (!client.ok()) return end(client.status());
  {
    MutexLock lock(mutex_);
    ++attached_;
    changed_.NotifyAll();
  }
  CaptureBatch batch;
  while (true) {
    absl::Status status = (*client)->NextBatch(batch, stop);
    if (stop.stop_requested()) break;
    for (size_t i = 0; i < batch.size() && status.ok(); ++i) {
      status = Take(batch[i], random) ? (*client)->Ack(batch[i].checkpoint())
                                      : (*client)->Requeue(batch[i].checkpoint(), "once more");
    }
    if (!status.ok()) return end(status);
  }
}

// A requeued dump costs the uri a rest of seconds, a requeued change one.
bool OrderConsumers::MayRequeue(const pb::CaptureMessage& message, std::mt19937_64& random) {
  if (!options_.shared || message.change().table() == "barrier") return false;
  const bool is_of_dump = IsRowOfDump(message) || IsRepeat(message);
  if (random() % (is_of_dump ? 100 : 50) != 0) return false;
  return !is_of_dump || requeues_left_-- > 0;
}

bool OrderConsumers::Take(const pb::CaptureMessage& message, std::mt19937_64& random) {
  MutexLock lock(mutex_);
  const pb::Change& change = message.change();
  if (!IsRowOfDump(message) && !IsRepeat(message)) {
    newest_ = std::max(newest_, Lsn{message.checkpoint().lsn()});
  }
  const bool again = MayRequeue(message, random);
  requeues_ += again ? 1 : 0;
  // What is to come again may have been taken as well.
  if (again && random() % 2 == 0) return false;
  if (change.table() == "barrier") {
    ++barrier_;
    changed_.NotifyAll();
  }
  (IsRowOfDump(message) ? rows_ : IsRepeat(message) ? repeats_ : changes_) += 1;
  if (IsRepeat(message) && options_.leaves_out_repeats) return true;
  for (size_t i = 0; i < copies_.size(); ++i) {
    if (OrderTables()[i].name == change.table()) copies_[i]->Apply(message);
  }
  return !again;
}

bool OrderConsumers::WaitForBarrier(int number) {
  MutexLock lock(mutex_);
  const auto deadline = Clock::now() + kOrderWait;
  while (barrier_ < number && error_.empty()) {
    if (changed_.WaitUntil(mutex_, deadline)) continue;
    ADD_FAILURE() << "the consumer does not come to barrier " << number;
    return false;
  }
  EXPECT_EQ(error_, "");
  return error_.empty();
}

Lsn OrderConsumers::newest() {
  MutexLock lock(mutex_);
  return newest_;
}

OrderRows OrderConsumers::RowsOf(size_t table) {
  MutexLock lock(mutex_);
  return copies_[table]->rows();
}

void OrderConsumers::Clear() {
  MutexLock lock(mutex_);
  for (const auto& copy : copies_) copy->Clear();
}

void OrderConsumers::AllowRequeues(int count) {
  MutexLock lock(mutex_);
  requeues_left_ = count;
}

std::string OrderConsumers::error() {
  MutexLock lock(mutex_);
  return error_;
}

std::string OrderConsumers::Counts() {
  MutexLock lock(mutex_);
  return fmt::format("taken: {} changes, {} rows of dumps, {} repeats; {} requeued", changes_,
                     rows_, repeats_, requeues_);
}

std::string RunOrder(const OrderRunOptions& options) { return OrderRun(options).Run(); }

}  // namespace pgc
