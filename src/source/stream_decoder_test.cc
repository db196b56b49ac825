#include "source/stream_decoder.h"

#include <gtest/gtest.h>

#include "testing/message_builder.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using Bytes = std::vector<uint8_t>;
using Message = MessageBuilder;

constexpr uint32_t kTable = 5;

Bytes Begin(uint64_t lsn, uint32_t xid) { return Message('B').U64(lsn).U64(1).U32(xid).bytes(); }
Bytes Commit(uint64_t lsn, uint64_t end) {
  return Message('C').U8(0).U64(lsn).U64(end).U64(1).bytes();
}
Bytes Start(uint32_t xid, bool first) { return Message('S').U32(xid).U8(first ? 1 : 0).bytes(); }
Bytes Stop() { return Message('E').bytes(); }
Bytes StreamCommit(uint32_t xid, uint64_t lsn, uint64_t end) {
  return Message('c').U32(xid).U8(0).U64(lsn).U64(end).U64(1).bytes();
}
Bytes Abort(uint32_t xid, uint32_t subxid) { return Message('A').U32(xid).U32(subxid).bytes(); }

// A table with one text column, and a row of it; with an xid inside a piece.
Bytes Relation(std::optional<uint32_t> xid, std::string_view name = "t") {
  Message message('R');
  if (xid.has_value()) message.U32(*xid);
  message.U32(kTable).Text("s").Text(name).U8('f').U16(1).U8(1).Text("v").U32(25).U32(0);
  return message.bytes();
}
Bytes Insert(std::optional<uint32_t> xid, uint8_t value) {
  Message message('I');
  if (xid.has_value()) message.U32(*xid);
  return message.U32(kTable).U8('N').U16(1).U8('b').U32(1).U8(value).bytes();
}

class Stream : public testing::Test {
 protected:
  std::unique_ptr<StreamDecoder> New() {
    auto spool = TransactionSpool::Open(temp_.path());
    EXPECT_TRUE(spool.ok());
    return std::make_unique<StreamDecoder>(*std::move(spool));
  }
  // Decodes all and returns the events, or the first error.
  static absl::StatusOr<std::vector<std::string>> Events(StreamDecoder& decoder,
                                                         const std::vector<Bytes>& messages,
                                                         size_t replay_bytes = 1) {
    for (const Bytes& message : messages) {
      absl::Status status = decoder.Decode(message);
      while (status.ok() && decoder.replaying()) status = decoder.Replay(replay_bytes);
      if (!status.ok()) return status;
    }
    std::vector<std::string> events;
    if (const auto block = decoder.events().Flush()) {
      for (Block::Cursor cursor(*block); cursor.Next();) {
        events.push_back(ToKey(cursor.event().checkpoint) + " " +
                         std::string(cursor.event().message.begin(), cursor.event().message.end()));
      }
    }
    return events;
  }

  TempDir temp_;
};

TEST_F(Stream, PiecesGiveTheEventsOfWholeTransactionsInCommitOrder) {
  const auto whole =
      Events(*New(), {Begin(10, 8), Relation({}), Insert({}, 'a'), Commit(10, 11),  //
                      Begin(20, 9), Insert({}, 'b'), Commit(20, 21),                //
                      Begin(30, 7), Insert({}, 'c'), Insert({}, 'd'), Commit(30, 31)});
  const auto pieces = Events(*New(), {Start(7, true),
                                      Relation(7),
                                      Insert(7, 'c'),
                                      Stop(),  //
                                      Start(9, true),
                                      Relation(9),
                                      Insert(9, 'b'),
                                      Insert(70, 'x'),
                                      Stop(),  //
                                      Begin(10, 8),
                                      Relation({}),
                                      Insert({}, 'a'),
                                      Commit(10, 11),  //
                                      Start(7, false),
                                      Insert(71, 'x'),
                                      Insert(72, 'x'),
                                      Stop(),  //
                                      Abort(9, 70),
                                      StreamCommit(9, 20, 21),  //
                                      Abort(7, 72),
                                      Abort(7, 71),
                                      Start(7, false),
                                      Insert(73, 'd'),
                                      Stop(),  //
                                      Start(99, true),
                                      Relation(99),
                                      Insert(99, 'x'),
                                      Stop(),
                                      Abort(99, 99),  //
                                      StreamCommit(7, 30, 31)});
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  ASSERT_EQ(whole->size(), 10u);
  EXPECT_EQ(*pieces, *whole);
}

TEST_F(Stream, AnAbortedTransactionsTablesAreNotLearned) {
  const auto decoder = New();
  const auto events =
      Events(*decoder, {Begin(10, 8), Relation({}, "before"), Insert({}, 'a'), Commit(10, 11),  //
                        Start(9, true), Relation(9, "never"), Insert(9, 'x'), Stop(), Abort(9, 9),
                        Begin(20, 7), Insert({}, 'b'), Commit(20, 21)});
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_NE(events->at(4).find("before"), std::string::npos);
}

TEST_F(Stream, ATransactionInPiecesWithoutAChangeLeavesNothingButItsEnd) {
  const auto decoder = New();
  const auto events = Events(*decoder, {Start(7, true), Stop(), StreamCommit(7, 10, 11)});
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_TRUE(events->empty());
  EXPECT_EQ(decoder->events().end_lsn(), Lsn{11});
}

TEST_F(Stream, TheEndIsReachedOnlyWhenAllIsDecoded) {
  const auto decoder = New();
  for (const Bytes& message : {Start(7, true), Relation(7), Insert(7, 'a'), Insert(7, 'b'), Stop(),
                               StreamCommit(7, 10, 11)}) {
    ASSERT_TRUE(decoder->Decode(message).ok());
  }
  ASSERT_TRUE(decoder->replaying());
  int steps = 0;
  while (decoder->replaying()) {
    EXPECT_EQ(decoder->events().end_lsn(), Lsn{0});
    ASSERT_TRUE(decoder->Replay(1).ok());
    ++steps;
  }
  EXPECT_EQ(steps, 4);
  EXPECT_EQ(decoder->events().end_lsn(), Lsn{11});
}

TEST_F(Stream, MessagesOutOfPlaceAreDataLoss) {
  const std::vector<std::vector<Bytes>> wrong{
      {Stop()},
      {Start(7, false)},
      {Start(7, true), Start(8, true)},
      {Start(7, true), Begin(10, 8)},
      {Start(7, true), Commit(10, 11)},
      {Start(7, true), StreamCommit(7, 10, 11)},
      {Start(7, true), Message('Z').bytes()},
      {Begin(10, 8), Start(7, true)},
      {StreamCommit(7, 10, 11)},
      {Start(7, true), Abort(8, 8)},
      {Start(7, true), Insert(7, 'a'), Stop(), StreamCommit(7, 10, 11)},
      {Begin(10, 8), Commit(10, 11), Start(7, true), Stop(), StreamCommit(7, 10, 11)},
  };
  for (size_t i = 0; i < wrong.size(); ++i) {
    EXPECT_TRUE(absl::IsDataLoss(Events(*New(), wrong[i]).status())) << "number " << i;
  }
}

TEST_F(Stream, AnAbortOfWhatNeverCameIsNothing) {
  const std::vector<Bytes> messages{Abort(7, 7),     Abort(7, 8),    Begin(10, 8), Relation({}),
                                    Insert({}, 'a'), Commit(10, 11), Abort(9, 9)};
  const auto events = Events(*New(), messages);
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_EQ(events->size(), 3U);
  StreamDecoder whole(nullptr);
  const auto same = Events(whole, messages);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(*same, *events);
  Bytes cut = Abort(7, 7);
  cut.pop_back();
  EXPECT_TRUE(absl::IsDataLoss(whole.Decode(cut)));
  EXPECT_TRUE(absl::IsDataLoss(whole.Decode(Start(7, true)))) << "it was not asked for";
}

TEST_F(Stream, EveryTruncationIsDataLoss) {
  const std::vector<Bytes> messages{Start(7, true), Relation(7),     Insert(7, 'a'),
                                    Stop(),         Start(7, false), Insert(8, 'b'),
                                    Stop(),         Abort(7, 8),     StreamCommit(7, 10, 11)};
  ASSERT_TRUE(Events(*New(), messages).ok());
  for (size_t cut = 0; cut < messages.size(); ++cut) {
    for (size_t length = 0; length < messages[cut].size(); ++length) {
      std::vector<Bytes> some(messages);
      some[cut].resize(length);
      // What is void is not decoded, so a cut there is seen only in its head.
      const bool is_void = cut == 5 && length >= 5;
      EXPECT_EQ(absl::IsDataLoss(Events(*New(), some).status()), !is_void)
          << "message " << cut << " cut to " << length;
    }
  }
}

}  // namespace
}  // namespace pgc
