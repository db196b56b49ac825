#include "pulsar/producer.h"

#include <spdlog/fmt/fmt.h>

#include <deque>

#include "base/mutex.h"
#include "base/status_macros.h"
#include "pulsar/message.h"
#include "pulsar/result.h"

namespace pgc::pulsar {

using std::chrono::steady_clock;

// What the library's threads share with the producer.
struct Producer::State {
  State(const c::Api& with, const Options& all, StoredCallback callback)
      : api(with), options(all), stored_callback(std::move(callback)) {}

  const c::Api& api;
  const Options options;
  const StoredCallback stored_callback;

  Mutex mutex;
  CondVar changed;
  std::deque<uint32_t> sizes PGC_GUARDED_BY(mutex);  // of the messages without a receipt, in order
  size_t bytes PGC_GUARDED_BY(mutex) = 0;            // of them together
  uint64_t stored PGC_GUARDED_BY(mutex) = 0;
  // Of the last receipt, or of the first message behind none.
  steady_clock::time_point progress PGC_GUARDED_BY(mutex);
  bool stalled PGC_GUARDED_BY(mutex) = false;
  steady_clock::time_point next_id PGC_GUARDED_BY(mutex);
  absl::Status failure PGC_GUARDED_BY(mutex);
};

absl::StatusOr<std::unique_ptr<Producer>> Producer::Open(std::shared_ptr<Client> client,
                                                         const Options& options,
                                                         StoredCallback stored) {
  PGC_RETURN_IF_ERROR(client->CheckNotPartitioned(options.topic));
  std::unique_ptr<Producer> producer(new Producer(std::move(client), options, std::move(stored)));
  PGC_RETURN_IF_ERROR(producer->Connect());
  return producer;
}

Producer::Producer(std::shared_ptr<Client> client, const Options& options, StoredCallback stored)
    : client_(std::move(client)),
      options_(options),
      state_(std::make_unique<State>(client_->api(), options, std::move(stored))) {}

absl::Status Producer::Connect() {
  const c::Api& api = client_->api();
  c::ProducerConfiguration* const configuration = api.producer_configuration_create();
  api.producer_configuration_set_producer_name(configuration, options_.name.c_str());
  if (!options_.host.empty()) {
    api.producer_configuration_set_property(configuration, "host", options_.host.c_str());
  }
  api.producer_configuration_set_compression_type(configuration, c::kZstd);
  api.producer_configuration_set_batching_enabled(configuration, 1);
  api.producer_configuration_set_batching_max_messages(configuration, options_.batch_messages);
  api.producer_configuration_set_batching_max_allowed_size_in_bytes(configuration,
                                                                    options_.batch_bytes);
  api.producer_configuration_set_batching_max_publish_delay_ms(
      configuration, static_cast<unsigned long>(options_.batch_delay.count()));
  // The library's own limits block a thread that nobody can stop, or fail messages while later ones
  // go on. Send has the limits instead, and what is sent stays until it has its receipt.
  api.producer_configuration_set_max_pending_messages(configuration, 0);
  api.producer_configuration_set_send_timeout(configuration, 0);
  const c::Result result =
      api.client_create_producer(client_->get(), options_.topic.c_str(), configuration, &producer_);
  api.producer_configuration_free(configuration);
  return ToStatus(
      api, result,
      fmt::format("opening the producer {} of topic {}", options_.name, options_.topic));
}

Producer::~Producer() {
  Close();
  if (producer_ != nullptr) client_->api().producer_free(producer_);
  MutexLock lock(state_->mutex);
  const auto deadline = steady_clock::now() + std::chrono::seconds(5);
  while (!state_->sizes.empty() && state_->changed.WaitUntil(state_->mutex, deadline)) {
  }
  // A callback that is still to come needs it.
  if (!state_->sizes.empty()) (void)state_.release();
}

void Producer::Close() {
  if (closed_ || producer_ == nullptr) return;
  closed_ = true;
  bool stalled = false;
  {
    MutexLock lock(state_->mutex);
    if (state_->failure.ok()) state_->failure = absl::UnavailableError("the producer is closed");
    stalled = state_->stalled;
  }
  // Either way nothing is sent from here on. Who has not answered for long does not answer now.
  if (stalled) {
    client_->api().producer_close_async(
        producer_, [](c::Result, void*) {}, nullptr);
  } else {
    (void)client_->api().producer_close(producer_);
  }
}

absl::Status Producer::Send(std::string_view key, std::span<const uint8_t> payload) {
  const bool alone = payload.size() > kAloneBytes;
  if (alone) PGC_RETURN_IF_ERROR(Flush());
  PGC_RETURN_IF_ERROR(WaitFor([&](const State& state) PGC_NO_THREAD_SAFETY_ANALYSIS {
    return state.sizes.empty() || (state.sizes.size() < options_.max_in_flight_messages &&
                                   state.bytes + payload.size() <= options_.max_in_flight_bytes);
  }));
  SendNow(key, payload);
  // A message may have been taken behind one that has just failed: it must not be sent.
  PGC_RETURN_IF_ERROR(Failure());
  return alone ? Flush() : absl::OkStatus();
}

void Producer::SendNow(std::string_view key, std::span<const uint8_t> payload) {
  const c::Api& api = client_->api();
  {
    MutexLock lock(state_->mutex);
    if (state_->sizes.empty()) state_->progress = steady_clock::now();
    state_->sizes.push_back(static_cast<uint32_t>(payload.size()));
    state_->bytes += payload.size();
  }
  c::Message* const message = api.message_create();
  api.message_set_content(message, payload.data(), payload.size());
  key_.assign(key);
  api.message_set_partition_key(message, key_.c_str());
  if (!options_.clusters.empty()) {
    std::vector<const char*> clusters;
    for (const std::string& cluster : options_.clusters) clusters.push_back(cluster.c_str());
    api.message_set_replication_clusters(message, clusters.data(), clusters.size());
  }
  api.producer_send_async(producer_, message, &OnReceipt, state_.get());
  api.message_free(message);
}

absl::Status Producer::Flush() {
  client_->api().producer_flush_async(
      producer_, [](c::Result, void*) {}, nullptr);
  return WaitFor([](const State& state)
                     PGC_NO_THREAD_SAFETY_ANALYSIS { return state.sizes.empty(); });
}

absl::Status Producer::Check() {
  return WaitFor([](const State&) { return true; });
}

absl::Status Producer::WaitFor(const std::function<bool(const State&)>& enough) {
  {
    State& state = *state_;
    MutexLock lock(state.mutex);
    while (true) {
      if (!state.sizes.empty() && state.failure.ok() &&
          steady_clock::now() >= state.progress + options_.stall_timeout) {
        state.stalled = true;
        state.failure = absl::UnavailableError(
            fmt::format("no receipt of topic {} for {} ms, with {} messages sent", options_.topic,
                        options_.stall_timeout.count(), state.sizes.size()));
      }
      if (!state.failure.ok() || enough(state)) break;
      (void)state.changed.WaitUntil(state.mutex, state.progress + options_.stall_timeout);
    }
  }
  return Failure();
}

absl::Status Producer::Failure() {
  absl::Status failure;
  {
    MutexLock lock(state_->mutex);
    failure = state_->failure;
  }
  if (!failure.ok()) Close();
  return failure;
}

void Producer::OnReceipt(c::Result result, c::MessageId* id, void* context) {
  State& state = *static_cast<State*>(context);
  uint64_t stored = 0;
  bool tells_id = false;
  {
    MutexLock lock(state.mutex);
    if (result != c::kOk && state.failure.ok()) {
      state.failure =
          ToStatus(state.api, result, fmt::format("sending to topic {}", state.options.topic));
    }
    // A receipt behind a failure is of a message that must not count.
    if (state.failure.ok()) {
      stored = ++state.stored;
      state.progress = steady_clock::now();
      tells_id =
          id != nullptr && state.options.id_interval.count() > 0 && state.progress >= state.next_id;
      if (tells_id) state.next_id = state.progress + state.options.id_interval;
    }
  }
  if (tells_id) state.options.stored_id(ValueOf(state.api, id));
  if (id != nullptr) state.api.message_id_free(id);
  if (stored != 0 && state.stored_callback) state.stored_callback(stored);
  // The state may go with the last message.
  MutexLock lock(state.mutex);
  state.bytes -= state.sizes.front();
  state.sizes.pop_front();
  state.changed.NotifyAll();
}

}  // namespace pgc::pulsar
