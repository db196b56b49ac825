#pragma once

#include <cstdint>
#include <cstdio>
#include <stop_token>
#include <string>

#include "absl/status/status.h"

namespace pgc {

enum class TailFormat { kJson, kText };

struct TailOptions {
  std::string gateway = "127.0.0.1:10001";
  std::string uri;                  // empty: read `topic` from its end and leave nothing behind
  std::string topic = "pgcapture";  // only without `uri`
  std::string table_regex;          // empty: all tables
  std::string schema_regex;         // empty: all schemas
  std::string from;                 // where a new subscription begins; empty: at the end
  bool extras = false;              // TRUNCATE and logical messages too
  bool boundaries = false;          // BEGIN and COMMIT too
  bool key_shared = false;          // all changes of a row to one of those that share `uri`
  TailFormat format = TailFormat::kText;
  uint64_t limit = 0;   // ends after this many lines; 0: never
  bool no_ack = false;  // the next reader gets it all again
  std::FILE* output = stdout;
};

// Prints changes, and what else was asked for, one a line, until `stop`, the limit, or until nobody
// reads the output any more; each is acknowledged after its line is written. A named subscription
// is attached again with backoff when the gateway goes away; without `uri` that is an error,
// because of the gap.
absl::Status RunTail(const TailOptions& options, std::stop_token stop);

}  // namespace pgc
