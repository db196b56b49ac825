#include "gateway/pages_answer.h"

#include <utility>

#include "base/status_macros.h"
#include "event/encoder.h"
#include "event/wire.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

// The fields of an AgentDumpResponse.
enum Field : uint32_t {
  kChange = 1,
  kAppliedLsn = 20,
  kSnapshot = 21,
  kSystemIdentifier = 22,
  kRelfilenode = 23,
  kPages = 24,
  kLast = 25,
  kStorePosition = 26,
  kUpperLsn = 27,
  kSweepNeeded = 28,
  kNoKey = 29,
  kBySnapshot = 30,
  kSchema = 31,
  kTable = 32,
};

absl::Status NoAnswer() {
  return absl::InvalidArgumentError("the agent's answer is no AgentDumpResponse");
}

absl::Status ReadField(const wire::Reader& field, PagesAnswer& answer) {
  PagesHeader& header = answer.header;
  switch (field.field()) {
    case kChange: {
      if (!field.is_bytes()) return NoAnswer();
      const std::span<const uint8_t> change = field.bytes();
      const size_t length_bytes = wire::VarintSize(change.size());
      // The length stands before the bytes, in its shortest form or not.
      answer.rows.emplace_back(change.data() - length_bytes, change.size() + length_bytes);
      uint64_t length = 0;
      const uint8_t* const begin = answer.rows.back().data();
      if (wire::ReadVarint(begin, begin + length_bytes, length) != change.data() ||
          length != change.size()) {
        return NoAnswer();
      }
      return absl::OkStatus();
    }
    case kSnapshot: {
      auto snapshot = ParseSnapshot(field.text());
      if (!snapshot.ok()) return NoAnswer();
      header.snapshot = *std::move(snapshot);
      return absl::OkStatus();
    }
    case kStorePosition:
      if (!field.is_bytes()) return NoAnswer();
      header.store_position = field.text();
      return absl::OkStatus();
    case kSchema:
    case kTable:
      if (!field.is_bytes()) return NoAnswer();
      (field.field() == kSchema ? header.schema : header.table) = field.text();
      return absl::OkStatus();
    default:
      break;
  }
  if (!field.is_number()) return absl::OkStatus();
  const uint64_t number = field.number();
  switch (field.field()) {
    case kAppliedLsn:
      header.applied.value = number;
      break;
    case kUpperLsn:
      header.upper.value = number;
      break;
    case kSystemIdentifier:
      header.system_identifier = number;
      break;
    case kRelfilenode:
      header.relfilenode = static_cast<uint32_t>(number);
      break;
    case kPages:
      header.pages = static_cast<uint32_t>(number);
      break;
    case kLast:
      answer.last = number != 0;
      break;
    case kSweepNeeded:
      header.sweep_needed = number != 0;
      break;
    case kNoKey:
      header.no_key = number != 0;
      break;
    case kBySnapshot:
      header.by_snapshot = number != 0;
      break;
    default:
      break;
  }
  return absl::OkStatus();
}

bool IsMessage(std::span<const uint8_t> bytes) {
  wire::Reader reader(bytes);
  while (reader.Next()) {
    if (reader.field() == 0) return false;
  }
  return reader.ok();
}

void TakeField(const wire::Reader& field, ChangeSummary& summary) {
  if (field.field() == 1 && field.is_number()) {
    summary.is_update = field.number() == static_cast<uint64_t>(Operation::kUpdate);
  } else if (field.is_bytes()) {
    if (field.field() == 2) summary.schema = field.text();
    if (field.field() == 3) summary.table = field.text();
    if (field.field() == 4) ++summary.new_fields;
  }
}

// As Summarize, of what comes from outside: its columns are looked at too.
std::optional<ChangeSummary> SummarizeRow(std::span<const uint8_t> change) {
  ChangeSummary summary;
  wire::Reader reader(change);
  while (reader.Next()) {
    const bool is_column = (reader.field() == 4 || reader.field() == 5) && reader.is_bytes();
    if (reader.field() == 0 || (is_column && !IsMessage(reader.bytes()))) return std::nullopt;
    TakeField(reader, summary);
  }
  if (!reader.ok()) return std::nullopt;
  return summary;
}

}  // namespace

absl::StatusOr<PagesAnswer> ParsePagesAnswer(std::span<const uint8_t> bytes) {
  PagesAnswer answer;
  wire::Reader reader(bytes);
  while (reader.Next()) PGC_RETURN_IF_ERROR(ReadField(reader, answer));
  if (!reader.ok()) return NoAnswer();
  PGC_RETURN_IF_ERROR(CheckRows(answer.rows));
  return answer;
}

absl::Status CheckRows(const std::vector<std::span<const uint8_t>>& rows) {
  std::optional<ChangeSummary> first;
  for (const std::span<const uint8_t> row : rows) {
    const auto change = SummarizeRow(ChangeOf(row));
    if (!change) return absl::InvalidArgumentError("the agent sent a row that is no change");
    if (!first) first = change;
    if (change->schema != first->schema || change->table != first->table) {
      return absl::InvalidArgumentError("the agent sent rows of two tables");
    }
  }
  return absl::OkStatus();
}

std::optional<ChangeSummary> Summarize(std::span<const uint8_t> change) {
  ChangeSummary summary;
  wire::Reader reader(change);
  while (reader.Next()) TakeField(reader, summary);
  if (!reader.ok()) return std::nullopt;
  return summary;
}

std::span<const uint8_t> ChangeOf(std::span<const uint8_t> row) {
  uint64_t length = 0;
  const uint8_t* const change = wire::ReadVarint(row.data(), row.data() + row.size(), length);
  return {change, static_cast<size_t>(length)};
}

}  // namespace pgc
