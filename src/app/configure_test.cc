#include "app/configure.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;
using testing::HasSubstr;

// An agent that shows what it was told, and then fails.
class Echo final : public pb::Agent::CallbackService {
 public:
  grpc::ServerUnaryReactor* Configure(grpc::CallbackServerContext* context,
                                      const pb::AgentConfigRequest* request,
                                      pb::AgentConfigResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    MutexLock lock(mutex_);
    if (calls_++ == 0) {
      *response->mutable_report() = request->parameters();
      reactor->Finish(grpc::Status::OK);
    } else {
      reactor->Finish({grpc::StatusCode::FAILED_PRECONDITION, "not \"now\""});
    }
    if (calls_ == 3) enough_.request_stop();
    return reactor;
  }
  std::stop_token enough() { return enough_.get_token(); }

 private:
  Mutex mutex_;
  int calls_ PGC_GUARDED_BY(mutex_) = 0;
  std::stop_source enough_;
};

TEST(ConfigureTest, RepeatsTheCallAndPrintsEachAnswerAsALineOfJson) {
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&echo);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  char* text = nullptr;
  size_t size = 0;
  std::FILE* const output = open_memstream(&text, &size);
  ConfigureOptions options;
  options.agent = "127.0.0.1:" + std::to_string(port);
  options.command = "pg2pulsar";
  options.pg_conn_url = "postgres://me:secret@host/db";
  options.tables = {"a.b", "c"};
  options.pulsar_tracker_replicate_state = true;
  options.output = output;
  options.interval = std::chrono::milliseconds(1);
  EXPECT_TRUE(RunConfigure(options, echo.enough()).ok());
  (void)std::fclose(output);
  const std::string lines(text, size);
  std::free(text);
  EXPECT_THAT(lines,
              HasSubstr("{\"BatchTxSize\":100,\"Command\":\"pg2pulsar\",\"DecodePlugin\":"
                        "\"pgoutput\",\"PGConnURL\":\"postgres://me:***@host/db\","
                        "\"PulsarTrackerReplicateState\":true,\"Tables\":\"a.b,c\"}\n"
                        "{\"code\":\"FAILED_PRECONDITION\",\"error\":\"not \\\"now\\\"\"}\n"));
}

}  // namespace
}  // namespace pgc
