// What Apache's client library reaches by itself, and what a reader of ours does (bench/pulsar.py).
//
//   pulsar_bench send URL LIBRARY FROM TO     sends the messages of a topic to another, by the
//   library alone pulsar_bench read URL LIBRARY TOPIC COUNT   reads so many events of a topic
//
// Each prints a line of JSON: messages, their bytes, seconds, CPU seconds of this process.
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "pulsar/client.h"
#include "pulsar/reader.h"
#include "store/pulsar_store.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// From its construction on.
class Stopwatch {
 public:
  void Print(uint64_t messages, uint64_t bytes) const {
    const std::chrono::duration<double> seconds = Clock::now() - begun_;
    fmt::print("{{\"messages\": {}, \"bytes\": {}, \"seconds\": {:.3f}, \"cpu\": {:.3f}}}\n",
               messages, bytes, seconds.count(), CpuSeconds() - cpu_);
  }

 private:
  const Clock::time_point begun_ = Clock::now();
  const double cpu_ = CpuSeconds();
};

// Until the library's window has room, as it has one itself when asked to.
class Window {
 public:
  explicit Window(size_t most) : most_(most) {}

  void Enter() {
    MutexLock lock(mutex_);
    while (inside_ >= most_) changed_.Wait(mutex_);
    ++inside_;
  }
  void Leave(bool well) {
    MutexLock lock(mutex_);
    --inside_;
    failed_ += well ? 0 : 1;
    changed_.NotifyAll();
  }
  bool WaitEmpty() {
    MutexLock lock(mutex_);
    while (inside_ > 0) changed_.Wait(mutex_);
    return failed_ == 0;
  }

 private:
  const size_t most_;
  Mutex mutex_;
  CondVar changed_;
  size_t inside_ PGC_GUARDED_BY(mutex_) = 0;
  size_t failed_ PGC_GUARDED_BY(mutex_) = 0;
};

int Fail(const absl::Status& status) {
  fmt::print(stderr, "{}\n", status.ToString());
  return 1;
}

// The same limits of a batch and of what has no receipt as capture has.
int Send(const std::string& url, const std::string& library, const std::string& from,
         const std::string& to) {
  struct Copy {
    std::string key;
    std::string payload;
  };
  const auto client = pulsar::Client::Create(url, {.library = library});
  if (!client.ok()) return Fail(client.status());
  std::vector<Copy> messages;
  uint64_t bytes = 0;
  {
    const auto reader = pulsar::Reader::Open(*client, {.topic = from});
    if (!reader.ok()) return Fail(reader.status());
    while (true) {
      const auto more = (*reader)->HasMore();
      if (!more.ok()) return Fail(more.status());
      if (!*more) break;
      const auto next = (*reader)->Next(std::chrono::seconds(30));
      if (!next.ok()) return Fail(next.status());
      if (!next->has_value()) return Fail(absl::UnavailableError("nothing comes"));
      const auto data = (*next)->data();
      messages.push_back({.key = std::string((*next)->key()),
                          .payload = {reinterpret_cast<const char*>(data.data()), data.size()}});
      bytes += data.size();
    }
  }
  const pulsar::c::Api& api = (*client)->api();
  auto* const configuration = api.producer_configuration_create();
  api.producer_configuration_set_compression_type(configuration, pulsar::c::kZstd);
  api.producer_configuration_set_batching_enabled(configuration, 1);
  api.producer_configuration_set_batching_max_messages(configuration, 1'000);
  api.producer_configuration_set_batching_max_allowed_size_in_bytes(configuration, 1 << 20);
  api.producer_configuration_set_batching_max_publish_delay_ms(configuration, 10);
  api.producer_configuration_set_max_pending_messages(configuration, 0);
  pulsar::c::Producer* producer = nullptr;
  const pulsar::c::Result created =
      api.client_create_producer((*client)->get(), to.c_str(), configuration, &producer);
  api.producer_configuration_free(configuration);
  if (created != pulsar::c::kOk) return Fail(absl::UnavailableError(api.result_str(created)));
  static Window window(20'000);
  static const pulsar::c::Api* const kApi = &api;
  const Stopwatch watch;
  for (const Copy& copy : messages) {
    window.Enter();
    auto* const message = api.message_create();
    api.message_set_content(message, copy.payload.data(), copy.payload.size());
    api.message_set_partition_key(message, copy.key.c_str());
    api.producer_send_async(
        producer, message,
        [](pulsar::c::Result result, pulsar::c::MessageId* id, void*) {
          if (id != nullptr) kApi->message_id_free(id);
          window.Leave(result == pulsar::c::kOk);
        },
        nullptr);
    api.message_free(message);
  }
  api.producer_flush_async(
      producer, [](pulsar::c::Result, void*) {}, nullptr);
  if (!window.WaitEmpty()) return Fail(absl::UnavailableError("a message has failed"));
  watch.Print(messages.size(), bytes);
  (void)api.producer_close(producer);
  api.producer_free(producer);
  return 0;
}

int Read(const std::string& url, const std::string& library, const std::string& topic,
         uint64_t count) {
  const auto store = OpenPulsarStore({.url = url, .library = library});
  if (!store.ok()) return Fail(store.status());
  const Stopwatch watch;
  const auto reader = (*store)->OpenReader(topic, {.start = FromBeginning{}});
  if (!reader.ok()) return Fail(reader.status());
  uint64_t events = 0;
  uint64_t bytes = 0;
  while (events < count) {
    const auto slice = (*reader)->Next({});
    if (!slice.ok()) return Fail(slice.status());
    events += slice->end - slice->begin;
    bytes += slice->block->event_bytes();
  }
  watch.Print(events, bytes);
  return 0;
}

}  // namespace
}  // namespace pgc

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.size() == 5 && args[0] == "send") return pgc::Send(args[1], args[2], args[3], args[4]);
  if (args.size() == 5 && args[0] == "read") {
    return pgc::Read(args[1], args[2], args[3], std::stoull(args[4]));
  }
  std::fputs("usage: pulsar_bench send URL LIBRARY FROM TO | read URL LIBRARY TOPIC COUNT\n",
             stderr);
  return 2;
}
