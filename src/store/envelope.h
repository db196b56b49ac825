// A block as it lies on disk: docs/store-format.md has the layout.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/block.h"

namespace pgc {

// What is known of a stored block without decompressing it.
struct EnvelopeHeader {
  uint64_t ordinal = 0;  // of its first event
  uint32_t events = 0;
  Checkpoint first;
  Checkpoint last;
  int64_t stored_us = 0;  // when, in microseconds since 1970-01-01 UTC
};

// Compresses blocks. Not thread-safe.
class Sealer {
 public:
  Sealer();
  ~Sealer();
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;

  // The bytes to be stored; valid until the next call.
  std::string_view Seal(const Block& block, uint64_t ordinal, int64_t stored_us);

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
