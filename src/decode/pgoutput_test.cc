#include "decode/pgoutput.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "decode/decode_testing.h"

namespace pgc {
namespace {

Message Begin(uint64_t lsn) {
  Message message('B');
  message.U64(lsn).U64(1).U32(7);
  return message;
}
Message Commit(uint64_t lsn, uint64_t end) {
  Message message('C');
  message.U8(0).U64(lsn).U64(end).U64(1);
  return message;
}
// A table with one text column `v`.
Message Relation(uint32_t oid, std::string_view schema, std::string_view name) {
  Message message('R');
  message.U32(oid).Text(schema).Text(name).U8('f').U16(1).U8(1).Text("v").U32(25).U32(0);
  return message;
}
Message Insert(uint32_t oid, std::string_view value) {
  Message message('I');
  message.U32(oid).U8('N').U16(1).Value('b', value);
  return message;
}

TEST(PgOutput, WritesTheGoldenEvents) {
  const std::vector<Golden> all = ReadGolden("pgoutput");
  ASSERT_GE(all.size(), 8u);
  for (const Golden& golden : all) {
    PgOutputDecoder decoder;
    for (const Bytes& message : golden.messages) {
      const absl::Status status = decoder.Decode(message);
      ASSERT_TRUE(status.ok()) << golden.name << ": " << status;
    }
    EXPECT_EQ(Lines(decoder), golden.events) << golden.name;
    EXPECT_FALSE(decoder.in_transaction());
    EXPECT_EQ(decoder.end_lsn(), Lsn{547374592}) << golden.name;
  }
}

TEST(PgOutput, EveryTruncationOfAMessageIsDataLoss) {
  for (const Golden& golden : ReadGolden("pgoutput")) {
    for (size_t cut = 0; cut < golden.messages.size(); ++cut) {
      const Bytes& whole = golden.messages[cut];
      for (size_t length = 0; length < whole.size(); ++length) {
        PgOutputDecoder decoder;
        for (size_t i = 0; i < cut; ++i) ASSERT_TRUE(decoder.Decode(golden.messages[i]).ok());
        // A copy of its own, so that a sanitizer sees a read past the end.
        const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(part)))
            << golden.name << " message " << cut << " cut to " << length;
      }
    }
  }
}

TEST(PgOutput, AByteTooManyIsDataLoss) {
  for (const Golden& golden : ReadGolden("pgoutput")) {
    for (size_t at = 0; at < golden.messages.size(); ++at) {
      PgOutputDecoder decoder;
      for (size_t i = 0; i < at; ++i) ASSERT_TRUE(decoder.Decode(golden.messages[i]).ok());
      Bytes longer = golden.messages[at];
      longer.push_back(0);
      EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(longer))) << golden.name << " message " << at;
    }
  }
}

TEST(PgOutput, MessagesOutOfPlaceAreDataLoss) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Relation(1, "public", "t")).ok());
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Insert(1, "x"))));
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Commit(10, 11))));
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Begin(20))));
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Insert(2, "a table never described"))));
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Commit(12, 13))));
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Message('Z'))));
}

TEST(PgOutput, ATransactionThatGoesBackIsDataLoss) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Commit(10, 11)).ok());
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Begin(10))));
}

TEST(PgOutput, ATupleOfAnotherWidthThanItsRelationIsDataLoss) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "public", "t")).ok());
  Message two('I');
  two.U32(1).U8('N').U16(2).Value('b', "x").Value('b', "y");
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(two)));
}

TEST(PgOutput, LeavesOutCatalogsAndTheSinksBookkeepingWithoutASeq) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(16)).ok());
  uint32_t oid = 0;
  for (const auto& [schema, name] :
       std::vector<std::pair<std::string, std::string>>{{"", "pg_class"},
                                                        {"pg_catalog", "x"},
                                                        {"information_schema", "x"},
                                                        {"pglogical", "x"},
                                                        {"pg_toast_temp_1", "x"},
                                                        {"pgcapture", "sources"},
                                                        {"pgcapture", "ddl_logs"}}) {
    ASSERT_TRUE(decoder.Decode(Relation(++oid, schema, name)).ok());
    ASSERT_TRUE(decoder.Decode(Insert(oid, "x")).ok());
  }
  ASSERT_TRUE(decoder.Decode(Commit(16, 17)).ok());
  const std::vector<std::string> lines = Lines(decoder);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].starts_with("0/10|0 "));
  EXPECT_TRUE(lines[1].starts_with("0/10|1 ")) << lines[1];
  EXPECT_TRUE(lines[2].starts_with("0/10|2 "));
}

TEST(PgOutput, AnEmptyTransactionLeavesNothingButItsEnd) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Commit(10, 11)).ok());
  EXPECT_EQ(decoder.end_lsn(), Lsn{11});
  EXPECT_EQ(decoder.Flush(), nullptr);
}

TEST(PgOutput, ARowWithoutAnyFieldIsNoEvent) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  Message relation('R');
  relation.U32(1).Text("public").Text("no_columns").U8('f').U16(0);
  ASSERT_TRUE(decoder.Decode(relation).ok());
  Message insert('I');
  insert.U32(1).U8('N').U16(0);
  ASSERT_TRUE(decoder.Decode(insert).ok());
  ASSERT_TRUE(decoder.Decode(Commit(10, 11)).ok());
  EXPECT_EQ(Lines(decoder).size(), 2u);
}

TEST(PgOutput, ADescriptionSentAgainReplacesTheEarlierOne) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "public", "before")).ok());
  ASSERT_TRUE(decoder.Decode(Insert(1, "x")).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "public", "after")).ok());
  ASSERT_TRUE(decoder.Decode(Insert(1, "x")).ok());
  const auto block = decoder.Flush();
  ASSERT_EQ(block->tables().size(), 2u);
  EXPECT_EQ(block->tables()[0].name, "before");
  EXPECT_EQ(block->tables()[1].name, "after");
}

Message Logical(bool transactional, uint64_t lsn, std::string_view prefix,
                std::string_view content = "c") {
  Message message('M');
  message.U8(transactional ? 1 : 0).U64(lsn).Text(prefix);
  message.U32(static_cast<uint32_t>(content.size()));
  for (const char c : content) message.U8(static_cast<uint8_t>(c));
  return message;
}

TEST(PgOutput, ALogicalMessageOutsideATransactionHasItsOwnLsn) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Logical(false, 10, "p")).ok()) << "ends where the commit begins";
  ASSERT_TRUE(decoder.Decode(Logical(false, 10, PgOutputDecoder::kHeartbeatPrefix)).ok());
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Logical(false, 11, "p"))));
  ASSERT_TRUE(decoder.Decode(Logical(true, 9, "p")).ok());
  ASSERT_TRUE(decoder.Decode(Commit(10, 12)).ok());
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Logical(true, 13, "p"))));
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Logical(false, 11, "p")))) << "goes back";
  ASSERT_TRUE(decoder.Decode(Logical(false, 13, "p")).ok());
  // field 21: prefix "p", content "c", transactional
  EXPECT_EQ(Lines(decoder),
            (std::vector<std::string>{"0/9|0 aa01060a0170120163", "0/A|0 0a06080a10011807",
                                      "0/A|1 aa01080a01701201631801", "0/A|2 1206080a100c1801",
                                      "0/C|0 aa01060a0170120163"}));
}

TEST(PgOutput, ATransactionOfAHeartbeatLeavesNothing) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Logical(true, 9, PgOutputDecoder::kHeartbeatPrefix)).ok());
  ASSERT_TRUE(decoder.Decode(Commit(10, 11)).ok());
  EXPECT_EQ(decoder.Flush(), nullptr);
}

constexpr char kSecret[] = "a secret of ours";

TEST(PgOutput, PositionsOfSequencesWithTheSecretAreAnEvent) {
  std::string content = kSecret;
  AppendSequence(content, {.schema = "s", .name = "a", .last_value = 5, .is_called = true});
  AppendSequence(content, {.schema = "s", .name = "b", .last_value = -1, .is_called = false});
  PgOutputDecoder decoder;
  decoder.set_sequences(kSecret, nullptr);
  ASSERT_TRUE(decoder.Decode(Logical(false, 10, PgOutputDecoder::kSequencesPrefix, content)).ok());
  EXPECT_TRUE(absl::IsDataLoss(
      decoder.Decode(Logical(false, 10, PgOutputDecoder::kSequencesPrefix, content))))
      << "goes back";
  // field 22: {"s", "a", 5, called} and {"s", "b", -1}
  EXPECT_EQ(Lines(decoder), (std::vector<std::string>{"0/9|0 b2011f0a0a0a017312016118052001"
                                                      "0a110a017312016218ffffffffffffffffff01"}));
}

TEST(PgOutput, PositionsOfSequencesWithoutTheSecretLeaveNothing) {
  std::string positions;
  AppendSequence(positions, {.schema = "s", .name = "a", .last_value = 5, .is_called = true});
  const std::string secret = kSecret;
  PgOutputDecoder knows_none;
  PgOutputDecoder decoder;
  decoder.set_sequences(kSecret, nullptr);
  for (const std::string& content :
       {std::string(), positions, secret.substr(1) + positions, secret.substr(0, 15),
        std::string(16, '\0') + positions, "b" + secret.substr(1) + positions}) {
    for (PgOutputDecoder* one : {&knows_none, &decoder}) {
      ASSERT_TRUE(one->Decode(Logical(false, 10, PgOutputDecoder::kSequencesPrefix, content)).ok());
    }
  }
  ASSERT_TRUE(
      knows_none.Decode(Logical(false, 10, PgOutputDecoder::kSequencesPrefix, secret + positions))
          .ok());
  ASSERT_TRUE(decoder.Decode(Begin(20)).ok());
  ASSERT_TRUE(
      decoder.Decode(Logical(true, 11, PgOutputDecoder::kSequencesPrefix, secret + positions))
          .ok());
  ASSERT_TRUE(decoder.Decode(Commit(20, 21)).ok());
  EXPECT_EQ(decoder.Flush(), nullptr);
  EXPECT_EQ(knows_none.Flush(), nullptr);
}

TEST(PgOutput, AWishForPositionsOfSequencesIsPassedOnAndLeavesNothing) {
  int wishes = 0;
  PgOutputDecoder decoder;
  decoder.set_sequences(kSecret, [&] { ++wishes; });
  const auto wish = [](bool transactional, uint64_t lsn) {
    return Logical(transactional, lsn, PgOutputDecoder::kSyncSequencesPrefix, "");
  };
  ASSERT_TRUE(decoder.Decode(wish(false, 10)).ok());
  ASSERT_TRUE(decoder.Decode(Begin(20)).ok());
  ASSERT_TRUE(decoder.Decode(wish(true, 11)).ok());
  ASSERT_TRUE(decoder.Decode(Commit(20, 21)).ok());
  EXPECT_EQ(wishes, 2);
  EXPECT_EQ(decoder.Flush(), nullptr);
}

TEST(PgOutput, ATruncateNamesAllItsTablesButThoseLeftOut) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "s", "a")).ok());
  ASSERT_TRUE(decoder.Decode(Relation(2, "pgcapture", "sources")).ok());
  Message truncate('T');
  truncate.U32(2).U8(3).U32(1).U32(2);
  ASSERT_TRUE(decoder.Decode(truncate).ok());
  Message bookkeeping('T');
  bookkeeping.U32(1).U8(0).U32(2);
  ASSERT_TRUE(decoder.Decode(bookkeeping).ok());
  Message unknown('T');
  unknown.U32(1).U8(0).U32(3);
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(unknown)));
  // field 20: relation {"s", "a"}, cascade, restart_identity
  EXPECT_EQ(Lines(decoder), (std::vector<std::string>{"0/A|0 0a06080a10011807",
                                                      "0/A|1 a2010c0a060a0173120161"
                                                      "10011801"}));
}

// A table with a key `id` and a value, and changes of it.
Message Keyed(uint32_t oid, std::string_view name) {
  Message message('R');
  message.U32(oid).Text("s").Text(name).U8('d').U16(2);
  message.U8(1).Text("id").U32(25).U32(0).U8(0).Text("v").U32(25).U32(0);
  return message;
}
Message& Row(Message& message, std::string_view id, std::string_view value) {
  return message.U16(2).Value('b', id).Value('b', value);
}

std::vector<EventKey> Keys(PgOutputDecoder& decoder) {
  std::vector<EventKey> keys;
  const auto parsed = Block::Parse(decoder.Flush()->bytes());
  for (Block::Cursor cursor(**parsed); cursor.Next();) {
    if (cursor.event().kind == EventKind::kChange) keys.push_back(cursor.event().key);
  }
  return keys;
}

TEST(PgOutput, ChangesOfOneRowHaveOneKey) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Keyed(1, "t")).ok());
  ASSERT_TRUE(decoder.Decode(Keyed(2, "u")).ok());
  Message insert('I'), update('U'), moving('U'), gone('D'), other('I');
  Row(insert.U32(1).U8('N'), "a", "1");
  Row(update.U32(1).U8('N'), "a", "2");
  moving.U32(1).U8('K').U16(2).Value('b', "a").U8('n').U8('N');
  Row(moving, "b", "3");
  gone.U32(1).U8('K').U16(2).Value('b', "b").U8('n');
  Row(other.U32(2).U8('N'), "a", "1");
  for (const Message& message : {insert, update, moving, gone, other}) {
    ASSERT_TRUE(decoder.Decode(message).ok());
  }
  const std::vector<EventKey> keys = Keys(decoder);
  ASSERT_EQ(keys.size(), 5u);
  // CRC-32 of 00000001 "s" 00000001 "t" 00000001 "a", as in docs/contract.md
  EXPECT_EQ(keys[0].hash, 0x3EDC5F96u);
  EXPECT_EQ(keys[0], keys[1]);
  EXPECT_FALSE(keys[0].moved());
  EXPECT_EQ(keys[2].before, keys[0].hash);
  EXPECT_TRUE(keys[2].moved());
  EXPECT_EQ(keys[3], (EventKey{.hash = keys[2].hash, .before = keys[2].hash}));
  EXPECT_NE(keys[4].hash, keys[0].hash) << "another table";
}

TEST(PgOutput, AKeyThatIsUnchangedToastIsThatOfTheOldRow) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Keyed(1, "t")).ok());
  Message insert('I'), update('U');
  Row(insert.U32(1).U8('N'), "a", "1");
  update.U32(1).U8('K').U16(2).Value('b', "a").U8('n').U8('N').U16(2).U8('u').Value('b', "2");
  ASSERT_TRUE(decoder.Decode(insert).ok());
  ASSERT_TRUE(decoder.Decode(update).ok());
  const std::vector<EventKey> keys = Keys(decoder);
  EXPECT_EQ(keys[0], keys[1]);
}

TEST(PgOutput, UnderIdentityFullATableIsOneKey) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "s", "t")).ok());
  ASSERT_TRUE(decoder.Decode(Insert(1, "x")).ok());
  ASSERT_TRUE(decoder.Decode(Insert(1, "y")).ok());
  const std::vector<EventKey> keys = Keys(decoder);
  EXPECT_EQ(keys[0], keys[1]);
}

TEST(PgOutput, EmptyValuesAreNotNull) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "s", "t")).ok());
  ASSERT_TRUE(decoder.Decode(Insert(1, "")).ok());
  // name "v", oid 25, binary of length 0
  EXPECT_TRUE(Lines(decoder)[1].ends_with("22070a017610191a00"));
}

TEST(PgOutput, ADeletedRowOfNullsKeepsThem) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "s", "t")).ok());
  Message gone('D');
  gone.U32(1).U8('O').U16(1).U8('n');
  ASSERT_TRUE(decoder.Decode(gone).ok());
  const std::vector<std::string> lines = Lines(decoder);
  ASSERT_EQ(lines.size(), 2U);
  // old: name "v", oid 25, no value
  EXPECT_TRUE(lines[1].ends_with("2a050a01761019")) << lines[1];
}

TEST(PgOutput, BlocksStayNearTheirTargetAndEachHasItsOwnDictionary) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "public", "t")).ok());
  const std::string value(1000, 'v');
  constexpr uint32_t kRows = 2000;
  for (uint32_t i = 0; i < kRows; ++i) ASSERT_TRUE(decoder.Decode(Insert(1, value)).ok());
  ASSERT_TRUE(decoder.Decode(Insert(1, std::string(Block::kTargetBytes * 2, 'w'))).ok());
  ASSERT_TRUE(decoder.Decode(Insert(1, value)).ok());
  ASSERT_TRUE(decoder.Decode(Commit(10, 11)).ok());
  const auto blocks = decoder.TakeFull();
  ASSERT_GE(blocks.size(), 8u);
  uint32_t seq = 0;
  size_t large = 0;
  for (const auto& block : blocks) {
    ASSERT_EQ(block->tables().size(), 1u);
    EXPECT_EQ(block->first().seq, seq);
    seq += block->size();
    if (block->bytes().size() > Block::kTargetBytes) {
      ++large;
      EXPECT_EQ(block->size(), 1u) << "an event larger than a block has a block of its own";
    }
  }
  EXPECT_EQ(large, 1u);
  EXPECT_EQ(seq + decoder.Flush()->size(), kRows + 4);
}

TEST(PgOutput, TooManyTablesAreRefusedByName) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  const std::string name(RelationCache::kMaxBytes / 4, 'n');
  absl::Status status;
  for (uint32_t oid = 1; oid < 8 && status.ok(); ++oid) {
    status = decoder.Decode(Relation(oid, "public", name));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  // The same table again and again is one table.
  PgOutputDecoder other;
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(other.Decode(Relation(1, "public", name)).ok());
}

// What the extension writes of a TRUNCATE of one partition.
std::string PartitionTruncate(const std::string& publication, char options) {
  const std::string nul(1, '\0');
  return publication + nul + std::string("\0\0\0\1", 4) + options + "public" + nul + "part" + nul;
}

TEST(PgOutput, TheMessageOfATruncateOfAPartitionIsATruncate) {
  PgOutputDecoder decoder("mine");
  const std::string content = PartitionTruncate("mine", '\2');
  ASSERT_TRUE(decoder.Decode(Begin(100)).ok());
  ASSERT_TRUE(decoder.Decode(Logical(true, 90, "pgcapture.truncate", content)).ok());
  // Of a publication that shows it in another way, and none at all.
  ASSERT_TRUE(
      decoder.Decode(Logical(true, 91, "pgcapture.truncate", PartitionTruncate("other", '\0')))
          .ok());
  ASSERT_TRUE(decoder.Decode(Logical(true, 92, "pgcapture.truncate", content.substr(0, 20))).ok());
  ASSERT_TRUE(decoder.Decode(Commit(100, 110)).ok());
  const auto block = decoder.Flush();
  ASSERT_NE(block, nullptr);
  ASSERT_EQ(block->size(), 4u);
  Block::Cursor cursor(*block);
  cursor.SkipTo(1);
  ASSERT_TRUE(cursor.Next());
  EXPECT_EQ(cursor.event().kind, EventKind::kTruncate);
  const std::string message(cursor.event().message.begin(), cursor.event().message.end());
  EXPECT_NE(message.find("public"), std::string::npos);
  EXPECT_NE(message.find("part"), std::string::npos);
  ASSERT_TRUE(cursor.Next());
  EXPECT_EQ(cursor.event().kind, EventKind::kLogicalMessage) << "a message like any other";
}

}  // namespace
}  // namespace pgc
