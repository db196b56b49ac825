// The place of a message in a topic, and its bytes (docs/contract.md, section 4).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "absl/status/statusor.h"

namespace pgc::pulsar {

// A message that was sent alone is number 0 of 1; one that came in pieces has no number in a batch.
struct MessageId {
  int64_t ledger = -1;
  int64_t entry = -1;
  int32_t partition = 0;
  int32_t batch_index = -1;
  int32_t batch_size = 0;
  // Of a message in pieces: where the first of them is. `ledger` and `entry` are those of the last.
  struct Piece {
    int64_t ledger = 0;
    int64_t entry = 0;
    bool operator==(const Piece&) const = default;
  };
  std::optional<Piece> first_piece = std::nullopt;

  // Whether it names a message, and not an end of the topic.
  bool is_message() const { return ledger >= 0 && entry >= 0; }
  bool same_entry(const MessageId& other) const {
    return ledger == other.ledger && entry == other.entry;
  }
  bool operator==(const MessageId&) const = default;
};

// Whether `a` comes before `b` in the topic; a whole entry (batch_index -1) before its messages.
inline bool Precedes(const MessageId& a, const MessageId& b) {
  return std::tie(a.ledger, a.entry, a.batch_index) < std::tie(b.ledger, b.entry, b.batch_index);
}

// The bytes that the Go client writes: every field, also those that have their default.
std::string Serialize(const MessageId& id);

// From the bytes of any client; what is left out has the value that the Go client gives it. Invalid
// when they are no message id: a text that tells a time never is one.
absl::StatusOr<MessageId> ParseMessageId(std::string_view bytes);

// A place right before `id`: a reader that starts after it begins with `id`. Behind the last
// message that the entry before may have, because Apache's client takes a whole entry for its first
// message.
MessageId Before(const MessageId& id);

// `12:3:0:7`, for messages to people.
std::string ToString(const MessageId& id);

}  // namespace pgc::pulsar
