// usage: gateway_bench [RUNS]
//
// From the store through the gateway to consumers, on loopback, every change acknowledged. Server
// and consumers are processes of their own, so that the CPU of each is known. Lines:
//   bare      a gRPC stream of the same messages, encoded beforehand, which reads the same acks and
//             does nothing with them: what gRPC itself allows
//   single    the gateway, a change a message
//   batched   the gateway, many changes a message
//   filtered  one consumer, or 100, of a topic of 100 tables, each with a table of its own
// Absolute numbers are of the machine; the ratios below the table are of runs that took turns.
#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bare_stream.h"
#include "client/capture_client.h"
#include "gateway/server.h"
#include "gateway/splice.h"
#include "pgcapture.grpc.pb.h"
#include "store/embedded_store.h"
#include "testing/change_log.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTables = 100;
constexpr int kTransactions = 20'000;  // of a row in each table
constexpr size_t kChanges = size_t{kTables} * kTransactions;
constexpr size_t kSingleChanges = 300'000;
constexpr int kFilteredTransactions = 1'000;                // of a topic of its own
constexpr size_t kFilteredChanges = kFilteredTransactions;  // of each consumer
constexpr std::string_view kNote = "a note of thirty-two characters.";

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

std::string TableName(int i) { return fmt::format("table_{:02}", i); }

void Fill(EventStore& store, std::string_view topic, int transactions) {
  ChangeLog log(store, topic);
  std::vector<std::string> names;
  for (int i = 0; i < kTables; ++i) names.push_back(TableName(i));
  constexpr int kGroup = 10;  // of transactions in one, so that filling does not take minutes
  for (int i = 0; i < transactions / kGroup; ++i) {
    std::vector<ChangeLog::Row> rows;
    for (int row = 0; row < kTables * kGroup; ++row) {
      rows.push_back(
          {.table = names[static_cast<size_t>(row % kTables)], .id = row, .note = kNote});
    }
    log.Insert(rows);
  }
}

// --- servers

void ServeGateway() {
  const TempDir dir;
  const auto store = Need(OpenEmbeddedStore(dir.path() / "store", {}));
  Fill(*store, "pgcapture", kTransactions);
  Fill(*store, "filtered", kFilteredTransactions);
  StoreResolver resolver(*store);
  const auto server = Need(GatewayServer::Start({.address = "127.0.0.1:0"}, resolver, store.get()));
  ServeUntilKilled(server->address());
}

void ServeBare() {
  const TempDir dir;
  const auto store = Need(OpenEmbeddedStore(dir.path() / "store", {}));
  Fill(*store, "pgcapture", static_cast<int>(kSingleChanges) / kTables);
  const auto reader = Need(store->OpenReader("pgcapture", {.start = FromBeginning{}}));
  std::vector<grpc::ByteBuffer> messages;
  while (messages.size() < kSingleChanges) {
    const EventSlice slice = Need(reader->Next({}));
    for (Block::Cursor cursor(*slice.block); cursor.Next();) {
      if (cursor.event().kind != EventKind::kChange) continue;
      messages.push_back(SpliceCaptureMessage(PartOf(slice.block, cursor.event(), "ordinal.")));
    }
  }
  ServeBareStream(std::move(messages), kSingleChanges);
}

// --- measuring

// User and system seconds that a process has used.
double CpuSeconds(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string stat((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string field;
  for (int i = 0; i < 11; ++i) fields >> field;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

struct Server {
  explicit Server(const char* role) {
    process = Need(
        Subprocess::Start({.args = {"/proc/self/exe", role}, .environment = {}, .directory = {}}));
    const auto line = process->WaitForLine("listening ", std::chrono::minutes(5));
    if (!line.has_value()) Need(absl::UnavailableError("a server did not start"));
    address = line->substr(std::strlen("listening "));
  }

  std::unique_ptr<Subprocess> process;
  std::string address;
};

struct Run {
  double seconds = 0;
  double server_cpu = 0;
  double client_cpu = 0;
  size_t changes = 0;

  double rate() const { return static_cast<double>(changes) / seconds; }
  double server_us() const { return server_cpu / static_cast<double>(changes) * 1e6; }
  double client_us() const { return client_cpu / static_cast<double>(changes) * 1e6; }
};

// A consumer that takes `changes` of them, one by one or in batches, and closes once all have.
void Consume(const std::string& address, const std::string& uri, const std::string& regex,
             bool batched, size_t changes, std::barrier<>& all) {
  CaptureClientOptions options{.gateway = address, .uri = uri, .parameters = {}};
  auto& parameters = *options.parameters.mutable_fields();
  parameters["From"].set_string_value("beginning");
  if (batched) parameters["Batched"].set_bool_value(true);
  if (!regex.empty()) parameters["TableRegex"].set_string_value(regex);
  const auto client = Need(CaptureClient::Open(options, {}));
  size_t taken = 0;
  size_t values = 0;  // so that what was decoded is used
  CaptureBatch batch;
  while (taken < changes) {
    if (batched) {
      Need(client->NextBatch(batch, {}));
      for (size_t i = 0; i < batch.size(); ++i) {
        values += static_cast<size_t>(batch[i].change().new__size());
      }
      Need(client->AckFirst(batch, batch.size()));
      taken += batch.size();
    } else {
      const pb::CaptureMessage message = Need(client->Next({}));
      values += static_cast<size_t>(message.change().new__size());
      Need(client->Ack(message.checkpoint()));
      ++taken;
    }
  }
  all.arrive_and_wait();
  Need(client->Close());
  if (values != 2 * taken) Need(absl::DataLossError("what was decoded is not what was written"));
}

template <typename Work>
Run Measure(const Server& server, size_t changes, Work work) {
  rusage usage{};
  const auto own_cpu = [&usage] {
    (void)getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  };
  const double server_cpu = CpuSeconds(server.process->pid());
  const double client_cpu = own_cpu();
  const auto begun = Clock::now();
  work();
  return {.seconds = std::chrono::duration<double>(Clock::now() - begun).count(),
          .server_cpu = CpuSeconds(server.process->pid()) - server_cpu,
          .client_cpu = own_cpu() - client_cpu,
          .changes = changes};
}

template <typename Get>
double Median(const std::vector<Run>& runs, Get get) {
  std::vector<double> values;
  for (const Run& run : runs) values.push_back(get(run));
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int uri_number = 0;
std::string NewUri(const char* topic = "pgcapture") {
  return fmt::format("{}/bench-{}", topic, ++uri_number);
}

void Delete(const Server& gateway, const std::vector<std::string>& uris) {
  const auto stub = pb::DBLogStore::NewStub(
      grpc::CreateChannel(gateway.address, grpc::InsecureChannelCredentials()));
  for (const std::string& uri : uris) {
    pb::DeleteSubscriptionRequest request;
    const size_t slash = uri.find('/');
    request.set_topic(uri.substr(0, slash));
    request.set_subscription(uri.substr(slash + 1));
    pb::DeleteSubscriptionResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub->DeleteSubscription(&context, request, &response);
    if (!status.ok()) Need(absl::InternalError(status.error_message()));
  }
}

// `consumers` at once, as often as makes a hundred of them.
Run MeasureFiltered(const Server& gateway, int consumers, bool batched) {
  const int rounds = kTables / consumers;
  std::vector<std::string> uris;
  const Run run = Measure(gateway, kFilteredChanges * kTables, [&] {
    for (int round = 0; round < rounds; ++round) {
      std::barrier<> all(consumers);
      std::vector<std::jthread> threads;
      for (int i = 0; i < consumers; ++i) {
        uris.push_back(NewUri("filtered"));
        threads.emplace_back([&gateway, &all, i, round, batched, uri = uris.back()] {
          const std::string regex = "^" + TableName((i + round) % kTables) + "$";
          Consume(gateway.address, uri, regex, batched, kFilteredChanges, all);
        });
      }
    }
  });
  Delete(gateway, uris);
  return run;
}

void Print(const std::string& name, const std::vector<Run>& runs) {
  std::printf("| %-26s | %9zu | %4zu | %12.0f | %12.2f | %12.2f |\n", name.c_str(), runs[0].changes,
              runs.size(), Median(runs, [](const Run& run) { return run.rate(); }),
              Median(runs, [](const Run& run) { return run.server_us(); }),
              Median(runs, [](const Run& run) { return run.client_us(); }));
}

double Rate(const Run& run) { return run.rate(); }
double ServerUs(const Run& run) { return run.server_us(); }

int Main(int runs) {
  std::barrier<> alone(1);
  const Server bare("bare");
  const Server gateway("gateway");
  std::map<std::string, std::vector<Run>> all;
  for (int i = 0; i < runs; ++i) {
    all["bare"].push_back(Measure(bare, kSingleChanges, [&] {
      Consume(bare.address, "any", "", false, kSingleChanges, alone);
    }));
    all["single"].push_back(Measure(gateway, kSingleChanges, [&] {
      Consume(gateway.address, NewUri(), "", false, kSingleChanges, alone);
    }));
    all["batched"].push_back(Measure(
        gateway, kChanges, [&] { Consume(gateway.address, NewUri(), "", true, kChanges, alone); }));
    for (const bool batched : {false, true}) {
      const char* const how = batched ? "batched" : "single";
      all[fmt::format("filtered, {}, 1", how)].push_back(MeasureFiltered(gateway, 1, batched));
      all[fmt::format("filtered, {}, 100", how)].push_back(MeasureFiltered(gateway, 100, batched));
    }
  }
  std::printf("medians; us is CPU a delivered change\n");
  std::printf("| %-26s | %9s | %4s | %12s | %12s | %12s |\n", "", "changes", "runs", "changes/s",
              "server us", "client us");
  std::printf("|---|---|---|---|---|---|\n");
  for (const char* name :
       {"bare", "single", "batched", "filtered, single, 1", "filtered, single, 100",
        "filtered, batched, 1", "filtered, batched, 100"}) {
    Print(name, all[name]);
  }
  std::printf("single / bare, changes/s: %.2f\n",
              Median(all["single"], Rate) / Median(all["bare"], Rate));
  for (const char* how : {"single", "batched"}) {
    std::printf("filtered, %s, server CPU a change, 100 consumers / 1: %.2f\n", how,
                Median(all[fmt::format("filtered, {}, 100", how)], ServerUs) /
                    Median(all[fmt::format("filtered, {}, 1", how)], ServerUs));
  }
  return 0;
}

}  // namespace
}  // namespace pgc

int main(int argc, char** argv) {
  const std::string role = argc > 1 ? argv[1] : "5";
  if (role == "bare") {
    pgc::ServeBare();
  } else if (role == "gateway") {
    pgc::ServeGateway();
  } else {
    return pgc::Main(std::max(1, std::atoi(role.c_str())));
  }
}
