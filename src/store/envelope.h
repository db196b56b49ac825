// A block as it lies on disk: docs/store-format.md has the layout.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/block.h"
#include "event/pg_timestamp.h"

namespace pgc {

// What is known of a stored block without decompressing it.
struct EnvelopeHeader {
  uint64_t ordinal = 0;  // of its first event
  uint32_t events = 0;
  Checkpoint first;
  Checkpoint last;
  int64_t stored_us = 0;        // when, in microseconds since 1970-01-01 UTC
  PgTimestamp newest_commit{};  // of all transactions begun in the log up to the end of this block
  uint64_t log_bytes = 0;       // of the log's envelopes up to and with this one
};

// Where a block comes to lie in its log.
struct Place {
  uint64_t ordinal = 0;
  int64_t stored_us = 0;
  PgTimestamp newest_commit{};
  uint64_t log_bytes_before = 0;
};

// Compresses blocks. Not thread-safe.
class Sealer {
 public:
  Sealer();
  ~Sealer();
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;

  // The bytes to be stored; valid until the next call.
  std::string_view Seal(const Block& block, const Place& place);

 private:
  struct Context;
  const std::unique_ptr<Context> context_;
  std::string out_;
};

// Both give DataLoss, naming what is wrong. The header is read without its checksum, which covers
// all the bytes and is Open's to check.
absl::StatusOr<EnvelopeHeader> ReadEnvelopeHeader(std::string_view bytes);
absl::StatusOr<std::shared_ptr<const Block>> OpenEnvelope(std::string_view bytes, uint64_t ordinal);

}  // namespace pgc
