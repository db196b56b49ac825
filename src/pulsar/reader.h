#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "pulsar/client.h"
#include "pulsar/message.h"

namespace pgc::pulsar {

struct FromEarliest {};
struct FromLatest {};
struct FromId {  // the message with it, or the next one that is there
  MessageId id;
};
struct FromPublishTime {  // messages published at or after it, by whole batches
  uint64_t unix_ms = 0;
};
using ReadFrom = std::variant<FromEarliest, FromLatest, FromId, FromPublishTime>;

// Reads a topic from one place on, and leaves nothing behind. It reconnects by itself, and goes on
// after the last message it gave.
//
// Not thread-safe. Errors as Client.
class Reader {
 public:
  struct Options {
    std::string topic = {};
    ReadFrom from = FromEarliest{};
    std::string name = {};    // of this consumer, for the cluster's statistics
    std::string prefix = {};  // of the name of its subscription; empty: "reader"
    // Messages that it fetches ahead, at most.
    int queue_messages = 1'000;
  };

  static absl::StatusOr<std::unique_ptr<Reader>> Open(std::shared_ptr<Client> client,
                                                      const Options& options);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // The next message; nothing when none has come in that time.
  absl::StatusOr<std::optional<Message>> Next(std::chrono::milliseconds wait);
  // Whether the topic has messages behind the last one that it gave.
  absl::StatusOr<bool> HasMore();
  // As far as is known here; asks nobody.
  bool connected() const { return client_->api().reader_is_connected(reader_) != 0; }
  // Goes on there. What it has fetched is void.
  absl::Status Seek(const FromPublishTime& to);

 private:
  Reader(std::shared_ptr<Client> client, std::string topic)
      : client_(std::move(client)), topic_(std::move(topic)) {}
  absl::Status Subscribe(const Options& options);
  absl::Status Failed(c::Result result, std::string_view doing) const;

  const std::shared_ptr<Client> client_;
  const std::string topic_;
  c::Reader* reader_ = nullptr;
};

}  // namespace pgc::pulsar
