#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "event/checkpoint.h"
#include "event/event_kind.h"
#include "pulsar/client.h"
#include "pulsar/message_id.h"

namespace pgc {

// An event of a topic, and where it lies.
struct PulsarTail {
  Checkpoint checkpoint;
  EventKind kind = EventKind::kBegin;
  pulsar::MessageId id;
};

// The last event of the entry that this message is of, the last one of the topic. What is no event
// that is known here counts as the end of a transaction that is not complete. Unavailable when it
// cannot be read; DataLoss when it is damaged.
absl::StatusOr<PulsarTail> ReadPulsarTail(std::shared_ptr<pulsar::Client> client,
                                          const std::string& topic, const pulsar::MessageId& last);

// The checkpoint of the last message of a topic; zero when it has none, or is not there yet.
// DataLoss when the message's key is no checkpoint.
//
// The client library gives no reader the last message's id. So a place near the end is found by the
// times of publication, and what is behind it is read: times that go back cost time, not the
// answer.
absl::StatusOr<Checkpoint> FindPulsarTail(std::shared_ptr<pulsar::Client> client,
                                          const std::string& topic);

}  // namespace pgc
