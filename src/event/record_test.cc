#include "event/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "event/wire.h"

namespace pgc {
namespace {

using testing::HasSubstr;

constexpr char kVersion = 3;

std::string Record() {
  std::string out(1, kVersion);
  wire::AppendVarint(out, 300);
  AppendText(out, "text");
  wire::AppendVarint(out, UINT64_MAX);
  wire::AppendVarint(out, 7);
  return out;
}

absl::Status Read(std::string_view bytes) {
  auto in = RecordReader::Open(bytes, kVersion);
  if (!in.ok()) return in.status();
  if (in->Number() == 300 && in->Text() == "text") {
    EXPECT_EQ(in->ReadCheckpoint(), (Checkpoint{.lsn = Lsn{UINT64_MAX}, .seq = 7}));
  }
  return in->End();
}

std::string WhyNot(std::string_view bytes) {
  const absl::Status status = Read(bytes);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  return std::string(status.message());
}

TEST(RecordTest, WhatIsWrittenIsRead) {
  const absl::Status read = Read(Record());
  EXPECT_TRUE(read.ok()) << read;
}

TEST(RecordTest, WhatIsCutOffMoreOrOfAnotherVersionIsSaid) {
  EXPECT_THAT(WhyNot(""), HasSubstr("empty"));
  EXPECT_THAT(WhyNot("\x04"), HasSubstr("version 4, not 3"));
  EXPECT_THAT(WhyNot(Record() + "x"), HasSubstr("after its end"));
  EXPECT_THAT(WhyNot(Record().substr(0, 2)), HasSubstr("cut off"));
  EXPECT_THAT(WhyNot(Record().substr(0, 1)), HasSubstr("cut off"));
}

TEST(RecordTest, ATextThatIsLongerThanTheRecordIsWrong) {
  std::string bytes(1, kVersion);
  wire::AppendVarint(bytes, UINT64_MAX);
  auto in = RecordReader::Open(bytes, kVersion);
  ASSERT_TRUE(in.ok());
  EXPECT_EQ(in->Text(), "");
  EXPECT_TRUE(in->failed());
  EXPECT_FALSE(in->done());
}

TEST(RecordTest, OnceSomethingIsWrongNothingIsRead) {
  const std::string bytes = {kVersion, 2, 1, 1};
  auto in = RecordReader::Open(bytes, kVersion);
  ASSERT_TRUE(in.ok());
  EXPECT_FALSE(in->Bool());  // 2 is none
  EXPECT_TRUE(in->failed());
  EXPECT_EQ(in->Number(), 0U);
  EXPECT_EQ(in->Text(), "");
  EXPECT_FALSE(in->End().ok());
}

}  // namespace
}  // namespace pgc
