// What the tests of dumps in a stream share: a log with keys, an agent and a consumer that do as
// they are told, and all that stands between them, over real connections.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/pause.h"
#include "controller/controller_service.h"
#include "event/encoder.h"
#include "gateway/consumer_testing.h"
#include "gateway/dump_injector.h"
#include "gateway/listener.h"
#include "gateway/resolver.h"
#include "gateway/server.h"
#include "pgcapture.grpc.pb.h"
#include "store/memory_store.h"
#include "store/store_testing.h"
#include "testing/environment.h"

namespace pgc {

// A test that hangs fails after this.
inline constexpr std::chrono::seconds kDumpDeadline{60};

// Asks until it is so; a pause in between. Where nothing tells.
inline bool AskUntil(const std::function<bool()>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + kDumpDeadline;
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    Pause(std::chrono::milliseconds(5), {});
  }
  return true;
}

// A channel that takes messages of any size.
inline std::shared_ptr<grpc::Channel> WideChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// --- the log

// Writes transactions into a topic, at the LSNs that a test says. Tables are in the schema `public`
// and have the columns id int4, which is their key, and note text. Not thread-safe.
class DumpLog {
 public:
  struct Change {
    Operation op = Operation::kInsert;
    std::string table = "t";
    int32_t id = 0;
    std::optional<std::string> note = {};  // not sent without one
    std::optional<int32_t> from_id = {};   // an UPDATE moves the row from there
  };

  explicit DumpLog(EventStore& store) : writer_(store, "pgcapture") {}

  // Adds a transaction that commits at `lsn`; Write makes it durable.
  DumpLog& Add(uint64_t lsn, const std::vector<Change>& changes) {
    EncodeBegin(stream_, Lsn{lsn}, {}, 7);
    uint32_t seq = 0;
    for (const Change& change : changes) Encode(change, {.lsn = Lsn{lsn}, .seq = ++seq});
    EncodeCommit(stream_, {.lsn = Lsn{lsn}, .seq = seq + 1}, Lsn{lsn + 1}, {});
    captured_ = lsn;
    return *this;
  }
  // An INSERT of a row whose note says what it is.
  DumpLog& Add(uint64_t lsn, std::string_view note, std::string_view table = "t") {
    return Add(lsn, {{.table = std::string(table), .id = 1, .note = std::string(note)}});
  }
  DumpLog& AddTruncate(uint64_t lsn, std::string_view table) {
    const TableName tables[] = {{.schema = "public", .name = table}};
    EncodeBegin(stream_, Lsn{lsn}, {}, 7);
    EXPECT_TRUE(EncodeTruncate(stream_, tables, {}, {.lsn = Lsn{lsn}, .seq = 1}).ok());
    EncodeCommit(stream_, {.lsn = Lsn{lsn}, .seq = 2}, Lsn{lsn + 1}, {});
    captured_ = lsn;
    return *this;
  }
  DumpLog& AddLogicalMessage(uint64_t lsn) {
    EXPECT_TRUE(EncodeLogicalMessage(stream_, "p", {}, false, {.lsn = Lsn{lsn}, .seq = 0}).ok());
    captured_ = lsn;
    return *this;
  }
  void Write() { WriteUpTo(captured_); }
  // With this position captured.
  void WriteUpTo(uint64_t captured) {
    auto blocks = stream_.TakeFull();
    if (auto block = stream_.Flush(); block != nullptr) blocks.push_back(std::move(block));
    writer_.AppendAndWait(MakeBatch(std::move(blocks), captured));
  }

 private:
  static std::string IdBytes(int32_t id) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(id >> shift);
    return bytes;
  }
  static FieldValue Value(std::string_view bytes) {
    return {.kind = FieldValue::Kind::kBinary,
            .bytes = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}};
  }
  void Encode(const Change& change, const Checkpoint& checkpoint) {
    const TableEncoder::Column columns[] = {{.name = "id", .type_oid = 23, .is_key = true},
                                            {.name = "note", .type_oid = 25}};
    const std::string id = IdBytes(change.id);
    const std::string old_id = IdBytes(change.from_id.value_or(change.id));
    const FieldValue row[] = {Value(id), change.note ? Value(*change.note) : FieldValue()};
    const FieldValue key[] = {Value(old_id), FieldValue()};
    const bool is_delete = change.op == Operation::kDelete;
    const bool has_old = is_delete || change.from_id;
    TableEncoder encoder({.schema = "public", .name = change.table}, columns);
    EXPECT_TRUE(encoder
                    .Encode(stream_, change.op,
                            is_delete ? std::span<const FieldValue>() : std::span(row),
                            has_old ? std::span(key) : std::span<const FieldValue>(), checkpoint)
                    .ok());
  }

  TestWriter writer_;
  BlockStream stream_;
  uint64_t captured_ = 0;
};

// --- the agent

inline pb::Change DumpRow(std::string_view note, std::string_view table = "t") {
  pb::Change change;
  change.set_op(pb::Change::UPDATE);
  change.set_schema("public");
  change.set_table(std::string(table));
  pb::Field& id = *change.add_new_();
  id.set_name("id");
  id.set_oid(23);
  id.set_binary(std::string("\0\0\0\1", 4));
  pb::Field& text = *change.add_new_();
  text.set_name("note");
  text.set_oid(25);
  text.set_binary(std::string(note));
  return change;
}

// What an agent says of a dump: R, and U where it matters.
struct DumpHead {
  uint64_t applied = 0;
  uint64_t upper = 0;
  bool sweep_needed = false;
  bool no_key = false;
  std::string table = "t";
};

inline pb::AgentDumpResponse DumpAnswer(const DumpHead& head, const std::vector<std::string>& rows,
                                        bool last = true) {
  pb::AgentDumpResponse answer;
  answer.set_applied_lsn(head.applied);
  answer.set_upper_lsn(head.upper);
  answer.set_system_identifier(77);
  answer.set_snapshot("500:510:505");
  answer.set_relfilenode(16'384);
  answer.set_pages(10);
  answer.set_sweep_needed(head.sweep_needed);
  answer.set_no_key(head.no_key);
  if (!head.table.empty()) answer.set_schema("public");
  answer.set_table(head.table);
  for (const std::string& row : rows) *answer.add_change() = DumpRow(row, head.table);
  answer.set_last(last);
  return answer;
}

// Answers each call by a script, on a thread of gRPC's, which may wait. Thread-safe.
class ScriptedAgent final : public pb::Agent::Service {
 public:
  struct Call {
    const pb::AgentDumpRequest& request;
    const std::function<bool(const pb::AgentDumpResponse&)> send;  // false: nobody listens
    const std::function<bool(const pb::Change&)> send_row;         // of StreamDump
    const std::function<bool()> is_cancelled;

    // Ends when the caller does not want it any more.
    grpc::Status WaitUntilCancelled() const {
      EXPECT_TRUE(AskUntil(is_cancelled));
      return grpc::Status::CANCELLED;
    }
  };
  using Script = std::function<grpc::Status(const Call&)>;

  // All rows at once.
  static Script Answers(const DumpHead& head, const std::vector<std::string>& rows) {
    return [head, rows](const Call& call) {
      call.send(DumpAnswer(head, rows));
      return grpc::Status::OK;
    };
  }
  static Script Fails(grpc::StatusCode code, const std::string& why) {
    return [code, why](const Call&) { return grpc::Status(code, why); };
  }

  ScriptedAgent()
      : listener_(*Listener::Start({.address = "127.0.0.1:0", .health_names = {}}, {this})) {}
  ~ScriptedAgent() override { listener_.reset(); }

  std::shared_ptr<grpc::Channel> channel() const { return WideChannel(listener_->address()); }
  // Without a socket.
  std::shared_ptr<grpc::Channel> near_channel() const { return listener_->InProcessChannel(); }

  // For the calls to come, one each; the last for all further ones.
  void Pages(std::vector<Script> scripts) {
    MutexLock lock(mutex_);
    pages_.assign(scripts.begin(), scripts.end());
  }
  void Stream(Script script) {
    MutexLock lock(mutex_);
    stream_ = std::move(script);
  }

  // Of the schema `public`; without any, nobody can list them.
  void Tables(std::vector<std::string> tables) {
    MutexLock lock(mutex_);
    tables_ = std::move(tables);
  }

  // Of all calls so far.
  std::vector<pb::AgentDumpRequest> requests() const {
    MutexLock lock(mutex_);
    return requests_;
  }
  bool WaitForRequests(size_t count) const {
    MutexLock lock(mutex_);
    return WaitFor([&]() PGC_REQUIRES(mutex_) { return requests_.size() >= count; });
  }
  // Of calls that have ended.
  bool WaitForEnds(size_t count) const {
    MutexLock lock(mutex_);
    return WaitFor([&]() PGC_REQUIRES(mutex_) { return ends_ >= count; });
  }

  // Called on each call of ListTables, before it is answered.
  void BeforeTables(std::function<void()> before) {
    MutexLock lock(mutex_);
    before_tables_ = std::move(before);
  }
  bool WaitForTablesAsked(size_t count) const {
    MutexLock lock(mutex_);
    return WaitFor([&]() PGC_REQUIRES(mutex_) { return tables_asked_ >= count; });
  }

  grpc::Status ListTables(grpc::ServerContext* /*context*/,
                          const pb::ListTablesRequest* /*request*/,
                          pb::ListTablesResponse* response) override {
    std::function<void()> before;
    {
      MutexLock lock(mutex_);
      ++tables_asked_;
      changed_.NotifyAll();
      before = before_tables_;
    }
    if (before) before();
    MutexLock lock(mutex_);
    if (tables_.empty()) return {grpc::StatusCode::UNAVAILABLE, "no server to dump from"};
    for (const std::string& name : tables_) {
      auto& table = *response->add_tables();
      table.set_schema("public");
      table.set_table(name);
      table.set_published_schema("public");
      table.set_published_table(name);
    }
    return grpc::Status::OK;
  }
  grpc::Status DumpPages(grpc::ServerContext* context, const pb::AgentDumpRequest* request,
                         grpc::ServerWriter<pb::AgentDumpResponse>* writer) override {
    Script script;
    {
      MutexLock lock(mutex_);
      Called(*request);
      if (pages_.empty()) return {grpc::StatusCode::UNIMPLEMENTED, "no such method"};
      script = pages_.front();
      if (pages_.size() > 1) pages_.pop_front();
    }
    return End(script({.request = *request,
                       .send = [&](const auto& answer) { return writer->Write(answer); },
                       .send_row = nullptr,
                       .is_cancelled = [&] { return context->IsCancelled(); }}));
  }
  grpc::Status StreamDump(grpc::ServerContext* context, const pb::AgentDumpRequest* request,
                          grpc::ServerWriter<pb::Change>* writer) override {
    Script script;
    {
      MutexLock lock(mutex_);
      Called(*request);
      script = stream_;
    }
    return End(script({.request = *request,
                       .send = nullptr,
                       .send_row = [&](const auto& row) { return writer->Write(row); },
                       .is_cancelled = [&] { return context->IsCancelled(); }}));
  }

 private:
  void Called(const pb::AgentDumpRequest& request) PGC_REQUIRES(mutex_) {
    requests_.push_back(request);
    changed_.NotifyAll();
  }
  grpc::Status End(const grpc::Status& status) {
    MutexLock lock(mutex_);
    ++ends_;
    changed_.NotifyAll();
    return status;
  }
  template <typename Ready>
  bool WaitFor(Ready ready) const PGC_REQUIRES(mutex_) {
    return changed_.WaitUntil(mutex_, {}, std::chrono::steady_clock::now() + kDumpDeadline, ready);
  }

  mutable Mutex mutex_;
  mutable CondVar changed_;
  std::deque<Script> pages_ PGC_GUARDED_BY(mutex_);
  Script stream_ PGC_GUARDED_BY(mutex_);
  std::vector<std::string> tables_ PGC_GUARDED_BY(mutex_);
  std::vector<pb::AgentDumpRequest> requests_ PGC_GUARDED_BY(mutex_);
  size_t ends_ PGC_GUARDED_BY(mutex_) = 0;
  std::function<void()> before_tables_ PGC_GUARDED_BY(mutex_);
  size_t tables_asked_ PGC_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Listener> listener_;  // last to be made: it uses the others
};

// --- the controller

// On a port of its own, which it has again when it comes back.
class TestController {
 public:
  TestController() { Start(); }
  ~TestController() { Stop(); }
  TestController(const TestController&) = delete;
  TestController& operator=(const TestController&) = delete;

  // From the next start on.
  void KeepIn(const std::filesystem::path& data_dir) { data_dir_ = data_dir; }
  void Start() {
    auto service = ControllerService::Open(
        {.data_dir = data_dir_, .max_tries = kMaxTries, .default_name = {}});
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = *std::move(service);
    auto listener = Listener::Start({.address = address_, .health_names = {}}, {service_.get()});
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    address_ = listener_->address();
  }
  void Stop() {
    if (service_ != nullptr) service_->Shutdown();
    listener_.reset();
    service_.reset();
  }
  std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
  }

  static constexpr uint32_t kMaxTries = 3;

 private:
  std::filesystem::path data_dir_;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<ControllerService> service_;
  std::unique_ptr<Listener> listener_;
};

// --- the gateway

// A store's consumer; tells when it was asked for events, and whether there were any. With
// PGCAPTURE_SLOW_LOG, it opens readers and is closed as one of a store is that may let them wait.
class WatchedConsumer final : public ForwardingConsumer {
 public:
  WatchedConsumer(std::unique_ptr<EventConsumer> consumer, std::function<void(bool)> asked)
      : ForwardingConsumer(std::move(consumer)), asked_(std::move(asked)) {}

  absl::StatusOr<std::optional<EventSlice>> TryNext() override {
    auto slice = consumer_->TryNext();
    asked_(slice.ok() && slice->has_value());
    return slice;
  }
  bool IsRemote() const override { return FromEnvironment("PGCAPTURE_SLOW_LOG", 0) != 0; }
  ReaderOpener SlowReader(const ReaderStart& start) const override {
    if (!IsRemote()) return nullptr;
    return [consumer = consumer_, start] {
      Pause(std::chrono::milliseconds(20), {});
      return consumer->OpenReader(start);
    };
  }

 private:
  const std::function<void(bool)> asked_;
};

// Thread-safe; `sources` and `tells_new` are set before the first call.
class DumpResolver final : public StoreResolver {
 public:
  explicit DumpResolver(EventStore& store) : StoreResolver(store) {}

  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) override {
    auto consumer = StoreResolver::OpenConsumer(uri, options);
    if (!consumer.ok()) return consumer;
    return std::make_unique<WatchedConsumer>(*std::move(consumer), [this](bool any) {
      MutexLock lock(mutex_);
      ++asked_;
      if (any) ++given_;
      changed_.NotifyAll();
    });
  }
  absl::StatusOr<bool> IsNew(std::string_view uri) override {
    if (!tells_new) return absl::UnimplementedError("not to be had of this store");
    return StoreResolver::IsNew(uri);
  }
  DumpSources Dumps(std::string_view /*uri*/) override { return sources; }

  // Waits until the sessions have looked for events so many times more.
  bool WaitForLooks(int count) {
    MutexLock lock(mutex_);
    const int until = asked_ + count;
    return changed_.WaitUntil(mutex_, {}, std::chrono::steady_clock::now() + kDumpDeadline,
                              [&]() PGC_REQUIRES(mutex_) { return asked_ >= until; });
  }

  // How often events were given to the sessions.
  int given() {
    MutexLock lock(mutex_);
    return given_;
  }
  bool WaitUntilGiven(int count) {
    MutexLock lock(mutex_);
    return changed_.WaitUntil(mutex_, {}, std::chrono::steady_clock::now() + kDumpDeadline,
                              [&]() PGC_REQUIRES(mutex_) { return given_ >= count; });
  }

  DumpSources sources;
  bool tells_new = true;  // which subscriptions are

 private:
  Mutex mutex_;
  CondVar changed_;
  int given_ PGC_GUARDED_BY(mutex_) = 0;
  int asked_ PGC_GUARDED_BY(mutex_) = 0;
};

// --- the consumer

// What a message is, for people: `a` an event, `again a` a repeat, `row r` and `last row r` those
// of a dump.
inline std::string Describe(const pb::CaptureMessage& message) {
  const pb::Checkpoint& checkpoint = message.checkpoint();
  std::string what = "truncate";
  if (message.has_change()) {
    const pb::Change& change = message.change();
    what = change.new__size() == 2   ? change.new_(1).binary()
           : change.new__size() == 1 ? "moved"
                                     : "deleted";
  }
  if (checkpoint.lsn() == 0) {
    return (checkpoint.data() == std::string("\x01", 1) ? "last row " : "row ") + what;
  }
  return (DumpRepeats::Parse(checkpoint.data()) ? "again " : "") + what;
}

// A call of Capture. One thread uses it.
class DumpConsumer {
 public:
  using Parameters = std::map<std::string, google::protobuf::Value>;

  // Returns when it is attached, unless it is not to wait for that.
  DumpConsumer(const std::string& address, const std::string& uri, const Parameters& parameters,
               bool waits = true)
      : stub_(pb::DBLogGateway::NewStub(WideChannel(address))) {
    context_.set_deadline(std::chrono::system_clock::now() + kDumpDeadline);
    stream_ = stub_->Capture(&context_);
    pb::CaptureRequest request;
    request.mutable_init()->set_uri(uri);
    for (const auto& [name, value] : parameters) {
      (*request.mutable_init()->mutable_parameters()->mutable_fields())[name] = value;
    }
    stream_->Write(request);
    if (waits) WaitUntilAttached();
  }
  // Goes away without a word, unless it was closed.
  ~DumpConsumer() {
    context_.TryCancel();
    if (stream_ != nullptr) (void)stream_->Finish();
  }
  DumpConsumer(const DumpConsumer&) = delete;
  DumpConsumer& operator=(const DumpConsumer&) = delete;

  void WaitUntilAttached() { stream_->WaitForInitialMetadata(); }
  pb::CaptureMessage Next() {
    if (here_.empty()) {
      pb::CaptureMessage message;
      EXPECT_TRUE(stream_->Read(&message)) << "the session ended, or nothing came";
      most_in_one_ = std::max(most_in_one_, 1 + message.more_size());
      std::vector<pb::CaptureMessage> more(message.more().begin(), message.more().end());
      message.clear_more();
      here_.push_back(std::move(message));
      here_.insert(here_.end(), more.begin(), more.end());
    }
    pb::CaptureMessage next = std::move(here_.front());
    here_.pop_front();
    return next;
  }
  std::vector<pb::CaptureMessage> Read(size_t count) {
    std::vector<pb::CaptureMessage> messages;
    for (size_t i = 0; i < count && !testing::Test::HasFailure(); ++i) messages.push_back(Next());
    return messages;
  }
  // The next ones, described; each is acknowledged before the one after it is read.
  std::vector<std::string> Take(size_t count) {
    std::vector<std::string> texts;
    for (size_t i = 0; i < count && !testing::Test::HasFailure(); ++i) {
      const pb::CaptureMessage message = Next();
      texts.push_back(Describe(message));
      Ack(message);
    }
    return texts;
  }
  void Ack(const pb::CaptureMessage& message) { Answer(message, ""); }
  void Requeue(const pb::CaptureMessage& message) { Answer(message, "not now"); }
  void Answer(const pb::CaptureMessage& message, const std::string& requeue_reason) {
    pb::CaptureRequest request;
    *request.mutable_ack()->mutable_checkpoint() = message.checkpoint();
    request.mutable_ack()->set_requeue_reason(requeue_reason);
    EXPECT_TRUE(stream_->Write(request));
  }
  // What the session ends with once this side is closed.
  grpc::Status Close() {
    stream_->WritesDone();
    pb::CaptureMessage message;
    while (stream_->Read(&message)) {
    }
    grpc::Status status = stream_->Finish();
    stream_ = nullptr;
    return status;
  }
  // Events in the largest message so far.
  int most_in_one() const { return most_in_one_; }

 private:
  const std::unique_ptr<pb::DBLogGateway::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::CaptureRequest, pb::CaptureMessage>> stream_;
  std::deque<pb::CaptureMessage> here_;
  int most_in_one_ = 0;
};

inline std::vector<std::string> Describe(const std::vector<pb::CaptureMessage>& messages) {
  std::vector<std::string> texts;
  for (const pb::CaptureMessage& message : messages) texts.push_back(Describe(message));
  return texts;
}

inline google::protobuf::Value BoolValue(bool yes) {
  google::protobuf::Value value;
  value.set_bool_value(yes);
  return value;
}
inline google::protobuf::Value TextValue(const std::string& text) {
  google::protobuf::Value value;
  value.set_string_value(text);
  return value;
}
inline google::protobuf::Value NumberValue(double number) {
  google::protobuf::Value value;
  value.set_number_value(number);
  return value;
}

// --- all of it

class DumpsTest : public testing::Test {
 protected:
  static constexpr char kUri[] = "pgcapture/a";

  // Called once; with the sources that the resolver has, or all of the agents.
  void Serve() {
    DumpSources& sources = resolver_.sources;
    if (sources.controller == nullptr) sources.controller = controller_.channel();
    if (sources.agents.empty()) {
      for (const auto& agent : agents_) sources.agents.push_back(agent->channel());
    }
    auto started = GatewayServer::Start({.address = "127.0.0.1:0"}, resolver_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }
  std::unique_ptr<DumpConsumer> Open(const DumpConsumer::Parameters& parameters = {},
                                     const std::string& uri = kUri) {
    if (server_ == nullptr) Serve();
    return std::make_unique<DumpConsumer>(server_->address(), uri, parameters);
  }

  // Schedules a dump for each of these tables.
  void Schedule(const std::vector<std::string>& tables = {"t"}) {
    pb::ScheduleRequest request;
    request.set_uri(kUri);
    for (const std::string& table : tables) {
      pb::DumpInfoResponse& dump = *request.add_dumps();
      dump.set_schema("public");
      dump.set_table(table);
      dump.set_page_end(9);
    }
    Schedule(request);
  }
  void Schedule(const pb::ScheduleRequest& request) {
    grpc::ClientContext context;
    pb::ScheduleResponse response;
    const grpc::Status status = Controller()->Schedule(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  pb::ControllerStatusResponse Status() {
    grpc::ClientContext context;
    pb::ControllerStatusRequest request;
    request.set_uri(kUri);
    pb::ControllerStatusResponse response;
    const grpc::Status status = Controller()->Status(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  // Of the first job.
  pb::DumpJob Job() {
    const auto status = Status();
    return status.jobs_size() > 0 ? status.jobs(0) : pb::DumpJob();
  }
  bool WaitForJob(const std::function<bool(const pb::DumpJob&)>& is_so) {
    return AskUntil([&] { return is_so(Job()); });
  }
  bool WaitUntilDone() {
    return WaitForJob([](const pb::DumpJob& job) { return job.state() == pb::DumpJob::DONE; });
  }
  bool WaitUntilFailed() {
    return WaitForJob([](const pb::DumpJob& job) { return job.state() == pb::DumpJob::FAILED; });
  }
  // Waits until the rows of a dump are here and its place is ahead of the stream, which has nothing
  // to send: only then does a session look for events again and again, more often than it is woken
  // for what comes.
  bool WaitUntilADumpWaits() { return resolver_.WaitForLooks(12); }

  ScriptedAgent& agent() { return *agents_.front(); }

  const std::unique_ptr<EventStore> store_ = NewMemoryStore();
  DumpLog log_{*store_};
  TestController controller_;
  std::vector<std::unique_ptr<ScriptedAgent>> agents_ = [] {
    std::vector<std::unique_ptr<ScriptedAgent>> agents;
    agents.push_back(std::make_unique<ScriptedAgent>());
    return agents;
  }();
  DumpResolver resolver_{*store_};
  std::unique_ptr<GatewayServer> server_;

 private:
  std::unique_ptr<pb::DBLogController::Stub> Controller() {
    return pb::DBLogController::NewStub(controller_.channel());
  }
};

}  // namespace pgc
