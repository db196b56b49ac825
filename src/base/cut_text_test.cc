#include "base/cut_text.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

TEST(CutText, KeepsWholeCharacters) {
  const std::string text = "ab\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80";  // 2, 2, 3 and 4 bytes
  EXPECT_EQ(CutText(text, 100), text);
  EXPECT_EQ(CutText(text, text.size()), text);
  EXPECT_EQ(CutText(text, 0), "");
  EXPECT_EQ(CutText(text, 2), "ab");
  EXPECT_EQ(CutText(text, 3), "ab");
  EXPECT_EQ(CutText(text, 4), text.substr(0, 4));
  EXPECT_EQ(CutText(text, 6), text.substr(0, 4));
  EXPECT_EQ(CutText(text, 10), text.substr(0, 7));
}

TEST(CutText, ReplacesWhatIsNoUtf8) {
  EXPECT_EQ(CutText("caf\xE9 \"x\"\n", 100), "caf\xEF\xBF\xBD \"x\"\n");
  EXPECT_EQ(CutText(std::string("a\0b", 3), 100), std::string("a\0b", 3));
  // Also where the cut is.
  EXPECT_EQ(CutText("caf\xE9", 4), "caf");
  EXPECT_EQ(CutText(std::string(100, '\xFF'), 10).size(), 9U);
}

}  // namespace
}  // namespace pgc
