#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "pulsar/c_api.h"
#include "pulsar/message_id.h"

namespace pgc::pulsar {

// A message that was received. What it gives is valid as long as it is. Not thread-safe.
class Message {
 public:
  Message(const c::Api& api, c::Message* message) : api_(&api), message_(message, Free{&api}) {}

  std::span<const uint8_t> data() const {
    return {static_cast<const uint8_t*>(api_->message_get_data(message_.get())),
            api_->message_get_length(message_.get())};
  }
  std::string_view key() const { return api_->message_get_partitionKey(message_.get()); }
  // As the Go client has it: a message that was sent alone is number 0 of 1.
  const MessageId& id() const;
  uint64_t publish_time_ms() const { return api_->message_get_publish_timestamp(message_.get()); }
  int redeliveries() const { return api_->message_get_redelivery_count(message_.get()); }

 private:
  struct Free {
    const c::Api* api;
    void operator()(c::Message* message) const { api->message_free(message); }
  };

  const c::Api* api_;
  std::unique_ptr<c::Message, Free> message_;
  mutable std::optional<MessageId> id_;  // the library gives it as bytes only
};

// A message id of the library's own. Never null.
class OwnedId {
 public:
  OwnedId(const c::Api& api, const MessageId& id);
  ~OwnedId() { api_.message_id_free(id_); }
  OwnedId(const OwnedId&) = delete;
  OwnedId& operator=(const OwnedId&) = delete;

  c::MessageId* get() const { return id_; }

 private:
  const c::Api& api_;
  c::MessageId* const id_;
};

// The value of an id of the library's own, which stays the caller's.
MessageId ValueOf(const c::Api& api, c::MessageId* id);

}  // namespace pgc::pulsar
