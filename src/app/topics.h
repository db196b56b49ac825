#pragma once

#include <cstdio>
#include <string>

#include "absl/status/status.h"

namespace pgc {

// What to do with the log behind a gateway: at most one of move, delete_subscription and
// delete_topic; none of them shows what is there.
struct TopicsOptions {
  std::string gateway = "127.0.0.1:10001";
  bool json = false;
  std::string move;                 // TOPIC/NAME
  std::string to;                   // with `move`: end, beginning, an LSN or an RFC 3339 time
  std::string delete_subscription;  // TOPIC/NAME
  std::string delete_topic;
  std::FILE* output = stdout;
};

// One question to the gateway and its answer. Its errors name the gateway: Unavailable when nothing
// answers there, Unimplemented when that is no gateway of ours, else as EventStore says.
absl::Status RunTopics(const TopicsOptions& options);

}  // namespace pgc
