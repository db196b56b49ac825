#include "dump/copy_rows.h"

#include <gtest/gtest.h>

#include "base/big_endian.h"

namespace pgc {
namespace {

// What the writer got.
class Pieces : public DumpWriter {
 public:
  absl::Status Begin(const DumpHeader&) override { return absl::OkStatus(); }
  absl::Status Rows(std::string_view changes, uint64_t count) override {
    bytes += changes;
    rows += count;
    sizes.push_back(changes.size());
    return answer;
  }
  std::string bytes;
  uint64_t rows = 0;
  std::vector<size_t> sizes;
  absl::Status answer;
};

std::string Signature() {
  std::string bytes("PGCOPY\n\377\r\n\0", 11);
  AppendBigEndian32(bytes, 0);
  AppendBigEndian32(bytes, 0);
  return bytes;
}
std::string Row(const std::string& value) {
  std::string bytes;
  AppendBigEndian<uint16_t>(bytes, 2);
  AppendBigEndian32(bytes, static_cast<uint32_t>(value.size()));
  bytes += value;
  AppendBigEndian32(bytes, UINT32_MAX);
  return bytes;
}
const std::string kEnd("\xFF\xFF", 2);

class CopyRowsTest : public testing::Test {
 protected:
  absl::Status Add(const std::string& message) {
    return encoder_.Add({reinterpret_cast<const uint8_t*>(message.data()), message.size()});
  }
  const std::vector<DumpColumn> columns_{{.name = "a", .type_oid = 17, .as_text = false},
                                         {.name = "b", .type_oid = 25, .as_text = true}};
  Pieces out_;
  RowEncoder encoder_{{.schema = "s", .name = "t"}, columns_, out_};
};

TEST_F(CopyRowsTest, ARowIsTheFieldOfAnUpdate) {
  EXPECT_TRUE(Add(Signature() + Row("xy")).ok());
  EXPECT_TRUE(Add(kEnd).ok());
  EXPECT_TRUE(encoder_.Flush().ok());
  EXPECT_EQ(out_.rows, 1U);
  EXPECT_EQ(out_.bytes, std::string("\x0A\x1A\x08\x01\x12\x01s\x1A\x01t"
                                    "\x22\x09\x0A\x01"
                                    "a\x10\x11\x1A\x02xy"
                                    "\x22\x05\x0A\x01"
                                    "b\x10\x19"));
}

TEST_F(CopyRowsTest, EveryTruncationOfAMessageIsDataLoss) {
  const std::string whole = Signature() + Row("xy");
  for (size_t length = 0; length < whole.size(); ++length) {
    if (length == Signature().size()) continue;  // a message without a row
    encoder_.Begin();
    EXPECT_TRUE(absl::IsDataLoss(Add(whole.substr(0, length)))) << length;
  }
  EXPECT_EQ(out_.rows, 0U);
}

TEST_F(CopyRowsTest, WhatIsNotTheFormatIsDataLoss) {
  EXPECT_TRUE(absl::IsDataLoss(Add("PGCOPX" + Signature().substr(6))));
  std::string flags = Signature();
  flags[12] = 1;
  EXPECT_TRUE(absl::IsDataLoss(Add(flags)));
  EXPECT_TRUE(Add(Signature()).ok());
  std::string three = Row("x");
  three[1] = 3;
  EXPECT_TRUE(absl::IsDataLoss(Add(three)));
  EXPECT_TRUE(absl::IsDataLoss(Add(kEnd + "x")));
}

TEST_F(CopyRowsTest, PiecesAreFullAndALargeRowIsOneOfItsOwn) {
  EXPECT_TRUE(Add(Signature()).ok());
  for (int i = 0; i < 300; ++i) EXPECT_TRUE(Add(Row(std::string(1000, 'x'))).ok());
  EXPECT_TRUE(Add(Row(std::string(500'000, 'y'))).ok());
  EXPECT_TRUE(Add(Row("z")).ok());
  EXPECT_TRUE(encoder_.Flush().ok());
  EXPECT_EQ(out_.rows, 302U);
  ASSERT_EQ(out_.sizes.size(), 7U);
  EXPECT_GT(out_.sizes[0], 64'000U);
  EXPECT_LE(out_.sizes[0], RowEncoder::kPieceBytes);
  EXPECT_GT(out_.sizes[5], 500'000U);
  EXPECT_LT(out_.sizes[6], 100U);
}

TEST_F(CopyRowsTest, AnErrorOfTheWriterEndsIt) {
  out_.answer = absl::UnavailableError("gone");
  EXPECT_TRUE(Add(Signature()).ok());
  EXPECT_TRUE(absl::IsUnavailable(Add(Row(std::string(500'000, 'y')))));
}

}  // namespace
}  // namespace pgc
