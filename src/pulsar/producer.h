#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "pulsar/client.h"
#include "pulsar/message_id.h"

namespace pgc::pulsar {

// Sends messages to a topic, in order and in compressed batches, under a name that one producer at
// a time has. It reconnects by itself, and sends again what has no receipt.
//
// Not thread-safe. Once a message has failed, none behind it is sent: a topic never has a gap. So
// every error is final, but a new producer may do better. Errors as Client; Unavailable also when
// there was no receipt for a while.
class Producer {
 public:
  struct Options {
    std::string topic = {};
    std::string name = {};
    std::string host = {};                   // a property, for people
    std::vector<std::string> clusters = {};  // to replicate to; empty: what the namespace says
    // Of a batch, at most. Two messages at least.
    unsigned batch_messages = 1'000;
    size_t batch_bytes = size_t{1} << 20;
    std::chrono::milliseconds batch_delay{10};
    // Sent and without receipt, at most; always at least one message.
    size_t max_in_flight_bytes = size_t{32} << 20;
    size_t max_in_flight_messages = 20'000;
    // Without a receipt for so long, everything gives up. The library waits forever, and there are
    // rare cases where it waits for nothing: a topic moved twice within a moment.
    std::chrono::milliseconds stall_timeout{30'000};
    // Called with the id of a message that is stored, so often at most; not when it is zero. As
    // StoredCallback.
    std::chrono::milliseconds id_interval{0};
    std::function<void(const MessageId& id)> stored_id = nullptr;
  };
  // Called with the number of messages that are stored, of those sent: the first ones. From a
  // thread of the library's, which it must not keep waiting.
  using StoredCallback = std::function<void(uint64_t stored)>;

  // FailedPrecondition when another producer has the name.
  static absl::StatusOr<std::unique_ptr<Producer>> Open(std::shared_ptr<Client> client,
                                                        const Options& options,
                                                        StoredCallback stored);
  // What has no receipt yet may be stored or not. No callback comes after it.
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Waits while too much has no receipt. A large message is sent alone, and waited for.
  absl::Status Send(std::string_view key, std::span<const uint8_t> payload);
  // Sends what waits for a batch to fill, and waits for all receipts.
  absl::Status Flush();
  // What Send would fail with now. For who has nothing to send, and something sent.
  absl::Status Check();

 private:
  // A batch holds less, and a message that its broker may refuse for its size is larger.
  static constexpr size_t kAloneBytes = size_t{64} << 10;

  struct State;

  Producer(std::shared_ptr<Client> client, const Options& options, StoredCallback stored);
  absl::Status Connect();
  absl::Status WaitFor(const std::function<bool(const State&)>& enough);
  void SendNow(std::string_view key, std::span<const uint8_t> payload);
  absl::Status Failure();
  void Close();
  static void OnReceipt(c::Result result, c::MessageId* id, void* state);

  const std::shared_ptr<Client> client_;
  const Options options_;
  std::string key_;  // with a NUL byte at its end
  c::Producer* producer_ = nullptr;
  bool closed_ = false;
  std::unique_ptr<State> state_;
};

}  // namespace pgc::pulsar
