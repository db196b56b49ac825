#include "gateway/capture_init.h"

#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>

#include "base/status_macros.h"
#include "gateway/start_position.h"

namespace pgc {
namespace {

using google::protobuf::Value;

absl::Status Wrong(const char* name, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("the parameter {} is not {}", name, what));
}

// The parameter `name`, or nullptr when it is not given; JSON's null counts as not given.
const Value* Find(const pb::CaptureInit& init, const char* name) {
  const auto& fields = init.parameters().fields();
  const auto at = fields.find(name);
  return at == fields.end() || at->second.has_null_value() ? nullptr : &at->second;
}

absl::StatusOr<std::string> ReadText(const pb::CaptureInit& init, const char* name) {
  const Value* const value = Find(init, name);
  if (value == nullptr) return std::string();
  if (!value->has_string_value()) return Wrong(name, "text");
  return value->string_value();
}

absl::StatusOr<bool> ReadBool(const pb::CaptureInit& init, const char* name) {
  const Value* const value = Find(init, name);
  if (value == nullptr) return false;
  if (!value->has_bool_value()) return Wrong(name, "a boolean");
  return value->bool_value();
}

absl::StatusOr<NameFilter> ReadFilter(const pb::CaptureInit& init, const char* name) {
  PGC_ASSIGN_OR_RETURN(const std::string expression, ReadText(init, name));
  return NameFilter::Compile(name, expression);
}

absl::StatusOr<std::optional<uint64_t>> ReadMaxMessageBytes(const pb::CaptureInit& init) {
  constexpr char kName[] = "MaxMessageBytes";
  const Value* const value = Find(init, kName);
  if (value == nullptr) return std::nullopt;
  // Written so that NaN is none either.
  if (!value->has_number_value() || !(value->number_value() >= 1)) {
    return Wrong(kName, "a number above zero");
  }
  const double bytes = value->number_value();
  return bytes < double{Block::kMaxBytes} ? static_cast<uint64_t>(bytes) : uint64_t{UINT32_MAX};
}

}  // namespace

absl::StatusOr<CaptureInit> ReadCaptureInit(const pb::CaptureInit& init) {
  if (init.uri().empty()) return absl::InvalidArgumentError("the uri of init is empty");
  CaptureInit read;
  read.uri = init.uri();
  PGC_ASSIGN_OR_RETURN(read.tables, ReadFilter(init, "TableRegex"));
  PGC_ASSIGN_OR_RETURN(read.schemas, ReadFilter(init, "SchemaRegex"));
  PGC_ASSIGN_OR_RETURN(read.consumer.ephemeral, ReadBool(init, "Ephemeral"));
  PGC_ASSIGN_OR_RETURN(read.consumer.key_shared, ReadBool(init, "KeyShared"));
  PGC_ASSIGN_OR_RETURN(const std::string from, ReadText(init, "From"));
  read.from_snapshot = from == "snapshot";
  if (!from.empty() && !read.from_snapshot) {
    const auto start = ParseStart(from);
    if (!start.ok()) {
      return absl::Status(
          start.status().code(),
          fmt::format("the parameter From: {}", std::string(start.status().message())));
    }
    read.consumer.start = *start;
  }
  PGC_ASSIGN_OR_RETURN(read.boundaries, ReadBool(init, "Boundaries"));
  PGC_ASSIGN_OR_RETURN(read.extras, ReadBool(init, "Extras"));
  PGC_ASSIGN_OR_RETURN(read.batched, ReadBool(init, "Batched"));
  PGC_ASSIGN_OR_RETURN(read.max_message_bytes, ReadMaxMessageBytes(init));
  return read;
}

}  // namespace pgc
