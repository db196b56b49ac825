#include "gateway/dump_rows.h"

#include <zlib.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "event/wire.h"

namespace pgc {
namespace {

absl::StatusOr<std::shared_ptr<const grpc::Slice>> OneSlice(const grpc::ByteBuffer& bytes) {
  auto slice = std::make_shared<grpc::Slice>();
  if (!bytes.DumpToSingleSlice(slice.get()).ok()) {
    return absl::InvalidArgumentError("the agent's answer cannot be read");
  }
  return slice;
}

std::span<const uint8_t> BytesOf(const grpc::Slice& slice) { return {slice.begin(), slice.size()}; }

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

absl::StatusOr<PagesPart> ReadPagesPart(const grpc::ByteBuffer& bytes) {
  PagesPart part;
  PGC_ASSIGN_OR_RETURN(part.rows.bytes, OneSlice(bytes));
  PGC_ASSIGN_OR_RETURN(PagesAnswer answer, ParsePagesAnswer(BytesOf(*part.rows.bytes)));
  part.answer = answer.header;
  part.rows.rows = std::move(answer.rows);
  part.last = answer.last;
  return part;
}

absl::StatusOr<PagesPart> ReadDumpChange(const grpc::ByteBuffer& bytes) {
  PGC_ASSIGN_OR_RETURN(const auto change, OneSlice(bytes));
  const size_t length_bytes = wire::VarintSize(change->size());
  grpc_slice row = grpc_slice_malloc(length_bytes + change->size());
  uint8_t* const out = wire::WriteVarint(GRPC_SLICE_START_PTR(row), change->size());
  if (change->size() > 0) std::memcpy(out, change->begin(), change->size());
  PagesPart part;
  part.rows.bytes = std::make_shared<const grpc::Slice>(row, grpc::Slice::STEAL_REF);
  part.rows.rows.push_back(BytesOf(*part.rows.bytes));
  PGC_RETURN_IF_ERROR(CheckRows(part.rows.rows));
  return part;
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
  if (info.has_owed()) crc.Add(std::string_view("owed"));
  return crc.value();
}

}  // namespace pgc
