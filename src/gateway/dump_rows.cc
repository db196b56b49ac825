#include "gateway/dump_rows.h"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
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
  kUpperLsn = 27,
  kSweepNeeded = 28,
  kNoKey = 29,
};

absl::StatusOr<std::shared_ptr<const grpc::Slice>> OneSlice(const grpc::ByteBuffer& bytes) {
  auto slice = std::make_shared<grpc::Slice>();
  if (!bytes.DumpToSingleSlice(slice.get()).ok()) {
    return absl::InvalidArgumentError("the agent's answer cannot be read");
  }
  return slice;
}

std::span<const uint8_t> BytesOf(const grpc::Slice& slice) { return {slice.begin(), slice.size()}; }

absl::Status NoAnswer() {
  return absl::InvalidArgumentError("the agent's answer is no AgentDumpResponse");
}

// The xmin of a snapshot as `xmin:xmax:xip,…`; 0 when it is none.
uint64_t XminOf(std::string_view snapshot) {
  uint64_t xmin = 0;
  const auto read = std::from_chars(snapshot.data(), snapshot.data() + snapshot.size(), xmin);
  const bool ok =
      read.ec == std::errc() && read.ptr != snapshot.data() + snapshot.size() && *read.ptr == ':';
  return ok ? xmin : 0;
}

absl::Status ReadField(const wire::Reader& field, DumpPart& part) {
  DumpAnswer& answer = part.answer;
  switch (field.field()) {
    case kChange: {
      if (!field.is_bytes()) return NoAnswer();
      const std::span<const uint8_t> change = field.bytes();
      const size_t length_bytes = wire::VarintSize(change.size());
      // The length stands before the bytes, in its shortest form or not.
      part.rows.rows.emplace_back(change.data() - length_bytes, change.size() + length_bytes);
      uint64_t length = 0;
      const uint8_t* const begin = part.rows.rows.back().data();
      if (wire::ReadVarint(begin, begin + length_bytes, length) != change.data() ||
          length != change.size()) {
        return NoAnswer();
      }
      return absl::OkStatus();
    }
    case kSnapshot:
      answer.snapshot_xmin = XminOf(field.text());
      return absl::OkStatus();
    default:
      break;
  }
  if (!field.is_number()) return absl::OkStatus();
  const uint64_t number = field.number();
  switch (field.field()) {
    case kAppliedLsn:
      answer.applied.value = number;
      break;
    case kUpperLsn:
      answer.upper.value = number;
      break;
    case kSystemIdentifier:
      answer.system_identifier = number;
      break;
    case kRelfilenode:
      answer.relfilenode = static_cast<uint32_t>(number);
      break;
    case kPages:
      answer.pages = static_cast<uint32_t>(number);
      break;
    case kLast:
      part.last = number != 0;
      break;
    case kSweepNeeded:
      answer.sweep_needed = number != 0;
      break;
    case kNoKey:
      answer.no_key = number != 0;
      break;
    default:
      break;
  }
  return absl::OkStatus();
}

class Crc {
 public:
  void Add(std::string_view bytes) {
    crc_ =
        crc32(crc_, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
  }
  void Add(uint32_t number) {
    const std::array<char, 4> bytes{static_cast<char>(number >> 24),
                                    static_cast<char>(number >> 16), static_cast<char>(number >> 8),
                                    static_cast<char>(number)};
    Add(std::string_view(bytes.data(), bytes.size()));
  }
  uint32_t value() const { return static_cast<uint32_t>(crc_); }

 private:
  uLong crc_ = crc32(0, nullptr, 0);
};

}  // namespace

absl::StatusOr<DumpPart> ReadDumpPart(const grpc::ByteBuffer& bytes) {
  DumpPart part;
  PGC_ASSIGN_OR_RETURN(part.rows.bytes, OneSlice(bytes));
  wire::Reader reader(BytesOf(*part.rows.bytes));
  while (reader.Next()) PGC_RETURN_IF_ERROR(ReadField(reader, part));
  if (!reader.ok()) return NoAnswer();
  return part;
}

absl::StatusOr<DumpPart> ReadDumpChange(const grpc::ByteBuffer& bytes) {
  PGC_ASSIGN_OR_RETURN(const auto change, OneSlice(bytes));
  const size_t length_bytes = wire::VarintSize(change->size());
  grpc_slice row = grpc_slice_malloc(length_bytes + change->size());
  uint8_t* const out = wire::WriteVarint(GRPC_SLICE_START_PTR(row), change->size());
  if (change->size() > 0) std::memcpy(out, change->begin(), change->size());
  DumpPart part;
  part.rows.bytes = std::make_shared<const grpc::Slice>(row, grpc::Slice::STEAL_REF);
  part.rows.rows.push_back(BytesOf(*part.rows.bytes));
  return part;
}

std::optional<ChangeSummary> Summarize(std::span<const uint8_t> change) {
  ChangeSummary summary;
  wire::Reader reader(change);
  while (reader.Next()) {
    if (reader.field() == 1 && reader.is_number()) {
      summary.is_update = reader.number() == pb::Change::UPDATE;
    } else if (reader.is_bytes()) {
      if (reader.field() == 2) summary.schema = reader.text();
      if (reader.field() == 3) summary.table = reader.text();
      if (reader.field() == 4) ++summary.new_fields;
    }
  }
  if (!reader.ok()) return std::nullopt;
  return summary;
}

std::span<const uint8_t> ChangeOf(std::span<const uint8_t> row) {
  uint64_t length = 0;
  const uint8_t* const change = wire::ReadVarint(row.data(), row.data() + row.size(), length);
  return {change, static_cast<size_t>(length)};
}

uint32_t DumpId(const pb::DumpInfoResponse& info) {
  Crc crc;
  crc.Add(info.schema());
  crc.Add(info.table());
  crc.Add(info.page_begin());
  crc.Add(info.page_end());
  crc.Add(info.where());
  for (const std::string& column : info.columns()) crc.Add(column);
  for (const std::string& key : info.keys()) crc.Add(key);
  if (info.sweep()) crc.Add(std::string_view("sweep"));
  return crc.value();
}

}  // namespace pgc
