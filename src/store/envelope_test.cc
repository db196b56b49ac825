#include "store/envelope.h"

#include <gtest/gtest.h>

#include <random>

#include "store/store_testing.h"

namespace pgc {
namespace {

std::shared_ptr<const Block> RandomBlock() {
  std::mt19937 random(7);
  BlockBuilder builder;
  for (uint32_t seq = 0; seq < 3; ++seq) {
    uint8_t* const out =
        builder.Add(EventKind::kBegin, Event::kNoTable, {.lsn = Lsn{1}, .seq = seq}, 100);
    for (int i = 0; i < 100; ++i) out[i] = static_cast<uint8_t>(random());
  }
  return builder.Finish();
}

TEST(Envelope, GivesTheBlockBackAndDescribesIt) {
  Sealer sealer;
  for (const auto& block : {MakeBlock(9, 3, 500), RandomBlock(), MakeBlock(10, 0, 1)}) {
    const std::string bytes(sealer.Seal(
        *block,
        {.ordinal = 77, .stored_us = 123'456, .newest_commit = {-9}, .log_bytes_before = 1'000}));
    const auto header = ReadEnvelopeHeader(bytes);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->ordinal, 77u);
    EXPECT_EQ(header->events, block->size());
    EXPECT_EQ(header->first, block->first());
    EXPECT_EQ(header->last, block->last());
    EXPECT_EQ(header->stored_us, 123'456);
    EXPECT_EQ(header->newest_commit, PgTimestamp{-9});
    EXPECT_EQ(header->log_bytes, 1'000 + bytes.size());
    const auto opened = OpenEnvelope(bytes, 77);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ((*opened)->bytes(), block->bytes());
  }
}

TEST(Envelope, CompressesWhatCompressesAndNothingElse) {
  Sealer sealer;
  const auto block = MakeBlock(9, 0, 500);
  EXPECT_LT(sealer.Seal(*block, {.ordinal = 0}).size(), block->bytes().size() / 4);
  const auto random = RandomBlock();
  EXPECT_LE(sealer.Seal(*random, {.ordinal = 0}).size(), random->bytes().size() + 72);
}

TEST(Envelope, EveryTruncationIsDataLoss) {
  Sealer sealer;
  const std::string bytes(sealer.Seal(*MakeBlock(9, 3, 20), {.ordinal = 7}));
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(OpenEnvelope(bytes.substr(0, length), 7).status())) << length;
  }
}

TEST(Envelope, EveryChangedByteIsDataLoss) {
  Sealer sealer;
  for (const auto& block : {MakeBlock(9, 3, 20), RandomBlock()}) {
    const std::string bytes(sealer.Seal(*block, {.ordinal = 7}));
    for (size_t i = 0; i < bytes.size(); ++i) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ 0x40);
      EXPECT_TRUE(absl::IsDataLoss(OpenEnvelope(changed, 7).status())) << i;
    }
  }
}

TEST(Envelope, InAnothersPlaceIsDataLoss) {
  Sealer sealer;
  const std::string bytes(sealer.Seal(*MakeBlock(9, 3, 20), {.ordinal = 7}));
  EXPECT_TRUE(absl::IsDataLoss(OpenEnvelope(bytes, 8).status()));
}

}  // namespace
}  // namespace pgc
