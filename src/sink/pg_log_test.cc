#include "sink/pg_log.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

std::optional<Lsn> Read(std::initializer_list<std::string_view> lines) {
  std::optional<Lsn> found;
  for (const std::string_view line : lines) ReadPgLogLine(line, found);
  return found;
}

TEST(PgLogTest, ARecordThatIsDoneIsInTheCopy) {
  EXPECT_EQ(Read({"2026-01-02 03:04:05 UTC [1] LOG:  redo done at 16/B374D848 system usage: CPU: "
                  "user: 0.00 s"}),
            (Lsn{0x16'B374'D848}));
}

TEST(PgLogTest, ARecordThatIsNextIsNotInTheCopy) {
  EXPECT_EQ(Read({"LOG:  consistent recovery state reached at 0/3000138"}), (Lsn{0x3000137}));
}

TEST(PgLogTest, TheLastLineCounts) {
  EXPECT_EQ(Read({"LOG:  redo done at 0/10", "LOG:  consistent recovery state reached at 0/20",
                  "LOG:  redo done at 0/30", "LOG:  checkpoint starting"}),
            (Lsn{0x30}));
}

TEST(PgLogTest, OtherLinesSayNothing) {
  EXPECT_EQ(Read({"LOG:  redo done at nowhere", "LOG:  redo starts at 0/10", ""}), std::nullopt);
}

TEST(PgLogTest, AFileThatIsNotThereIsSaid) {
  EXPECT_TRUE(absl::IsFailedPrecondition(ReadPgLog("/nonexistent/log").status()));
}

}  // namespace
}  // namespace pgc
