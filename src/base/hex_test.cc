#include "base/hex.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

TEST(HexTest, TwoDigitsAreAByte) {
  EXPECT_EQ(BytesFromHex(""), "");
  EXPECT_EQ(BytesFromHex("00097f80afff"), std::string("\x00\x09\x7f\x80\xaf\xff", 6));
}

}  // namespace
}  // namespace pgc
