// A controller with a million dumps, and one with as many tables: it is there again soon after it
// was killed, and takes little memory. PGCAPTURE_DUMP_TABLES is how many tables; CI needs not all.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <signal.h>

#include <fstream>

#include "pgcapture.grpc.pb.h"
#include "testing/environment.h"
#include "testing/free_port.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kMillion = 1'000'000;
// An idle machine needs a tenth of these.
constexpr seconds kStartWithin{15};
constexpr char kProgram[] = PGC_BINARY_DIR "/pgcapture";

// A `pgcapture controller` that is killed and started again.
class MillionDumps : public testing::Test {
 protected:
  void StartController() {
    const auto begun = Clock::now();
    auto process =
        Subprocess::Start({.args = {kProgram, "controller", "--listen-addr", address_, "--data-dir",
                                    (folder_.path() / "schedule").string(), "--log-format", "json"},
                           .environment = {},
                           .as_postgres = false,
                           .directory = {}});
    ASSERT_TRUE(process.ok()) << process.status();
    controller_ = *std::move(process);
    ASSERT_TRUE(controller_->WaitForLine("the controller listens", seconds(120)))
        << controller_->errors();
    start_time_ = std::chrono::duration_cast<milliseconds>(Clock::now() - begun);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(-1);
    stub_ = pb::DBLogController::NewStub(
        grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
  }
  void Kill() {
    controller_->Signal(SIGKILL);
    ASSERT_TRUE(controller_->Wait(seconds(30)).has_value());
  }
  // The most memory that the process has had, in bytes.
  size_t PeakMemory() const {
    std::ifstream status(fmt::format("/proc/{}/status", controller_->pid()));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) << 10;
    }
    return 0;
  }
  void Schedule(const pb::ScheduleRequest& request) {
    grpc::ClientContext context;
    pb::ScheduleResponse response;
    const grpc::Status status = stub_->Schedule(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  pb::ControllerStatusResponse Status() {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    pb::ControllerStatusRequest request;
    request.set_uri("a");
    pb::ControllerStatusResponse response;
    const grpc::Status status = stub_->Status(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  // Takes so many dumps and acknowledges them.
  std::vector<std::string> Take(int count) {
    grpc::ClientContext context;
    const auto stream = stub_->PullDumpInfo(&context);
    std::vector<std::string> taken;
    pb::DumpInfoRequest request;
    request.set_uri("a");
    for (int i = 0; i < count; ++i) {
      pb::DumpInfoResponse dump;
      EXPECT_TRUE(stream->Write(request));
      EXPECT_TRUE(stream->Read(&dump));
      taken.push_back(fmt::format("{} {}", dump.table(), dump.page_begin()));
    }
    EXPECT_TRUE(stream->Write(request));
    stream->WritesDone();
    pb::DumpInfoResponse none;
    while (stream->Read(&none)) {
    }
    (void)stream->Finish();
    return taken;
  }

  const FreePort port_;
  const std::string address_ = port_.address();
  const pgc::TempDir folder_;
  std::unique_ptr<Subprocess> controller_;
  std::unique_ptr<pb::DBLogController::Stub> stub_;
  milliseconds start_time_{0};
};

TEST_F(MillionDumps, OfTwoTablesInTurnAreThereAgainSoon) {
  ASSERT_NO_FATAL_FAILURE(StartController());
  pb::ScheduleRequest request;
  request.set_uri("a");
  for (uint32_t i = 0; i < kMillion; ++i) {
    pb::DumpInfoResponse& dump = *request.add_dumps();
    dump.set_schema("public");
    dump.set_table(i % 2 == 0 ? "t" : "u");
    dump.set_page_begin(i / 2);
    dump.set_page_end(i / 2);
  }
  ASSERT_NO_FATAL_FAILURE(Schedule(request));
  EXPECT_EQ(Take(2), (std::vector<std::string>{"t 0", "u 0"}));
  Kill();
  ASSERT_NO_FATAL_FAILURE(StartController());
  EXPECT_EQ(Status().jobs_total(), 2U);
  EXPECT_THAT(Take(1).front(), testing::AnyOf("t 0", "u 0", "t 1"));
  RecordProperty("start_ms", static_cast<int>(start_time_.count()));
  RecordProperty("peak_mib", static_cast<int>(PeakMemory() >> 20));
  EXPECT_LT(start_time_, kStartWithin);
  EXPECT_LT(PeakMemory(), size_t{128} << 20);
}

TEST_F(MillionDumps, OfManyTablesAreThereAgainSoon) {
  const uint64_t tables = FromEnvironment("PGCAPTURE_DUMP_TABLES", 300'000);
  ASSERT_NO_FATAL_FAILURE(StartController());
  pb::ScheduleRequest request;
  request.set_uri("a");
  for (uint64_t i = 0; i < tables; ++i) {
    pb::TableDump& dump = *request.add_tables();
    dump.set_schema("public");
    dump.set_table(fmt::format("table_{}", i));
  }
  ASSERT_NO_FATAL_FAILURE(Schedule(request));
  EXPECT_EQ(Take(2), (std::vector<std::string>{"table_0 0", "table_0 128"}));
  Kill();
  ASSERT_NO_FATAL_FAILURE(StartController());
  const auto status = Status();
  EXPECT_EQ(status.jobs_total(), tables);
  EXPECT_EQ(status.jobs_size(), 1000) << "what is shown is less";
  RecordProperty("start_ms", static_cast<int>(start_time_.count()));
  RecordProperty("peak_mib", static_cast<int>(PeakMemory() >> 20));
  EXPECT_LT(start_time_, kStartWithin);
  EXPECT_LT(PeakMemory(), (size_t{64} << 20) + 250 * tables);
}

}  // namespace
}  // namespace pgc
