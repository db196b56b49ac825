#include "store/commit_time.h"

#include <gtest/gtest.h>

#include "store/store_testing.h"

namespace pgc {
namespace {

Event BeginOf(const std::string& message) {
  Event event;
  event.kind = EventKind::kBegin;
  event.message = {reinterpret_cast<const uint8_t*>(message.data()), message.size()};
  return event;
}

TEST(CommitTime, IsReadFromABegin) {
  for (const int64_t us : {int64_t{1}, int64_t{800'000'000'000'000}, int64_t{-5}}) {
    const std::string message = BeginMessage(PgTimestamp{us});
    EXPECT_EQ(CommitTime(BeginOf(message)), PgTimestamp{us});
  }
}

TEST(CommitTime, OfATruncatedBeginIsNoneOrTheSame) {
  const std::string whole = BeginMessage(PgTimestamp{800'000'000'000'000});
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string message = whole.substr(0, length);
    EXPECT_EQ(CommitTime(BeginOf(message)), std::nullopt) << length;
  }
}

TEST(CommitTime, FieldsOfEveryTypeMayStandBeforeIt) {
  std::string begin(
      "\x08\x05\x19"
      "12345678"
      "\x25"
      "1234"
      "\x2A\x02"
      "xx",
      20);
  begin += std::string("\x10\x07", 2);
  std::string message("\x0A");
  message += static_cast<char>(begin.size());
  message += begin;
  EXPECT_EQ(CommitTime(BeginOf(message)), PgTimestamp{7});
}

TEST(CommitTime, OtherEventsHaveNone) {
  const std::string message = BeginMessage(PgTimestamp{7});
  Event event = BeginOf(message);
  event.kind = EventKind::kChange;
  EXPECT_EQ(CommitTime(event), std::nullopt);
}

TEST(CommitTime, TheNewestOfABlockNeverGoesBack) {
  const auto block = MakeTransactions(1, {{5}, {9}, {7}});
  EXPECT_EQ(NewestCommit(*block, kNoCommit), PgTimestamp{9});
  EXPECT_EQ(NewestCommit(*block, PgTimestamp{8}), PgTimestamp{9});
  EXPECT_EQ(NewestCommit(*block, PgTimestamp{10}), PgTimestamp{10});
  EXPECT_EQ(NewestCommit(*MakeBlock(1, 0, 3), kNoCommit), kNoCommit);
}

}  // namespace
}  // namespace pgc
