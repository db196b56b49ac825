#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "event/store.h"
#include "gateway/name_filter.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// What a consumer asks for with its first request (docs/contract.md, sections 7 and 12).
struct CaptureInit {
  std::string uri;
  NameFilter tables;
  NameFilter schemas;
  ConsumerOptions consumer;
  // A new subscription begins at the end, and with dumps of all tables that pass the filters.
  bool from_snapshot = false;
  bool boundaries = false;  // Begin and Commit too
  bool extras = false;      // Truncate and logical messages too
  bool batched = false;     // many events a message
  // What the client can receive, when it says so.
  std::optional<uint64_t> max_message_bytes;
};

// InvalidArgument, naming the field, when it breaks the contract. Parameters that are not known are
// ignored.
absl::StatusOr<CaptureInit> ReadCaptureInit(const pb::CaptureInit& init);

}  // namespace pgc
