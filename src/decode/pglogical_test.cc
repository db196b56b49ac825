#include "decode/pglogical.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "decode/decode_testing.h"

namespace pgc {
namespace {

using Catalog = absl::flat_hash_map<uint32_t, CatalogTable>;

// A decoder of a server with that catalog, as it is at the time of each question.
PglogicalDecoder DecoderOf(const Catalog& catalog) {
  return PglogicalDecoder([&catalog](uint32_t oid) -> absl::StatusOr<CatalogTable> {
    const auto found = catalog.find(oid);
    return found == catalog.end() ? CatalogTable() : found->second;
  });
}

// Decodes a message as the source does.
absl::Status Feed(PglogicalDecoder& decoder, std::span<const uint8_t> message) {
  absl::Status status = decoder.Decode(message);
  while (status.ok() && decoder.waiting()) status = decoder.Resume();
  return status;
}

Catalog CatalogOf(const Golden& golden) {
  Catalog catalog;
  for (const std::string& line : golden.catalog) {
    std::istringstream words(line);
    uint32_t oid = 0;
    words >> oid;
    for (std::string column; words >> column;) {
      const size_t colon = column.rfind(':');
      catalog[oid].columns[column.substr(0, colon)].type_oid =
          static_cast<uint32_t>(std::stoul(column.substr(colon + 1)));
    }
  }
  return catalog;
}

// Whether a prefix of a startup message is one too: it ends after a value, and nothing counts them.
bool IsStartup(const Bytes& part) {
  const std::string text(part.begin(), part.end());
  return !part.empty() && part[0] == 'S' && part.back() == 0 &&
         (std::count(part.begin() + 1, part.end(), 0) % 2) == 0 &&
         text.find("min_proto_version") != std::string::npos &&
         text.find("max_proto_version") != std::string::npos;
}

Message Startup(std::string_view oldest = "1", std::string_view newest = "1") {
  Message message('S');
  message.U8(1).Text("max_proto_version").Text(newest).Text("min_proto_version").Text(oldest);
  return message;
}
Message Begin(uint64_t lsn, uint32_t xid = 7) {
  Message message('B');
  message.U8(0).U64(lsn).U64(1).U32(xid);
  return message;
}
Message Commit(uint64_t lsn, uint64_t end) {
  Message message('C');
  message.U8(0).U64(lsn).U64(end).U64(1);
  return message;
}
struct Column {
  std::string_view name;
  bool is_key = false;
};
Message Relation(uint32_t oid, std::string_view schema, std::string_view name,
                 const std::vector<Column>& columns) {
  const auto size = [](std::string_view text) { return static_cast<uint8_t>(text.size() + 1); };
  Message message('R');
  message.U8(0).U32(oid).U8(size(schema)).Text(schema).U8(size(name)).Text(name);
  message.U8('A').U16(static_cast<uint16_t>(columns.size()));
  for (const Column& column : columns) {
    message.U8('C').U8(column.is_key ? 1 : 0).U8('N').U16(size(column.name)).Text(column.name);
  }
  return message;
}
// A table with one text column `v`.
Message Relation(uint32_t oid, std::string_view schema, std::string_view name) {
  return Relation(oid, schema, name, {{.name = "v"}});
}
Message Change(char kind, uint32_t oid) {
  Message message(kind);
  message.U8(0).U32(oid);
  return message;
}
Message& Row(Message& message, char mark, uint16_t columns) {
  return message.U8(static_cast<uint8_t>(mark)).U8('T').U16(columns);
}
Message Insert(uint32_t oid, std::string_view value) {
  Message message = Change('I', oid);
  Row(message, 'N', 1).Value('b', value);
  return message;
}

// In a transaction with final LSN 10, with a table of OID 1 that has a text column `v`.
class Pglogical : public testing::Test {
 protected:
  Pglogical() : decoder_(DecoderOf(catalog_)) { catalog_[1].columns["v"] = {.type_oid = 25}; }
  void SetUp() override {
    Ok(Startup());
    Ok(Begin(10));
    Ok(Relation(1, "public", "t"));
  }
  void Ok(std::span<const uint8_t> message) {
    const absl::Status status = Feed(decoder_, message);
    ASSERT_TRUE(status.ok()) << status;
  }
  void Lost(std::span<const uint8_t> message) {
    const absl::Status status = Feed(decoder_, message);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  }
  // What is logged while `message` is decoded.
  std::string Logged(std::span<const uint8_t> message) {
    testing::internal::CaptureStderr();
    Ok(message);
    return testing::internal::GetCapturedStderr();
  }

  Catalog catalog_;
  PglogicalDecoder decoder_;
};

TEST(PglogicalGolden, WritesTheGoldenEvents) {
  const std::vector<Golden> all = ReadGolden("pglogical");
  ASSERT_GE(all.size(), 8u);
  for (const Golden& golden : all) {
    const Catalog catalog = CatalogOf(golden);
    PglogicalDecoder decoder = DecoderOf(catalog);
    for (const Bytes& message : golden.messages) {
      const absl::Status status = Feed(decoder, message);
      ASSERT_TRUE(status.ok()) << golden.name << ": " << status;
    }
    EXPECT_EQ(Lines(decoder), golden.events) << golden.name;
    EXPECT_FALSE(decoder.in_transaction());
    EXPECT_GT(decoder.end_lsn(), Lsn{}) << golden.name;
  }
}

TEST(PglogicalGolden, EveryTruncationOfAMessageIsDataLoss) {
  for (const Golden& golden : ReadGolden("pglogical")) {
    const Catalog catalog = CatalogOf(golden);
    for (size_t cut = 0; cut < golden.messages.size(); ++cut) {
      const Bytes& whole = golden.messages[cut];
      for (size_t length = 0; length < whole.size(); ++length) {
        PglogicalDecoder decoder = DecoderOf(catalog);
        for (size_t i = 0; i < cut; ++i) ASSERT_TRUE(Feed(decoder, golden.messages[i]).ok());
        // A copy of its own, so that a sanitizer sees a read past the end.
        const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        if (IsStartup(part)) continue;
        EXPECT_TRUE(absl::IsDataLoss(Feed(decoder, part)))
            << golden.name << " message " << cut << " cut to " << length;
      }
    }
  }
}

TEST(PglogicalGolden, AByteTooManyIsDataLoss) {
  for (const Golden& golden : ReadGolden("pglogical")) {
    const Catalog catalog = CatalogOf(golden);
    for (size_t at = 0; at < golden.messages.size(); ++at) {
      PglogicalDecoder decoder = DecoderOf(catalog);
      for (size_t i = 0; i < at; ++i) ASSERT_TRUE(Feed(decoder, golden.messages[i]).ok());
      Bytes longer = golden.messages[at];
      longer.push_back(0);
      EXPECT_TRUE(absl::IsDataLoss(Feed(decoder, longer))) << golden.name << " message " << at;
    }
  }
}

TEST(PglogicalStartup, ComesFirstAndOnce) {
  const Catalog catalog;
  PglogicalDecoder decoder = DecoderOf(catalog);
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Begin(10))));
  ASSERT_TRUE(decoder.Decode(Startup()).ok());
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Startup())));
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
}

TEST(PglogicalStartup, AnotherVersionIsForTheOperator) {
  const Catalog catalog;
  for (const auto& [oldest, newest] : {std::pair("2", "3"), std::pair("0", "0")}) {
    PglogicalDecoder decoder = DecoderOf(catalog);
    const absl::Status status = decoder.Decode(Startup(oldest, newest));
    EXPECT_FALSE(status.ok()) << oldest;
  }
  PglogicalDecoder decoder = DecoderOf(catalog);
  EXPECT_TRUE(absl::IsFailedPrecondition(decoder.Decode(Startup("2", "3"))));
  Message format('S');
  EXPECT_TRUE(absl::IsFailedPrecondition(decoder.Decode(format.U8(2))));
  EXPECT_TRUE(decoder.Decode(Startup("1", "3")).ok());
}

TEST_F(Pglogical, MessagesOutOfPlaceAreDataLoss) {
  Lost(Begin(20));
  Lost(Insert(2, "a table never described"));
  Lost(Commit(12, 13));
  Lost(Message('Z'));
  Ok(Commit(10, 11));
  Lost(Insert(1, "x"));
  Lost(Relation(2, "public", "u"));
  Lost(Commit(10, 11));
  Lost(Begin(10));
}

TEST_F(Pglogical, ATupleOfAnotherWidthThanItsRelationIsDataLoss) {
  Message two = Change('I', 1);
  Row(two, 'N', 2).Value('b', "x").Value('b', "y");
  Lost(two);
}

TEST_F(Pglogical, TextLosesItsNulAndNothingElse) {
  Message insert = Change('I', 1);
  Row(insert, 'N', 1).Value('t', std::string_view("ab\0", 3));
  Ok(insert);
  Message empty = Change('I', 1);
  Row(empty, 'N', 1).Value('t', std::string_view("\0", 1));
  Ok(empty);
  Message without = Change('I', 1);
  Row(without, 'N', 1).Value('t', "ab");
  Lost(without);
  Message nothing = Change('I', 1);
  Row(nothing, 'N', 1).Value('t', "");
  Lost(nothing);
  const std::vector<std::string> lines = Lines(decoder_);
  // name "v", oid 25, text of 2 bytes and of none
  EXPECT_TRUE(
      lines[1].ends_with("22090a017610192202"
                         "6162"))
      << lines[1];
  EXPECT_TRUE(lines[2].ends_with("22070a017610192200")) << lines[2];
}

TEST_F(Pglogical, InternalBytesAreRefused) {
  Message insert = Change('I', 1);
  Row(insert, 'N', 1).Value('i', "xxxx");
  Lost(insert);
}

TEST_F(Pglogical, AnEmptyTransactionLeavesNothingButItsEnd) {
  Ok(Commit(10, 11));
  EXPECT_EQ(decoder_.end_lsn(), Lsn{11});
  EXPECT_EQ(decoder_.Flush(), nullptr);
}

TEST_F(Pglogical, AnOldRowWithoutAKeyIsTheWholeRow) {
  catalog_[2].columns = {{"id", {.type_oid = 25}}, {"v", {.type_oid = 25}}};
  catalog_[3] = catalog_[2];
  Ok(Relation(2, "s", "full", {{.name = "id"}, {.name = "v"}}));
  Ok(Relation(3, "s", "keyed", {{.name = "id", .is_key = true}, {.name = "v"}}));
  for (const uint32_t table : {2u, 3u}) {
    Message update = Change('U', table);
    Row(update, 'K', 2).Value('b', "a").Value('b', "T");
    Row(update, 'N', 2).Value('b', "b").U8('u');
    Ok(update);
  }
  const std::vector<std::string> lines = Lines(decoder_);
  ASSERT_EQ(lines.size(), 3u);
  const auto count = [](const std::string& line, std::string_view part) {
    size_t found = 0;
    for (size_t at = line.find(part); at != std::string::npos; at = line.find(part, at + 1))
      ++found;
    return found;
  };
  // the field `v`, oid 25, with "T": in old and, where the row is whole, in new
  constexpr std::string_view kField = "0a017610191a0154";
  EXPECT_EQ(count(lines[1], kField), 2u) << lines[1];
  EXPECT_EQ(count(lines[2], kField), 1u) << lines[2];
}

TEST_F(Pglogical, TypesAreThoseOfTheCatalogWhenTheTableIsDescribed) {
  Ok(Insert(1, "x"));
  catalog_[1].columns["v"].type_oid = 1043;
  Ok(Insert(1, "x"));
  Ok(Relation(1, "public", "t"));
  Ok(Insert(1, "x"));
  const std::vector<std::string> lines = Lines(decoder_);
  EXPECT_TRUE(lines[1].ends_with("0a017610191a0178")) << lines[1];
  EXPECT_TRUE(lines[2].ends_with("0a017610191a0178")) << lines[2];
  EXPECT_TRUE(lines[3].ends_with("0a01761093081a0178")) << lines[3];
}

TEST_F(Pglogical, ATableThatIsGonePassesItsValuesOnWithoutTypesAndSaysSo) {
  const std::string log = Logged(Relation(2, "s", "gone"));
  EXPECT_NE(log.find("dropped"), std::string::npos) << log;
  EXPECT_NE(log.find("s.gone"), std::string::npos) << log;
  Ok(Insert(2, "x"));
  const std::vector<std::string> lines = Lines(decoder_);
  // name "v", no oid, "x"
  EXPECT_TRUE(lines[1].ends_with("22060a01761a0178")) << lines[1];
  EXPECT_EQ(Logged(Relation(2, "s", "gone")), "") << "said once";
}

TEST_F(Pglogical, AColumnThatIsGonePassesItsValuesOnWithoutTypesAndSaysSo) {
  const std::string log = Logged(Relation(1, "public", "t", {{.name = "v"}, {.name = "before"}}));
  EXPECT_NE(log.find("dropped or renamed"), std::string::npos) << log;
  EXPECT_NE(log.find("before"), std::string::npos) << log;
  Message insert = Change('I', 1);
  Row(insert, 'N', 2).Value('b', "x").Value('b', "y");
  Ok(insert);
  const std::string line = Lines(decoder_)[1];
  EXPECT_NE(line.find("0a017610191a0178"), std::string::npos) << line;
  EXPECT_TRUE(line.ends_with("0a066265666f72651a0179")) << line;
}

TEST_F(Pglogical, AColumnAlteredByATransactionStillToComeIsWarnedOf) {
  catalog_[1].columns["v"].altered_by = 9;
  EXPECT_NE(Logged(Relation(1, "public", "t")).find("another type"), std::string::npos);
  Ok(Commit(10, 11));
  Ok(Begin(20, 9));
  EXPECT_EQ(Logged(Relation(1, "public", "t")), "") << "its own transaction";
  Ok(Commit(20, 21));
  Ok(Begin(30, 8));
  EXPECT_EQ(Logged(Relation(1, "public", "t")), "") << "a transaction that has come";
  catalog_[1].columns["v"].altered_by = 10;
  EXPECT_NE(Logged(Relation(1, "public", "t")).find("another type"), std::string::npos);
}

TEST_F(Pglogical, NothingIsDecodedBeforeTheCatalogAnswered) {
  int asked = 0;
  PglogicalDecoder decoder([&](uint32_t) -> absl::StatusOr<CatalogTable> {
    if (++asked == 1) return absl::UnavailableError("restarting");
    return CatalogTable();
  });
  ASSERT_TRUE(decoder.Decode(Startup()).ok());
  ASSERT_TRUE(decoder.Decode(Begin(10)).ok());
  ASSERT_TRUE(decoder.Decode(Relation(1, "public", "t")).ok());
  EXPECT_TRUE(decoder.waiting());
  EXPECT_TRUE(absl::IsUnavailable(decoder.Resume()));
  EXPECT_TRUE(absl::IsDataLoss(decoder.Decode(Insert(1, "x"))));
}

TEST_F(Pglogical, LeavesOutCatalogsAndBookkeepingWithoutAQuestion) {
  int asked = 0;
  PglogicalDecoder decoder([&](uint32_t) -> absl::StatusOr<CatalogTable> {
    ++asked;
    return CatalogTable();
  });
  ASSERT_TRUE(decoder.Decode(Startup()).ok());
  ASSERT_TRUE(decoder.Decode(Begin(16)).ok());
  uint32_t oid = 0;
  for (const auto& [schema, name] : std::vector<std::pair<std::string, std::string>>{
           {"pg_catalog", "x"}, {"pglogical", "x"}, {"pgcapture", "sources"}}) {
    ASSERT_TRUE(decoder.Decode(Relation(++oid, schema, name)).ok());
    EXPECT_FALSE(decoder.waiting());
    ASSERT_TRUE(decoder.Decode(Insert(oid, "x")).ok());
  }
  EXPECT_EQ(asked, 0);
  EXPECT_EQ(Lines(decoder).size(), 1u) << "the Begin";
}

// Rows of pglogical's queue.
class PglogicalQueue : public Pglogical {
 protected:
  static constexpr uint32_t kQueue = 9;
  void SetUp() override {
    Pglogical::SetUp();
    Ok(Relation(kQueue, "pglogical", "queue",
                {{.name = "queued_at"}, {.name = "message_type"}, {.name = "message"}}));
  }
  static Message Queued(std::string_view type, std::string_view message) {
    Message insert = Change('I', kQueue);
    Row(insert, 'N', 3).Value('b', "12345678").Value('b', type).Value('b', message);
    return insert;
  }
};

TEST_F(PglogicalQueue, TruncatesInARowAreOneEventBeforeWhatFollows) {
  Ok(Queued("T", R"({"schema_name": "public","table_name": "a"})"));
  Ok(Queued("T", R"({"schema_name": "public","table_name": "q\"\u0001"})"));
  Ok(Insert(1, "x"));
  Ok(Queued("T", R"({"schema_name": "public","table_name": "b"})"));
  Ok(Queued("T", R"({"schema_name": "pgcapture","table_name": "sources"})"));
  Ok(Commit(10, 11));
  const std::vector<std::string> lines = Lines(decoder_);
  ASSERT_EQ(lines.size(), 5u);
  // field 20 with a relation {"public", name} each
  EXPECT_EQ(lines[1],
            "0/A|1 a2011c0a0b0a067075626c69631201610a0d0a067075626c6963120371"
            "2201");
  EXPECT_TRUE(lines[2].starts_with("0/A|2 1a")) << lines[2];
  EXPECT_EQ(lines[3], "0/A|3 a2010d0a0b0a067075626c6963120162");
  EXPECT_TRUE(lines[4].starts_with("0/A|4 12")) << lines[4];
}

TEST_F(PglogicalQueue, OtherMessagesLeaveNothing) {
  for (const char* type : {"Q", "S", "D", "A", "E"}) Ok(Queued(type, R"({"sql": "SELECT 1"})"));
  Ok(Commit(10, 11));
  EXPECT_EQ(decoder_.Flush(), nullptr);
}

TEST_F(PglogicalQueue, ATruncateOfNoTableIsDataLoss) {
  for (const char* message : {"", "{", "[]", R"({"schema_name": "s"})",
                              R"({"schema_name": "s", "table_name": 1})", "\xff"}) {
    Lost(Queued("T", message));
  }
  Lost(Relation(kQueue, "pglogical", "queue", {{.name = "queued_at"}}));
}

TEST_F(PglogicalQueue, ThousandsOfTruncatesStayWithinTheirLimit) {
  const std::string name(1000, 'n');
  for (int i = 0; i < 3000; ++i) {
    Ok(Queued("T", fmt::format(R"({{"schema_name": "s","table_name": "{}{}"}})", name, i)));
  }
  Ok(Commit(10, 11));
  const std::vector<std::string> lines = Lines(decoder_);
  EXPECT_EQ(lines.size(), 6u) << "Begin, three events of a MiB and one of the rest, Commit";
}

TEST(RecentXids, KnowsTheNewestAcrossWrapAround) {
  RecentXids xids;
  EXPECT_FALSE(xids.Has(0));
  xids.Add(UINT32_MAX - 1);
  xids.Add(5);
  xids.Add(UINT32_MAX);
  EXPECT_TRUE(xids.Has(UINT32_MAX - 1));
  EXPECT_TRUE(xids.Has(UINT32_MAX));
  EXPECT_TRUE(xids.Has(5));
  EXPECT_FALSE(xids.Has(4));
  EXPECT_FALSE(xids.Has(6));
  xids.Add(5 + RecentXids::kSize);
  EXPECT_FALSE(xids.Has(5)) << "too old";
  EXPECT_TRUE(xids.Has(5 + RecentXids::kSize));
  EXPECT_FALSE(xids.Has(6 + RecentXids::kSize - 1 - RecentXids::kSize));
  xids.Add(1u << 30);
  EXPECT_FALSE(xids.Has(5 + RecentXids::kSize));
  xids.Add(7);
  EXPECT_FALSE(xids.Has(7)) << "older than all that is kept";
}

}  // namespace
}  // namespace pgc
