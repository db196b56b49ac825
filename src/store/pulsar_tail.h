#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "event/checkpoint.h"
#include "pulsar/client.h"

namespace pgc {

// The checkpoint of the last message of a topic; zero when it has none, or is not there yet.
// DataLoss when the message's key is no checkpoint.
//
// The client library gives no reader the last message's id. So a place near the end is found by the
// times of publication, and what is behind it is read: times that go back cost time, not the
// answer.
absl::StatusOr<Checkpoint> FindPulsarTail(std::shared_ptr<pulsar::Client> client,
                                          const std::string& topic);

}  // namespace pgc
