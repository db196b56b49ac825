#include "pulsar/message_id.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace pgc::pulsar {
namespace {

std::string Bytes(std::string_view hex) {
  std::string bytes;
  for (size_t at = 0; at + 1 < hex.size(); at += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(at, 2)), nullptr, 16));
  }
  return bytes;
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) {
    hex += "0123456789abcdef"[static_cast<uint8_t>(byte) >> 4];
    hex += "0123456789abcdef"[static_cast<uint8_t>(byte) & 15];
  }
  return hex;
}

const MessageId kEarliest{.partition = -1};
const MessageId kLatest{.ledger = INT64_MAX, .entry = INT64_MAX, .partition = -1};

// What the Go client writes of these, by its own output.
const std::vector<std::pair<MessageId, std::string>> kGolden = {
    {{.ledger = 12, .entry = 3, .batch_index = 0, .batch_size = 1}, "080c1003180020003001"},
    {{.ledger = 12, .entry = 3, .batch_index = 7, .batch_size = 10}, "080c100318002007300a"},
    {{.ledger = 300, .entry = 70000, .partition = 2, .batch_index = 0, .batch_size = 1},
     "08ac0210f0a204180220003001"},
    {{.ledger = 25, .entry = 1, .batch_index = 6, .batch_size = 7}, "08191001180020063007"},
    {kEarliest,
     "08ffffffffffffffffff0110ffffffffffffffffff0118ffffffffffffffffff0120ffffffffffffffffff01300"
     "0"},
    {kLatest,
     "08ffffffffffffffff7f10ffffffffffffffff7f18ffffffffffffffffff0120ffffffffffffffffff013000"},
    {{.ledger = 12, .entry = 5, .first_piece = MessageId::Piece{.ledger = 12, .entry = 3}},
     "080c100518002"
     "0ffffffffffffffffff013a11080c1003180020ffffffffffffffffff01"},
};

TEST(MessageId, IsWrittenAsTheGoClientWritesIt) {
  for (const auto& [id, hex] : kGolden) EXPECT_EQ(Hex(Serialize(id)), hex);
}

TEST(MessageId, IsReadBackAsItWasWritten) {
  for (const auto& [id, hex] : kGolden) {
    const auto read = ParseMessageId(Bytes(hex));
    ASSERT_TRUE(read.ok()) << hex;
    EXPECT_EQ(*read, id) << hex;
  }
}

TEST(MessageId, IsReadFromTheClientsThatLeaveDefaultsOut) {
  const auto batched = ParseMessageId(Bytes("0818100020013003"));
  ASSERT_TRUE(batched.ok());
  EXPECT_EQ(*batched, (MessageId{.ledger = 24, .entry = 0, .batch_index = 1, .batch_size = 3}));
  const auto pieces = ParseMessageId(Bytes("080710023a0408071000"));
  ASSERT_TRUE(pieces.ok());
  EXPECT_EQ(*pieces, (MessageId{.ledger = 7,
                                .entry = 2,
                                .first_piece = MessageId::Piece{.ledger = 7, .entry = 0}}));
}

TEST(MessageId, ATimeAsTextIsNone) {
  for (const std::string_view text : {"2026-11-29T03:42:10Z", "2026-11-29T03:42:10.123456789+01:00",
                                      "1999-01-01T00:00:00Z", ""}) {
    EXPECT_FALSE(ParseMessageId(text).ok()) << text;
  }
}

TEST(MessageId, IsCutOnlyBetweenFieldsBehindTheEntry) {
  for (const auto& [id, hex] : kGolden) {
    const std::string bytes = Bytes(hex);
    int valid = 0;
    for (size_t length = 0; length < bytes.size(); ++length) {
      const auto read = ParseMessageId(std::string_view(bytes).substr(0, length));
      if (!read.ok()) continue;
      ++valid;
      EXPECT_EQ(read->ledger, id.ledger);
      EXPECT_EQ(read->entry, id.entry);
    }
    EXPECT_EQ(valid, 3) << hex << ": behind the entry, the partition and the place in the batch";
  }
}

TEST(MessageId, FieldsOfAnotherTypeAreInvalid) {
  EXPECT_FALSE(ParseMessageId(Bytes("0a010c1003")).ok()) << "the ledger as bytes";
  EXPECT_FALSE(ParseMessageId(Bytes("080c10033801")).ok()) << "the first piece as a number";
  EXPECT_FALSE(ParseMessageId(Bytes("080c10033a00")).ok()) << "an empty first piece";
  EXPECT_TRUE(ParseMessageId(Bytes("080c1003420161")).ok()) << "a field that is not known";
}

TEST(MessageId, OrdersByLedgerEntryAndPlaceInTheBatch) {
  const MessageId id{.ledger = 5, .entry = 9, .batch_index = 1, .batch_size = 2};
  EXPECT_TRUE(Precedes(Before(id), id));
  EXPECT_EQ(Before(id), (MessageId{.ledger = 5, .entry = 9, .batch_index = 0, .batch_size = 2}));
  EXPECT_EQ(Before(Before(id)), (MessageId{.ledger = 5, .entry = 8, .batch_index = INT32_MAX}));
  EXPECT_TRUE(Precedes({.ledger = 4, .entry = 10}, id));
  EXPECT_EQ(Before({.ledger = 12, .entry = 5, .first_piece = MessageId::Piece{12, 3}}),
            (MessageId{.ledger = 12, .entry = 2, .batch_index = INT32_MAX}));
}

}  // namespace
}  // namespace pgc::pulsar
