// Gateway and controller as programs of their own, and agents that do not keep to the contract.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <nlohmann/json.hpp>

#include "e2e/dump/dump_fixture.h"
#include "testing/free_port.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Answers every dump with the same messages, whatever they are.
class ScriptedAgent final : public pb::Agent::WithRawCallbackMethod_DumpPages<pb::Agent::Service> {
 public:
  ScriptedAgent(std::vector<std::string> messages, grpc::Status end)
      : messages_(std::move(messages)), end_(std::move(end)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = fmt::format("127.0.0.1:{}", port);
  }
  ~ScriptedAgent() override { server_->Shutdown(std::chrono::system_clock::now()); }

  const std::string& address() const { return address_; }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* DumpPages(grpc::CallbackServerContext*,
                                                        const grpc::ByteBuffer*) override {
    return new Answer(messages_, end_);
  }

 private:
  class Answer final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
   public:
    Answer(const std::vector<std::string>& messages, const grpc::Status& end)
        : messages_(messages), end_(end) {
      OnWriteDone(true);
    }
    void OnWriteDone(bool ok) override {
      if (!ok || next_ == messages_.size()) {
        Finish(end_);
        return;
      }
      const grpc::Slice slice(messages_[next_++]);
      bytes_ = grpc::ByteBuffer(&slice, 1);
      StartWrite(&bytes_);
    }
    void OnDone() override { delete this; }

   private:
    const std::vector<std::string>& messages_;
    const grpc::Status& end_;
    size_t next_ = 0;
    grpc::ByteBuffer bytes_;
  };

  const std::vector<std::string> messages_;
  const grpc::Status end_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

pb::AgentDumpResponse RowOf(const std::string& table, const std::string& id) {
  pb::AgentDumpResponse answer;
  pb::Change& change = *answer.add_change();
  change.set_op(pb::Change::UPDATE);
  change.set_schema("public");
  change.set_table(table);
  pb::Field& field = *change.add_new_();
  field.set_name("id");
  field.set_oid(25);
  field.set_text(id);
  return answer;
}

std::string Bytes(pb::AgentDumpResponse answer, bool is_first, bool is_last) {
  if (is_first) {
    answer.set_applied_lsn(1);
    answer.set_snapshot("10:10:");
    answer.set_system_identifier(77);
    answer.set_relfilenode(5);
    answer.set_pages(1);
  }
  answer.set_last(is_last);
  return answer.SerializeAsString();
}

// Of each agent one uri, with a consumer.
struct AskedAgent {
  std::string uri;
  std::string reason;  // why its table fails; empty: it does not
  std::vector<std::string> messages;
  grpc::Status end;
};

std::vector<AskedAgent> AgentsAndWhatBecomesOfThem() {
  const auto row = [](const char* id) { return RowOf("t", id); };
  std::vector<AskedAgent> agents;
  agents.push_back({"good", "", {Bytes(row("a"), true, false), Bytes(row("b"), false, true)}, {}});
  agents.push_back({"garbage", "is no AgentDumpResponse", {std::string(200, '\xFF')}, {}});
  agents.push_back({"garbage_later",
                    "is no AgentDumpResponse",
                    {Bytes(row("a"), true, false), "\x0A\x7F and less than that"},
                    {}});
  agents.push_back({"no_last", "before its last row", {Bytes(row("a"), true, false)}, {}});
  agents.push_back({"nothing", "before its last row", {}, {}});
  agents.push_back({"two_tables",
                    "rows of two tables",
                    {Bytes(row("a"), true, false), Bytes(RowOf("u", "b"), false, true)},
                    {}});
  agents.push_back({"odd_error",
                    "it is Monday",
                    {Bytes(row("a"), true, false)},
                    {grpc::StatusCode::INTERNAL, "it is Monday"}});
  agents.push_back({"impossible", "never", {}, {grpc::StatusCode::INVALID_ARGUMENT, "never"}});
  return agents;
}

class DumpAgents : public ServedDumps {
 protected:
  DumpAgents() : ServedDumps(/*replicas=*/0) {}
};

TEST_F(DumpAgents, AnAgentThatAnswersGarbageFailsItsTableAndTheChangesGoOn) {
  MakeTable("t", 10);
  ServeOnly({});
  Sql("UPDATE t SET n = 5");
  DumpsReader first({.gateway = serve().address(), .uri = Uri(), .from = "beginning"});
  ASSERT_TRUE(first.WaitAttached());
  WaitAllAcknowledged();
  first.Leave();
  ASSERT_EQ(serve().Stop(), 0);

  const auto asked = AgentsAndWhatBecomesOfThem();
  std::vector<std::unique_ptr<ScriptedAgent>> agents;
  nlohmann::json config;
  for (const AskedAgent& agent : asked) {
    agents.push_back(std::make_unique<ScriptedAgent>(agent.messages, agent.end));
    config[agent.uri] = {{"PulsarURL", (folder().path() / "data").string()},
                         {"PulsarTopic", name()},
                         {"PulsarSubscription", agent.uri},
                         {"AgentURL", {agents.back()->address()}}};
  }
  const FreePort controller_port;
  const std::string controller_address = controller_port.address();
  const auto controller = Start({"controller", "--listen-addr", controller_address, "--data-dir",
                                 (folder().path() / "controller").string(), "--max-tries", "2",
                                 "--log-format", "json"});
  const FreePort gateway_port;
  const std::string gateway_address = gateway_port.address();
  const auto gateway =
      Start({"gateway", "--listen-addr", gateway_address, "--controller-addr", controller_address,
             "--resolver-config", config.dump(), "--log-format", "json"});
  ASSERT_TRUE(gateway->WaitForLine("the gateway listens", kDumpWait)) << gateway->errors();

  std::vector<std::unique_ptr<DumpsReader>> readers;
  std::vector<std::unique_ptr<Subprocess>> dumps;
  for (const AskedAgent& agent : asked) {
    readers.push_back(std::make_unique<DumpsReader>(
        DumpsReader::Options{.gateway = gateway_address, .uri = agent.uri, .from = "beginning"}));
    ASSERT_TRUE(readers.back()->WaitAttached()) << gateway->errors();
    dumps.push_back(Start({"dump", "--controller", controller_address, "--agent", gateway_address,
                           "--uri", agent.uri, "--table", "t", "--wait"}));
  }
  for (size_t i = 0; i < asked.size(); ++i) {
    SCOPED_TRACE(asked[i].uri);
    const Ran ran = Finish(*dumps[i]);
    EXPECT_EQ(ran.code, asked[i].reason.empty() ? 0 : 1) << ran.errors;
    EXPECT_THAT(ran.errors, HasSubstr(asked[i].reason));
    const Ran status = Finish(
        *Start({"dump", "--controller", controller_address, "--uri", asked[i].uri, "--status"}));
    if (!asked[i].reason.empty()) {
      EXPECT_THAT(status.out, AllOf(HasSubstr("1 failed"), HasSubstr(asked[i].reason)));
    }
    size_t changes = 0;
    for (const std::string& line : readers[i]->lines()) {
      changes += line.find("\"dump\":true") == std::string::npos ? 1 : 0;
    }
    // All that the log has; behind the rows of both dumps, which are old, once more.
    EXPECT_EQ(changes, asked[i].reason.empty() ? 31U : 11U);
  }
  EXPECT_EQ(readers[0]->dump_rows(), 4U) << "of the first pages, and of what may be behind them";
  EXPECT_FALSE(gateway->Wait(std::chrono::milliseconds(0)).has_value()) << "it lives";
}

}  // namespace
}  // namespace pgc
