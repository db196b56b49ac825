// What the tests against a broker share.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "pulsar/client.h"
#include "pulsar/consumer.h"
#include "pulsar/producer.h"
#include "pulsar/reader.h"
#include "testing/pulsar_broker.h"

namespace pgc::pulsar {

inline std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline std::string TextOf(const Message& message) {
  const auto data = message.data();
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

inline std::shared_ptr<Client> NewClient(const std::string& url) {
  auto client = Client::Create(url, {.library = PulsarBroker::Library()});
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *client : nullptr;
}

// Counts receipts.
class Receipts {
 public:
  Producer::StoredCallback callback() {
    return [this](uint64_t stored) {
      MutexLock lock(mutex_);
      stored_ = stored;
    };
  }
  uint64_t stored() {
    MutexLock lock(mutex_);
    return stored_;
  }

 private:
  Mutex mutex_;
  uint64_t stored_ PGC_GUARDED_BY(mutex_) = 0;
};

// Whether there are more, once the reader is connected.
inline bool HasMore(Reader& reader) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (true) {
    const auto more = reader.HasMore();
    if (more.ok()) return *more;
    if (!absl::IsUnavailable(more.status()) || std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << more.status();
      return false;
    }
  }
}

// All messages of a topic, from a reader that has been opened.
inline std::vector<Message> ReadToEnd(Reader& reader) {
  std::vector<Message> messages;
  while (HasMore(reader)) {
    auto next = reader.Next(std::chrono::seconds(30));
    EXPECT_TRUE(next.ok()) << next.status();
    if (!next.ok() || !next->has_value()) {
      ADD_FAILURE() << "no message in 30 s, though the topic has more behind " << messages.size();
      return messages;
    }
    messages.push_back(**std::move(next));
  }
  return messages;
}

// The next message of a consumer; nothing when none comes in that time.
inline std::optional<Message> WaitNext(
    Consumer& consumer, std::chrono::milliseconds patience = std::chrono::seconds(30)) {
  auto ready = std::make_shared<std::promise<void>>();
  consumer.NotifyWhenReady([ready] { ready->set_value(); });
  if (ready->get_future().wait_for(patience) != std::future_status::ready) return std::nullopt;
  auto message = consumer.TryNext();
  EXPECT_TRUE(message.ok()) << message.status();
  return message.ok() ? *std::move(message) : std::nullopt;
}

inline std::vector<Message> ReadAll(const std::shared_ptr<Client>& client, const std::string& topic,
                                    const ReadFrom& from = FromEarliest{}) {
  const auto reader = Reader::Open(client, {.topic = topic, .from = from});
  EXPECT_TRUE(reader.ok()) << reader.status();
  return reader.ok() ? ReadToEnd(**reader) : std::vector<Message>{};
}

}  // namespace pgc::pulsar
