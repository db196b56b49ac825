#include "store/pulsar_event.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/hex.h"
#include "event/encoder.h"

namespace pgc {
namespace {

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// What the Go program wrote.
const std::string kBegin = BytesFromHex("0a1308d08b81850210ca9bcc9afffec00118e5c611");
const std::string kCommit = BytesFromHex("121508d08b81850210808c81850218ca9bcc9afffec001");
const std::string kDelete =
    BytesFromHex("1a1c080212067075626c69631a0267312a0c0a02696410171a0400000003");

TEST(PulsarEvent, IsWhatTheGoProgramWrites) {
  const auto begin = ReadPulsarEvent("0/20A045D0|0", Bytes(kBegin));
  ASSERT_TRUE(begin.ok() && begin->has_value()) << begin.status();
  EXPECT_EQ((*begin)->kind, EventKind::kBegin);
  EXPECT_EQ((*begin)->checkpoint, (Checkpoint{.lsn = {0x20A045D0}, .seq = 0}));
  EXPECT_FALSE((*begin)->table.has_value());
  const auto change = ReadPulsarEvent("16/B374D848|1a", Bytes(kDelete));
  ASSERT_TRUE(change.ok() && change->has_value()) << change.status();
  EXPECT_EQ((*change)->kind, EventKind::kChange);
  EXPECT_EQ((*change)->checkpoint, (Checkpoint{.lsn = {0x16B374D848}, .seq = 26}));
  EXPECT_EQ(*(*change)->table, (TableName{.schema = "public", .name = "g1"}));
  const auto commit = ReadPulsarEvent("0/20A045D0|6", Bytes(kCommit));
  ASSERT_TRUE(commit.ok() && commit->has_value()) << commit.status();
  EXPECT_EQ((*commit)->kind, EventKind::kCommit);
}

// Of what was encoded here, where more is known than the message says.
TEST(PulsarEvent, AnUpdateMovesARowWhereItsIdentityChanges) {
  const TableEncoder::Column columns[] = {{.name = "id", .type_oid = 25, .is_key = true},
                                          {.name = "note", .type_oid = 25}};
  const auto value = [](const std::string& text) {
    return FieldValue{.kind = text.empty() ? FieldValue::Kind::kAbsent : FieldValue::Kind::kBinary,
                      .bytes = Bytes(text)};
  };
  const std::string none;
  const std::string a = "a";
  const std::string b = "b";
  struct {
    const char* what;
    Operation op;
    const std::string& before;
    const std::string& after;
    bool moves;
  } const cases[] = {
      {"another key", Operation::kUpdate, a, b, true},
      {"the same key", Operation::kUpdate, a, a, false},
      {"a key that is left out, because it is unchanged", Operation::kUpdate, a, none, false},
      {"no row before", Operation::kUpdate, none, b, false},
      {"an insert", Operation::kInsert, none, b, false},
      {"a delete", Operation::kDelete, a, none, false},
  };
  for (const auto& one : cases) {
    const std::vector<FieldValue> new_row = {value(one.after), value(a)};
    const std::vector<FieldValue> old_row = {value(one.before), value(none)};
    const bool has_new = one.op != Operation::kDelete;
    BlockStream stream;
    TableEncoder encoder({.schema = "public", .name = "t"}, columns);
    ASSERT_TRUE(encoder
                    .Encode(stream, one.op,
                            has_new ? std::span(new_row) : std::span<const FieldValue>(),
                            one.before.empty() ? std::span<const FieldValue>() : std::span(old_row),
                            {.lsn = Lsn{1}, .seq = 1})
                    .ok());
    const auto block = stream.Flush();
    Block::Cursor encoded(*block);
    ASSERT_TRUE(encoded.Next());
    EXPECT_EQ(encoded.event().key.moved(), one.moves) << one.what;
    const auto event = ReadPulsarEvent("0/1|1", encoded.event().message);
    ASSERT_TRUE(event.ok() && event->has_value()) << one.what;
    BlockBuilder builder;
    AddTo(builder, **event, encoded.event().message);
    const EventSlice slice = TakeSlice(builder, 0);
    SliceCursor read(slice);
    ASSERT_TRUE(read.Next());
    EXPECT_EQ(read.event().key.moved(), one.moves) << one.what;
  }
}

TEST(PulsarEvent, KindsThatAreNotKnownAreNone) {
  const auto keepalive = ReadPulsarEvent("0/1|0", Bytes(std::string("\x22\x00", 2)));
  ASSERT_TRUE(keepalive.ok()) << keepalive.status();
  EXPECT_FALSE(keepalive->has_value());
  const auto later = ReadPulsarEvent("0/1|0", Bytes(std::string("\xba\x06\x00", 3)));
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_FALSE(later->has_value());
  // 258 is no Commit, which is 2.
  const auto large = ReadPulsarEvent("0/1|0", Bytes(std::string("\x92\x10\x00", 3)));
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_FALSE(large->has_value());
}

TEST(PulsarEvent, WithoutACheckpointForItsKeyItIsDataLoss) {
  for (const std::string_view key :
       {"", "k", "0/1", "0/1|", "0/1|g", "0/1|1 ", "|1", "0/1|123456789"}) {
    EXPECT_TRUE(absl::IsDataLoss(ReadPulsarEvent(key, Bytes(kBegin)).status())) << key;
  }
}

TEST(PulsarEvent, EveryTruncationIsDataLoss) {
  for (const std::string& whole : {kBegin, kDelete, kCommit}) {
    for (size_t length = 1; length < whole.size(); ++length) {
      EXPECT_TRUE(
          absl::IsDataLoss(ReadPulsarEvent("0/1|0", Bytes(whole.substr(0, length))).status()))
          << length;
    }
  }
}

}  // namespace
}  // namespace pgc
