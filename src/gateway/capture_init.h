#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "gateway/table_filter.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// What a consumer asks for with its first request.
struct CaptureInit {
  std::string uri;
  TableFilter tables;
  bool ephemeral = false;
};

// InvalidArgument, naming the field, when it breaks the contract. Parameters that are not known
// are ignored.
absl::StatusOr<CaptureInit> ReadCaptureInit(const pb::CaptureInit& init);

}  // namespace pgc
