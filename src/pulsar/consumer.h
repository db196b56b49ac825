#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "pulsar/client.h"
#include "pulsar/message.h"

namespace pgc::pulsar {

// A consumer of a durable subscription. It reconnects by itself; what it has not acknowledged then
// comes again, to it or to another one.
//
// Thread-safe, and nothing but Open, Seek, LastId, Unsubscribe and destruction waits for the
// cluster. Errors as Client.
class Consumer {
 public:
  enum class Kind { kExclusive, kShared };
  struct Options {
    std::string topic = {};
    std::string subscription = {};
    std::string name = {};  // of this consumer, for the cluster's statistics
    Kind kind = Kind::kShared;
    bool from_earliest = false;  // a new subscription; else it begins at the topic's end
    std::chrono::milliseconds nack_delay{60'000};
    // Messages that it fetches ahead, at most: in the library, and from there into this object.
    int queue_messages = 1'000;
    size_t taken_messages = 1'000;
    size_t taken_bytes = size_t{8} << 20;
  };

  static absl::StatusOr<std::unique_ptr<Consumer>> Open(std::shared_ptr<Client> client,
                                                        const Options& options);
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // The next message, if one is there.
  absl::StatusOr<std::optional<Message>> TryNext();
  // Calls `ready` once, as soon as TryNext has something or fails: at once, or from a thread of the
  // library's, which it must not keep waiting. A later call replaces an earlier one.
  void NotifyWhenReady(std::function<void()> ready);

  // As far as is known here; asks nobody.
  bool connected() const;

  // All messages of the entry of this one are done.
  void AckEntry(const MessageId& id);
  // All messages up to the entry of this one, of an exclusive subscription.
  void AckUpTo(const MessageId& id);
  // The entry of this message comes again, after the delay. Until then each call puts off all of
  // them by up to a third of the delay: called without a pause, nothing comes.
  void NackEntry(const MessageId& id);

  // The last message of the topic; nothing when it has none.
  absl::StatusOr<std::optional<MessageId>> LastId();
  // Moves the subscription; all of its consumers reconnect.
  absl::Status Seek(const MessageId& to);
  absl::Status SeekTime(uint64_t unix_ms);
  // Deletes the subscription; it must be the only consumer.
  absl::Status Unsubscribe();

 private:
  struct State;

  Consumer(std::shared_ptr<Client> client, const Options& options);
  absl::Status Subscribe();
  absl::Status Failed(c::Result result, std::string_view doing) const;
  static void Pump(State& state);
  static void PumpOn(State& state);
  static void OnReceived(c::Result result, c::Message* message, void* state);

  const std::shared_ptr<Client> client_;
  const Options options_;
  std::unique_ptr<State> state_;
};

}  // namespace pgc::pulsar
