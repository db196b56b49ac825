#include "gateway/capture_init.h"

#include <google/protobuf/struct.pb.h>

#include "base/status_macros.h"

namespace pgc {
namespace {

using google::protobuf::Value;

// The parameter `name`, or nullptr when it is not given; JSON's null counts as not given.
const Value* Find(const pb::CaptureInit& init, const char* name) {
  const auto& fields = init.parameters().fields();
  const auto at = fields.find(name);
  return at == fields.end() || at->second.has_null_value() ? nullptr : &at->second;
}

}  // namespace

absl::StatusOr<CaptureInit> ReadCaptureInit(const pb::CaptureInit& init) {
  if (init.uri().empty()) return absl::InvalidArgumentError("the uri of init is empty");
  CaptureInit read{.uri = init.uri(), .tables = {}, .ephemeral = false};
  if (const Value* const regex = Find(init, "TableRegex"); regex != nullptr) {
    if (!regex->has_string_value()) {
      return absl::InvalidArgumentError("the parameter TableRegex is not text");
    }
    PGC_ASSIGN_OR_RETURN(read.tables, TableFilter::Compile(regex->string_value()));
  }
  if (const Value* const ephemeral = Find(init, "Ephemeral"); ephemeral != nullptr) {
    if (!ephemeral->has_bool_value()) {
      return absl::InvalidArgumentError("the parameter Ephemeral is not a boolean");
    }
    read.ephemeral = ephemeral->bool_value();
  }
  return read;
}

}  // namespace pgc
