#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "pulsar/client.h"
#include "pulsar/consumer.h"
#include "pulsar/message_id.h"

namespace pgc {

// Keeps the subscription in which the Go program's tracker `pulsarSub` finds the end of a topic
// (docs/contract.md, section 4): the last message in it that is not acknowledged. So it is
// acknowledged up to an entry that others follow, and it does not keep all that was ever written.
//
// Thread-safe, and Note does not wait.
class SubscriptionTracker {
 public:
  // Makes the subscription when it is not there, at the topic's end. FailedPrecondition while
  // another program has it.
  static absl::StatusOr<std::unique_ptr<SubscriptionTracker>> Open(
      std::shared_ptr<pulsar::Client> client, const std::string& topic);

  // A message is stored, behind those noted before.
  void Note(const pulsar::MessageId& id);

 private:
  explicit SubscriptionTracker(std::unique_ptr<pulsar::Consumer> consumer)
      : consumer_(std::move(consumer)) {}

  const std::unique_ptr<pulsar::Consumer> consumer_;
  Mutex mutex_;
  std::optional<pulsar::MessageId> last_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
