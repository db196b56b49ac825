#include "event/lsn.h"

#include <gtest/gtest.h>

#include "event/checkpoint.h"
#include "event/wire.h"

namespace pgc {
namespace {

TEST(Lsn, PrintsTwoUpperCaseHalvesWithoutPadding) {
  EXPECT_EQ(ToString(Lsn{0x16B374D848}), "16/B374D848");
  EXPECT_EQ(ToString(Lsn{0x1A}), "0/1A");
  EXPECT_EQ(ToString(Lsn{UINT64_MAX}), "FFFFFFFF/FFFFFFFF");
}

TEST(Lsn, ReadsBackWhatItPrints) {
  for (const uint64_t value : {uint64_t{0}, uint64_t{1} << 32, uint64_t{547374544}, UINT64_MAX}) {
    EXPECT_EQ(*ParseLsn(ToString(Lsn{value})), Lsn{value});
  }
  EXPECT_EQ(*ParseLsn("0/16b3748"), Lsn{0x16B3748});
  EXPECT_EQ(*ParseLsn("00000000/016B3748"), Lsn{0x16B3748});
}

TEST(Lsn, WhatIsNoneIsRefused) {
  for (const char* text : {"", "/", "1", "1/", "/1", "g/1", "1/1/1", " 1/1", "1/1 ", "+1/1", "-1/1",
                           "0x1/1", "100000000/0", "0/100000000"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseLsn(text).status())) << "'" << text << "'";
  }
}

TEST(Checkpoint, ItsKeyHasTheSeqInLowerCaseHex) {
  EXPECT_EQ(ToKey({.lsn = Lsn{0x16B374D848}, .seq = 0x1A}), "16/B374D848|1a");
  EXPECT_EQ(ToKey({.lsn = Lsn{0x20A045D0}, .seq = 0}), "0/20A045D0|0");
}

TEST(Varint, ReadsBackWhatItWritesAndNothingThatIsCutOff) {
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t value = uint64_t{1} << bit;
    uint8_t bytes[10];
    const uint8_t* const end = wire::WriteVarint(bytes, value);
    ASSERT_EQ(static_cast<size_t>(end - bytes), wire::VarintSize(value));
    uint64_t read = 0;
    EXPECT_EQ(wire::ReadVarint(bytes, end, read), end);
    EXPECT_EQ(read, value);
    EXPECT_EQ(wire::ReadVarint(bytes, end - 1, read), nullptr);
  }
  const uint8_t too_long[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
  uint64_t read = 0;
  EXPECT_EQ(wire::ReadVarint(too_long, too_long + sizeof too_long, read), nullptr);
}

}  // namespace
}  // namespace pgc
