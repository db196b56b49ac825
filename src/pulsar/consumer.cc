#include "pulsar/consumer.h"

#include <spdlog/fmt/fmt.h>

#include <chrono>
#include <deque>
#include <utility>

#include "base/mutex.h"
#include "base/status_macros.h"
#include "pulsar/result.h"

namespace pgc::pulsar {
namespace {

void Ignore(c::Result, void*) {}

// Named without its place in the batch, an entry is acknowledged whole.
MessageId EntryOf(const MessageId& id) {
  MessageId entry = id;
  entry.batch_index = -1;
  entry.batch_size = 0;
  return entry;
}

}  // namespace

// What the library's threads share with the consumer. One receive is under way at a time, and none
// while what was taken is enough.
struct Consumer::State {
  State(const c::Api& with, const Options& of) : api(with), options(of) {}

  bool Room() const PGC_REQUIRES(mutex) {
    return taken.size() < options.taken_messages && bytes < options.taken_bytes;
  }

  const c::Api& api;
  const Options& options;
  c::Consumer* consumer = nullptr;

  Mutex mutex;
  CondVar changed;
  std::deque<Message> taken PGC_GUARDED_BY(mutex);
  size_t bytes PGC_GUARDED_BY(mutex) = 0;
  bool receiving PGC_GUARDED_BY(mutex) = false;  // a callback is to come
  bool pumping PGC_GUARDED_BY(mutex) = false;    // a thread is in Pump
  absl::Status failure PGC_GUARDED_BY(mutex);
  std::function<void()> ready PGC_GUARDED_BY(mutex);
};

absl::StatusOr<std::unique_ptr<Consumer>> Consumer::Open(std::shared_ptr<Client> client,
                                                         const Options& options) {
  std::unique_ptr<Consumer> consumer(new Consumer(std::move(client), options));
  PGC_RETURN_IF_ERROR(consumer->client_->CheckNotPartitioned(options.topic));
  PGC_RETURN_IF_ERROR(consumer->Subscribe());
  Pump(*consumer->state_);
  return consumer;
}

Consumer::Consumer(std::shared_ptr<Client> client, const Options& options)
    : client_(std::move(client)),
      options_(options),
      state_(std::make_unique<State>(client_->api(), options_)) {}

absl::Status Consumer::Subscribe() {
  const c::Api& api = client_->api();
  c::ConsumerConfiguration* const configuration = api.consumer_configuration_create();
  api.consumer_configuration_set_consumer_type(
      configuration, options_.kind == Kind::kShared ? c::kShared : c::kExclusive);
  api.consumer_configuration_set_receiver_queue_size(configuration, options_.queue_messages);
  api.consumer_set_subscription_initial_position(
      configuration, options_.from_earliest ? c::kEarliest : c::kLatest);
  api.configure_set_negative_ack_redelivery_delay_ms(configuration, options_.nack_delay.count());
  if (!options_.name.empty()) api.consumer_set_consumer_name(configuration, options_.name.c_str());
  const c::Result result =
      api.client_subscribe(client_->get(), options_.topic.c_str(), options_.subscription.c_str(),
                           configuration, &state_->consumer);
  api.consumer_configuration_free(configuration);
  return Failed(result, "opening a consumer");
}

Consumer::~Consumer() {
  {
    MutexLock lock(state_->mutex);
    if (state_->failure.ok()) state_->failure = absl::CancelledError("the consumer is closed");
    state_->ready = nullptr;
  }
  if (state_->consumer == nullptr) return;
  (void)state_->api.consumer_close(state_->consumer);
  bool idle = false;
  {
    MutexLock lock(state_->mutex);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while ((state_->receiving || state_->pumping) &&
           state_->changed.WaitUntil(state_->mutex, deadline)) {
    }
    idle = !state_->receiving && !state_->pumping;
    state_->taken.clear();
  }
  if (idle) {
    state_->api.consumer_free(state_->consumer);
  } else {
    // A callback that is still to come needs it.
    (void)state_.release();
  }
}

absl::StatusOr<std::optional<Message>> Consumer::TryNext() {
  std::optional<Message> next;
  {
    MutexLock lock(state_->mutex);
    if (state_->taken.empty()) {
      if (!state_->failure.ok()) return state_->failure;
      return std::nullopt;
    }
    next = std::move(state_->taken.front());
    state_->taken.pop_front();
    state_->bytes -= next->data().size();
  }
  Pump(*state_);
  return next;
}

void Consumer::NotifyWhenReady(std::function<void()> ready) {
  {
    MutexLock lock(state_->mutex);
    state_->ready = nullptr;
    if (state_->taken.empty() && state_->failure.ok()) {
      state_->ready = std::move(ready);
      return;
    }
  }
  ready();
}

void Consumer::Pump(State& state) {
  {
    MutexLock lock(state.mutex);
    if (state.pumping || state.receiving || !state.failure.ok() || !state.Room()) return;
    state.pumping = true;
  }
  PumpOn(state);
}

// A message that is there already comes from within the call that asks for it, so the callback only
// puts it down, and this loop asks again.
void Consumer::PumpOn(State& state) {
  while (true) {
    {
      MutexLock lock(state.mutex);
      if (state.receiving || !state.failure.ok() || !state.Room()) {
        state.pumping = false;
        state.changed.NotifyAll();
        return;
      }
      state.receiving = true;
    }
    state.api.consumer_receive_async(state.consumer, &OnReceived, &state);
  }
}

// The consumer and its state stay while `receiving` or `pumping` is set.
void Consumer::OnReceived(c::Result result, c::Message* message, void* context) {
  State& state = *static_cast<State*>(context);
  std::function<void()> ready;
  // A failure may come with an empty message, which has nothing to ask for.
  if (result != c::kOk && message != nullptr) state.api.message_free(message);
  {
    MutexLock lock(state.mutex);
    if (result == c::kOk) {
      state.taken.emplace_back(state.api, message);
      state.bytes += state.taken.back().data().size();
    }
    if (result != c::kOk && state.failure.ok()) {
      state.failure =
          ToStatus(state.api, result, fmt::format("receiving from topic {}", state.options.topic));
    }
    std::swap(ready, state.ready);
  }
  if (ready) ready();
  bool pump = false;
  {
    MutexLock lock(state.mutex);
    state.receiving = false;
    pump = !state.pumping;
    if (pump) state.pumping = true;
    state.changed.NotifyAll();
  }
  if (pump) PumpOn(state);
}

void Consumer::AckEntry(const MessageId& id) {
  const OwnedId entry(state_->api, EntryOf(id));
  state_->api.consumer_acknowledge_async_id(state_->consumer, entry.get(), &Ignore, nullptr);
}

void Consumer::AckUpTo(const MessageId& id) {
  const OwnedId entry(state_->api, EntryOf(id));
  state_->api.consumer_acknowledge_cumulative_async_id(state_->consumer, entry.get(), &Ignore,
                                                       nullptr);
}

void Consumer::NackEntry(const MessageId& id) {
  const OwnedId entry(state_->api, EntryOf(id));
  state_->api.consumer_negative_acknowledge_id(state_->consumer, entry.get());
}

bool Consumer::connected() const {
  return state_->api.consumer_is_connected(state_->consumer) != 0;
}

absl::StatusOr<std::optional<MessageId>> Consumer::LastId() {
  const OwnedId last(state_->api, MessageId{});
  PGC_RETURN_IF_ERROR(Failed(state_->api.consumer_get_last_message_id(state_->consumer, last.get()),
                             "asking for the end"));
  const MessageId id = ValueOf(state_->api, last.get());
  if (!id.is_message()) return std::nullopt;
  return id;
}

absl::Status Consumer::Seek(const MessageId& to) {
  const OwnedId id(state_->api, to);
  return Failed(state_->api.consumer_seek(state_->consumer, id.get()), "moving a subscription");
}

absl::Status Consumer::SeekTime(uint64_t unix_ms) {
  return Failed(state_->api.consumer_seek_by_timestamp(state_->consumer, unix_ms),
                "moving a subscription");
}

absl::Status Consumer::Unsubscribe() {
  return Failed(state_->api.consumer_unsubscribe(state_->consumer), "deleting a subscription");
}

absl::Status Consumer::Failed(c::Result result, std::string_view doing) const {
  return ToStatus(state_->api, result,
                  fmt::format("{} of topic {}, {}", doing, options_.topic, options_.subscription));
}

}  // namespace pgc::pulsar
