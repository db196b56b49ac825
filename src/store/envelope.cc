#include "store/envelope.h"

#include <fmt/format.h>
#include <zstd.h>

#include <bit>
#include <cstring>

#include "base/status_macros.h"
#include "store/crc32c.h"

static_assert(std::endian::native == std::endian::little, "envelopes are little-endian");

namespace pgc {
namespace {

constexpr uint8_t kVersion = 1;
constexpr int kLevel = 1;

enum Codec : uint8_t { kStored = 0, kZstd = 1 };

struct Header {
  uint32_t checksum;  // of all that follows it
  uint8_t version;
  uint8_t codec;
  uint16_t header_bytes;
  uint32_t block_bytes;
  uint32_t events;
  uint64_t ordinal;
  uint64_t first_lsn;
  uint64_t last_lsn;
  uint32_t first_seq;
  uint32_t last_seq;
  int64_t stored_us;
  int64_t newest_commit_us;
  uint64_t log_bytes;
};
static_assert(sizeof(Header) == 72);
constexpr size_t kChecksumBytes = sizeof(Header::checksum);

absl::Status Damaged(std::string_view what) {
  return absl::DataLossError(fmt::format("damaged block: {}", what));
}

absl::StatusOr<Header> ReadHeader(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof header) return Damaged("shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.version != kVersion) {
    return Damaged(fmt::format("version {}, not {}", header.version, kVersion));
  }
  if (header.header_bytes < sizeof header || header.header_bytes > bytes.size()) {
    return Damaged("its header's length");
  }
  return header;
}

absl::StatusOr<std::string> Unpack(const Header& header, std::string_view payload) {
  if (header.block_bytes > Block::kMaxBytes) return Damaged("its length");
  if (header.codec == kStored) {
    if (payload.size() != header.block_bytes) return Damaged("its length");
    return std::string(payload);
  }
  if (header.codec != kZstd) return Damaged(fmt::format("codec {}", header.codec));
  if (ZSTD_getFrameContentSize(payload.data(), payload.size()) != header.block_bytes) {
    return Damaged("its length");
  }
  std::string bytes(header.block_bytes, '\0');
  const size_t length = ZSTD_decompress(bytes.data(), bytes.size(), payload.data(), payload.size());
  if (ZSTD_isError(length) != 0) return Damaged(ZSTD_getErrorName(length));
  if (length != bytes.size()) return Damaged("its length");
  return bytes;
}

}  // namespace

struct Sealer::Context {
  ZSTD_CCtx* const zstd = ZSTD_createCCtx();
  ~Context() { ZSTD_freeCCtx(zstd); }
};

Sealer::Sealer() : context_(std::make_unique<Context>()) {}
Sealer::~Sealer() = default;

std::string_view Sealer::Seal(const Block& block, const Place& place) {
  const std::string& bytes = block.bytes();
  Header header{.checksum = 0,
                .version = kVersion,
                .codec = kZstd,
                .header_bytes = sizeof(Header),
                .block_bytes = static_cast<uint32_t>(bytes.size()),
                .events = block.size(),
                .ordinal = place.ordinal,
                .first_lsn = block.first().lsn.value,
                .last_lsn = block.last().lsn.value,
                .first_seq = block.first().seq,
                .last_seq = block.last().seq,
                .stored_us = place.stored_us,
                .newest_commit_us = place.newest_commit.us,
                .log_bytes = 0};
  const size_t room = sizeof header + ZSTD_compressBound(bytes.size());
  // A block of one huge event is not to be paid for until the end of the process.
  if (out_.capacity() > 2 * room && out_.capacity() > 4 * Block::kTargetBytes) out_ = {};
  if (out_.size() < room) out_.resize(room);
  size_t length = ZSTD_compressCCtx(context_->zstd, out_.data() + sizeof header,
                                    room - sizeof header, bytes.data(), bytes.size(), kLevel);
  if (ZSTD_isError(length) != 0 || length >= bytes.size()) {
    header.codec = kStored;
    length = bytes.size();
    std::memcpy(out_.data() + sizeof header, bytes.data(), length);
  }
  header.log_bytes = place.log_bytes_before + sizeof header + length;
  std::memcpy(out_.data(), &header, sizeof header);
  const std::string_view sealed(out_.data(), sizeof header + length);
  header.checksum = Crc32c(sealed.substr(kChecksumBytes));
  std::memcpy(out_.data(), &header.checksum, sizeof header.checksum);
  return sealed;
}

absl::StatusOr<EnvelopeHeader> ReadEnvelopeHeader(std::string_view bytes) {
  PGC_ASSIGN_OR_RETURN(const Header header, ReadHeader(bytes));
  if (header.events == 0 || header.events > UINT64_MAX - header.ordinal) {
    return Damaged("its number of events");
  }
  return EnvelopeHeader{.ordinal = header.ordinal,
                        .events = header.events,
                        .first = {.lsn = Lsn{header.first_lsn}, .seq = header.first_seq},
                        .last = {.lsn = Lsn{header.last_lsn}, .seq = header.last_seq},
                        .stored_us = header.stored_us,
                        .newest_commit = {header.newest_commit_us},
                        .log_bytes = header.log_bytes};
}

absl::StatusOr<std::shared_ptr<const Block>> OpenEnvelope(std::string_view bytes,
                                                          uint64_t ordinal) {
  PGC_ASSIGN_OR_RETURN(const Header header, ReadHeader(bytes));
  if (Crc32c(bytes.substr(kChecksumBytes)) != header.checksum) return Damaged("its checksum");
  if (header.ordinal != ordinal) {
    return Damaged(fmt::format("it is that of event {}", header.ordinal));
  }
  PGC_ASSIGN_OR_RETURN(std::string unpacked, Unpack(header, bytes.substr(header.header_bytes)));
  PGC_ASSIGN_OR_RETURN(auto block, Block::Parse(std::move(unpacked)));
  const Checkpoint first{.lsn = Lsn{header.first_lsn}, .seq = header.first_seq};
  const Checkpoint last{.lsn = Lsn{header.last_lsn}, .seq = header.last_seq};
  if (block->size() != header.events || block->first() != first || block->last() != last) {
    return Damaged("it is not the block that its header describes");
  }
  return block;
}

}  // namespace pgc
