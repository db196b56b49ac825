#include "source/stream_message.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgc {
namespace {

using Bytes = std::vector<uint8_t>;

const Bytes kData{'w', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,   3,  0,
                  0,   0, 4, 0, 0, 0, 0, 0, 0, 0, 9, 'B', 'x'};
const Bytes kKeepalive{'k', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 1};

TEST(StreamMessage, ReadsDataAndKeepalive) {
  auto data = ParseStreamMessage(kData);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->kind, StreamMessage::Kind::kData);
  EXPECT_EQ(std::string(data->data.begin(), data->data.end()), "Bx");
  auto keepalive = ParseStreamMessage(kKeepalive);
  ASSERT_TRUE(keepalive.ok()) << keepalive.status();
  EXPECT_EQ(keepalive->kind, StreamMessage::Kind::kKeepalive);
  EXPECT_EQ(ToString(keepalive->wal_end), "1/2");
  EXPECT_TRUE(keepalive->reply_requested);
}

TEST(StreamMessage, EveryTruncationIsDataLoss) {
  // Data without any message in it is cut off as well.
  for (size_t length = 0; length <= 25; ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseStreamMessage(std::span(kData).first(length)).status()))
        << length;
  }
  for (size_t length = 0; length < kKeepalive.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseStreamMessage(std::span(kKeepalive).first(length)).status()))
        << length;
  }
  Bytes longer = kKeepalive;
  longer.push_back(0);
  EXPECT_TRUE(absl::IsDataLoss(ParseStreamMessage(longer).status()));
}

TEST(StreamMessage, NamesAnUnknownKind) {
  const absl::Status status = ParseStreamMessage(Bytes{'z', 1, 2}).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_EQ(status.message(),
            "malformed message in the replication stream: unknown kind 0x7a of 3 bytes");
}

TEST(StreamMessage, AStatusUpdateSaysThreeTimesWhatIsDurable) {
  const StatusUpdate update = MakeStatusUpdate(Lsn{0x0102030405060708}, -1, true);
  const Bytes lsn{1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(update[0], 'r');
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(Bytes(update.begin() + 1 + 8 * i, update.begin() + 9 + 8 * i), lsn);
  }
  EXPECT_EQ(Bytes(update.begin() + 25, update.begin() + 33), Bytes(8, 0xFF));
  EXPECT_EQ(update[33], 1);
}

}  // namespace
}  // namespace pgc
