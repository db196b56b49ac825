// usage: dump_bench consume GATEWAY URI [--batched] [--rows N]
//        dump_bench bare GATEWAY URI SAMPLE COUNT
//
// The processes of bench/dump.py that speak gRPC.
//   consume  takes what comes and acknowledges all of it, until N rows of dumps are through or
//            SIGTERM; then prints what it saw, as JSON. A table `ticks` has the time of each change
//            in the column `at`.
//   bare     takes SAMPLE rows of dumps, one a message, and then is a server that sends them over
//            and over, COUNT of them
// Both say when they have begun, by a line.
#include <fmt/format.h>
#include <grpcpp/support/byte_buffer.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "bare_stream.h"
#include "base/byte_reader.h"
#include "client/capture_client.h"

namespace pgc {
namespace {

constexpr std::string_view kTimedTable = "ticks";
constexpr std::string_view kTimeColumn = "at";
// From the Unix epoch to PostgreSQL's.
constexpr int64_t kPostgresEpochUs = 946'684'800'000'000;
// Rows that come after such a pause are of another dump, or of one that waited.
constexpr int64_t kPauseUs = 250'000;

template <typename T>
T Need(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  (void)std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

void Need(const absl::Status& status) {
  if (status.ok()) return;
  (void)std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

int64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

double CpuSeconds() {
  rusage usage{};
  (void)getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

bool IsRow(const pb::CaptureMessage& message) { return message.checkpoint().lsn() == 0; }
bool IsRow(const MessageView& message) { return message.lsn == Lsn{}; }

std::string_view BinaryOf(const FieldView& field) {
  return field.kind == FieldValue::Kind::kBinary ? field.value : std::string_view();
}

// What a consumer has seen. Times are microseconds of the Unix epoch.
class Tally {
 public:
  // `at` is when the message came.
  void Add(const MessageView& message, int64_t at) {
    if (IsRow(message)) {
      if (rows_ == 0 || at - spans_.back().second > kPauseUs) spans_.emplace_back(at, at);
      spans_.back().second = at;
      ++rows_;
      for (const FieldView& field : message.change.new_fields) bytes_ += BinaryOf(field).size();
      return;
    }
    ++changes_;
    if (message.change.table != kTimedTable) return;
    for (const FieldView& field : message.change.new_fields) {
      const std::string_view time = BinaryOf(field);
      if (field.name != kTimeColumn || time.size() != sizeof(int64_t)) continue;
      ByteReader value({reinterpret_cast<const uint8_t*>(time.data()), time.size()});
      const int64_t since = value.I64();
      ticks_.emplace_back(since + kPostgresEpochUs, at);
    }
  }

  uint64_t rows() const { return rows_; }

  void Print(double cpu_seconds) const {
    const auto pairs = [](const std::vector<std::pair<int64_t, int64_t>>& all) {
      std::string text;
      for (const auto& [first, second] : all) {
        text += fmt::format("{}[{},{}]", text.empty() ? "" : ",", first, second);
      }
      return text;
    };
    fmt::print(
        "{{\"rows\":{},\"bytes\":{},\"changes\":{},\"cpu_s\":{:.3f},\"spans_us\":[{}],"
        "\"ticks_us\":[{}]}}\n",
        rows_, bytes_, changes_, cpu_seconds, pairs(spans_), pairs(ticks_));
  }

 private:
  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
  uint64_t changes_ = 0;
  std::vector<std::pair<int64_t, int64_t>> spans_;  // in which rows came: first and last
  std::vector<std::pair<int64_t, int64_t>> ticks_;  // written, and received
};

struct Consumption {
  bool batched = false;
  uint64_t rows = UINT64_MAX;  // after so many it ends
};

void Take(CaptureClient& client, uint64_t rows, Tally& tally, const std::stop_token& stop) {
  CaptureViews batch;
  while (tally.rows() < rows) {
    const absl::Status next = client.NextViews(batch, stop);
    if (absl::IsCancelled(next)) return;
    Need(next);
    const int64_t now = NowUs();
    for (size_t i = 0; i < batch.size(); ++i) tally.Add(batch[i], now);
    Need(client.AckFirst(batch, batch.size()));
  }
}

void Say(std::string_view line) {
  fmt::print("{}\n", line);
  (void)std::fflush(stdout);
}

void Consume(const std::string& gateway, const std::string& uri, const Consumption& how) {
  sigset_t end;
  (void)sigemptyset(&end);
  (void)sigaddset(&end, SIGTERM);
  (void)pthread_sigmask(SIG_BLOCK, &end, nullptr);
  CaptureClientOptions options{.gateway = gateway, .uri = uri, .parameters = {}};
  if (how.batched) (*options.parameters.mutable_fields())["Batched"].set_bool_value(true);
  const auto client = Need(CaptureClient::Open(options, {}));
  Say("attached");
  const double cpu = CpuSeconds();
  Tally tally;
  {
    std::jthread taker([&](const std::stop_token& stop) {
      Take(*client, how.rows, tally, stop);
      (void)kill(getpid(), SIGTERM);
    });
    int signal = 0;
    (void)sigwait(&end, &signal);
  }
  Need(client->Close());
  tally.Print(CpuSeconds() - cpu);
}

[[noreturn]] void ServeBare(const std::string& gateway, const std::string& uri, size_t sample,
                            size_t count) {
  std::vector<grpc::ByteBuffer> messages;
  {
    const auto client =
        Need(CaptureClient::Open({.gateway = gateway, .uri = uri, .parameters = {}}, {}));
    Say("attached");
    while (messages.size() < sample) {
      const pb::CaptureMessage message = Need(client->Next({}));
      if (IsRow(message)) {
        const grpc::Slice bytes(message.SerializeAsString());
        messages.emplace_back(&bytes, 1);
      }
      Need(client->Ack(message.checkpoint()));
    }
    Need(client->Close());
  }
  ServeBareStream(std::move(messages), count);
}

int Main(const std::vector<std::string>& args) {
  if (args.size() == 5 && args[0] == "bare") {
    ServeBare(args[1], args[2], std::stoull(args[3]), std::stoull(args[4]));
  }
  if (args.size() < 3 || args[0] != "consume") {
    Need(absl::InvalidArgumentError("see the head of bench/dump_bench.cc"));
  }
  Consumption how;
  for (size_t i = 3; i < args.size(); ++i) {
    if (args[i] == "--batched") how.batched = true;
    if (args[i] == "--rows" && i + 1 < args.size()) how.rows = std::stoull(args[++i]);
  }
  Consume(args[1], args[2], how);
  return 0;
}

}  // namespace
}  // namespace pgc

int main(int argc, char** argv) {
  return pgc::Main(std::vector<std::string>(argv + 1, argv + argc));
}
