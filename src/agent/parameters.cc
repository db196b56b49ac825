#include "agent/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>

#include "base/status_macros.h"
#include "event/lsn.h"
#include "pg/url.h"
#include "source/names.h"

namespace pgc {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

// A wrong value that comes from outside, as far as an error repeats it.
constexpr size_t kShownBytes = 100;
// As the Go program's.
constexpr std::chrono::minutes kTrackerInterval{1};

absl::Status Wrong(std::string_view key, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", key, what));
}

const Value* Find(const Struct& parameters, const char* key) {
  const auto found = parameters.fields().find(key);
  if (found == parameters.fields().end()) return nullptr;
  return found->second.kind_case() == Value::kNullValue ? nullptr : &found->second;
}

// Empty when it is not given.
absl::StatusOr<std::string> Text(const Struct& parameters, const char* key) {
  const Value* const value = Find(parameters, key);
  if (value == nullptr || value->kind_case() == Value::KIND_NOT_SET) return std::string();
  if (value->kind_case() != Value::kStringValue) return Wrong(key, "is not text");
  if (value->string_value().find('\0') != std::string::npos) return Wrong(key, "has a NUL byte");
  return value->string_value();
}

absl::StatusOr<std::string> Required(const Struct& parameters, const char* key) {
  PGC_ASSIGN_OR_RETURN(std::string text, Text(parameters, key));
  if (text.empty()) return Wrong(key, "is missing");
  return text;
}

absl::StatusOr<std::string> RequiredUrl(const Struct& parameters, const char* key) {
  PGC_ASSIGN_OR_RETURN(std::string url, Required(parameters, key));
  if (!IsConnectionString(url)) return Wrong(key, "is not a URL: postgres://user@host/database");
  return url;
}

absl::StatusOr<DecodePlugin> RequiredPlugin(const Struct& parameters) {
  PGC_ASSIGN_OR_RETURN(const std::string name, Required(parameters, "DecodePlugin"));
  if (name == "pgoutput") return DecodePlugin::kPgOutput;
  if (name == "pglogical_output" || name == "pglogical") return DecodePlugin::kPglogical;
  return Wrong("DecodePlugin", fmt::format("is neither pgoutput nor pglogical_output: {}",
                                           name.substr(0, kShownBytes)));
}

// How often the tracker's subscription is acknowledged; zero when there is none. What the store has
// no use for is to be right nevertheless.
absl::StatusOr<std::chrono::milliseconds> ReadTracker(const Struct& parameters) {
  std::chrono::milliseconds every = kTrackerInterval;
  PGC_ASSIGN_OR_RETURN(const std::string tracker, Text(parameters, "PulsarTracker"));
  if (!tracker.empty() && tracker != "pulsar" && tracker != "pulsarSub") {
    return Wrong("PulsarTracker", fmt::format("is neither pulsar nor pulsarSub: {}",
                                              tracker.substr(0, kShownBytes)));
  }
  PGC_ASSIGN_OR_RETURN(const std::string interval, Text(parameters, "PulsarTrackerInterval"));
  if (!interval.empty()) {
    const auto duration = ParseGoDuration(interval);
    if (!duration.ok()) {
      return Wrong("PulsarTrackerInterval",
                   fmt::format("is no duration (1m30s): {}", interval.substr(0, kShownBytes)));
    }
    const auto whole = std::chrono::ceil<std::chrono::milliseconds>(*duration);
    if (whole.count() > 0) every = whole;
  }
  if (tracker != "pulsarSub") every = {};
  const Value* const replicate = Find(parameters, "PulsarTrackerReplicateState");
  if (replicate == nullptr || replicate->kind_case() == Value::kBoolValue) return every;
  const std::string& text = replicate->string_value();  // empty when it is none
  if (text == "true" || text == "false" ||
      (replicate->kind_case() == Value::kStringValue && text.empty())) {
    return every;
  }
  return Wrong("PulsarTrackerReplicateState", "is neither true nor false");
}

absl::StatusOr<Lsn> ReadStartLsn(const Struct& parameters) {
  PGC_ASSIGN_OR_RETURN(const std::string text, Text(parameters, "StartLSN"));
  if (text.empty()) return Lsn{};
  const auto start = ParseLsn(text);
  if (start.ok()) return *start;
  return Wrong("StartLSN", fmt::format("is no LSN (16/B374D848): {}", text.substr(0, kShownBytes)));
}

// A number, or the text of one.
absl::Status CheckBatchTxSize(const Struct& parameters) {
  constexpr char kKey[] = "BatchTxSize";
  const Value* const value = Find(parameters, kKey);
  if (value == nullptr || value->kind_case() == Value::KIND_NOT_SET) return absl::OkStatus();
  double number = -1;
  if (value->kind_case() == Value::kNumberValue) {
    number = value->number_value();
  } else if (value->kind_case() == Value::kStringValue) {
    const std::string& text = value->string_value();
    if (text.empty()) return absl::OkStatus();
    uint32_t whole = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (read.ec == std::errc() && read.ptr == text.data() + text.size()) number = whole;
  }
  const bool whole = number >= 0 && number <= INT32_MAX && std::floor(number) == number;
  return whole ? absl::OkStatus() : Wrong(kKey, "is not a whole number");
}

std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

absl::StatusOr<CaptureParameters> ReadCapture(const Struct& parameters) {
  CaptureParameters read;
  PGC_ASSIGN_OR_RETURN(read.source.url, RequiredUrl(parameters, "PGConnURL"));
  PGC_ASSIGN_OR_RETURN(read.source.replication_url, RequiredUrl(parameters, "PGReplURL"));
  PGC_ASSIGN_OR_RETURN(read.store.url, Required(parameters, "PulsarURL"));
  PGC_ASSIGN_OR_RETURN(read.source.topic, Required(parameters, "PulsarTopic"));
  PGC_ASSIGN_OR_RETURN(read.source.decode_plugin, RequiredPlugin(parameters));
  PGC_ASSIGN_OR_RETURN(const std::string tables, Text(parameters, "Tables"));
  read.source.tables = SplitAtCommas(tables);
  PGC_ASSIGN_OR_RETURN(read.store.tracker_interval, ReadTracker(parameters));
  PGC_ASSIGN_OR_RETURN(read.start, ReadStartLsn(parameters));
  return read;
}

absl::StatusOr<ApplyParameters> ReadApply(const Struct& parameters) {
  ApplyParameters read;
  PGC_ASSIGN_OR_RETURN(read.url, RequiredUrl(parameters, "PGConnURL"));
  PGC_ASSIGN_OR_RETURN(read.store.url, Required(parameters, "PulsarURL"));
  PGC_ASSIGN_OR_RETURN(read.topic, Required(parameters, "PulsarTopic"));
  // What is no name for a slot is refused where the topic is captured.
  read.source_id = SlotName(read.topic).value_or(read.topic);
  PGC_ASSIGN_OR_RETURN(read.pg_log_path, Text(parameters, "PGLogPath"));
  PGC_RETURN_IF_ERROR(Text(parameters, "ReaderPrefix").status());
  PGC_RETURN_IF_ERROR(CheckBatchTxSize(parameters));
  return read;
}

void Mask(Value& value) {
  if (value.kind_case() == Value::kStringValue) {
    value.set_string_value(MaskPassword(value.string_value()));
  } else if (value.kind_case() == Value::kListValue) {
    for (Value& item : *value.mutable_list_value()->mutable_values()) Mask(item);
  } else if (value.kind_case() == Value::kStructValue) {
    for (auto& [key, field] : *value.mutable_struct_value()->mutable_fields()) Mask(field);
  }
}

// In nanoseconds; 0 when there is no such unit.
double UnitOf(std::string_view name) {
  if (name == "ns") return 1;
  if (name == "us" || name == "\u00B5s" || name == "\u03BCs") return 1e3;
  if (name == "ms") return 1e6;
  if (name == "s") return 1e9;
  if (name == "m") return 60e9;
  if (name == "h") return 3600e9;
  return 0;
}

}  // namespace

bool IsStatus(const Struct& parameters) {
  const Value* const command = Find(parameters, "Command");
  return command != nullptr && command->string_value() == "status";
}

absl::StatusOr<PipelineParameters> ReadParameters(const Struct& parameters) {
  PGC_ASSIGN_OR_RETURN(const std::string command, Required(parameters, "Command"));
  if (command == "pg2pulsar") return ReadCapture(parameters);
  if (command == "pulsar2pg") return ReadApply(parameters);
  return Wrong("Command", fmt::format("is none of pg2pulsar, pulsar2pg and status: {}",
                                      command.substr(0, kShownBytes)));
}

Struct MaskParameters(Struct parameters) {
  for (auto& [key, value] : *parameters.mutable_fields()) Mask(value);
  return parameters;
}

absl::StatusOr<std::chrono::nanoseconds> ParseGoDuration(std::string_view text) {
  const auto wrong = [text] {
    return absl::InvalidArgumentError(
        fmt::format("no duration (1m30s): {}", text.substr(0, kShownBytes)));
  };
  std::string_view rest = text;
  if (!rest.empty() && rest[0] == '+') rest.remove_prefix(1);
  if (rest == "0") return std::chrono::nanoseconds(0);
  if (rest.empty()) return wrong();
  double sum = 0;
  while (!rest.empty()) {
    const std::string number(rest.substr(0, rest.find_first_not_of("0123456789.")));
    const bool has_digit = number.find_first_of("0123456789") != std::string::npos;
    if (!has_digit || std::count(number.begin(), number.end(), '.') > 1) return wrong();
    rest.remove_prefix(number.size());
    const std::string_view unit = rest.substr(0, rest.find_first_of("0123456789."));
    rest.remove_prefix(unit.size());
    if (UnitOf(unit) == 0) return wrong();
    double value = 0;
    // from_chars knows no locale; it takes `.5` and `5.` as Go does.
    const auto read = std::from_chars(number.data(), number.data() + number.size(), value);
    if (read.ec != std::errc()) return wrong();
    sum += value * UnitOf(unit);
  }
  if (sum > 9.2e18) return wrong();
  return std::chrono::nanoseconds(std::llround(sum));
}

}  // namespace pgc
