#include "event/block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/status/status.h"

namespace pgc {
namespace {

using testing::ElementsAre;

constexpr size_t kHeaderBytes = 48;

Checkpoint At(uint64_t lsn, uint32_t seq) { return {.lsn = Lsn{lsn}, .seq = seq}; }

void Add(BlockBuilder& builder, EventKind kind, uint32_t table, Checkpoint checkpoint,
         std::string_view message) {
  std::memcpy(builder.Add(kind, table, checkpoint, message.size()), message.data(), message.size());
}

// Two transactions, two tables.
std::shared_ptr<const Block> SomeBlock() {
  BlockBuilder builder;
  const uint32_t one = builder.AddTable({.schema = "public", .name = "one"});
  const uint32_t two = builder.AddTable({.schema = "s", .name = ""});
  Add(builder, EventKind::kBegin, Event::kNoTable, At(100, 0), "begin");
  Add(builder, EventKind::kChange, two, At(100, 1), "change of two");
  Add(builder, EventKind::kChange, one, At(100, 5), std::string(300, 'x'));
  Add(builder, EventKind::kCommit, Event::kNoTable, At(100, UINT32_MAX), "c");
  Add(builder, EventKind::kBegin, Event::kNoTable, At(UINT64_MAX, 7), "begin");
  Add(builder, EventKind::kTruncate, Event::kNoTable, At(UINT64_MAX, 8), "truncate");
  Add(builder, EventKind::kLogicalMessage, Event::kNoTable, At(UINT64_MAX, 9), "message");
  return builder.Finish();
}

std::string Text(const Event& event) {
  return {reinterpret_cast<const char*>(event.message.data()), event.message.size()};
}

std::vector<std::string> Texts(const Block& block) {
  std::vector<std::string> texts;
  for (Block::Cursor cursor(block); cursor.Next();) texts.push_back(Text(cursor.event()));
  return texts;
}

// Reads every byte that the block says it has; the sanitizers see whether it has them.
void ReadAll(const Block& block) {
  const auto* const begin = reinterpret_cast<const uint8_t*>(block.bytes().data());
  const uint8_t* const end = begin + block.bytes().size();
  uint32_t events = 0;
  Checkpoint before;
  for (Block::Cursor cursor(block); cursor.Next(); ++events) {
    const Event& event = cursor.event();
    ASSERT_GE(event.message.data(), begin);
    ASSERT_LE(event.message.data() + event.message.size(), end);
    ASSERT_TRUE(event.table == Event::kNoTable || event.table < block.tables().size());
    ASSERT_TRUE(events == 0 || before < event.checkpoint);
    before = event.checkpoint;
  }
  ASSERT_EQ(events, block.size());
  ASSERT_EQ(before, block.last());
}

TEST(Block, ReadsBackAsItWasBuilt) {
  const auto built = SomeBlock();
  const auto parsed = Block::Parse(built->bytes());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  for (const Block* block : {built.get(), parsed->get()}) {
    EXPECT_EQ(block->size(), 7u);
    EXPECT_THAT(block->tables(), ElementsAre(TableName{.schema = "public", .name = "one"},
                                             TableName{.schema = "s", .name = ""}));
    EXPECT_EQ(block->first(), At(100, 0));
    EXPECT_EQ(block->last(), At(UINT64_MAX, 9));
    EXPECT_THAT(Texts(*block), ElementsAre("begin", "change of two", std::string(300, 'x'), "c",
                                           "begin", "truncate", "message"));
    ReadAll(*block);
    Block::Cursor cursor(*block);
    ASSERT_TRUE(cursor.Next());
    EXPECT_EQ(cursor.event().kind, EventKind::kBegin);
    EXPECT_EQ(cursor.event().table, Event::kNoTable);
    ASSERT_TRUE(cursor.Next());
    EXPECT_EQ(cursor.event().kind, EventKind::kChange);
    EXPECT_EQ(cursor.event().table, 1u);
    EXPECT_EQ(cursor.event().checkpoint, At(100, 1));
    EXPECT_EQ(cursor.index(), 1u);
  }
}

TEST(Block, ACursorSkipsToAnyEventAndNotBack) {
  const auto block = SomeBlock();
  for (uint32_t index = 0; index < block->size(); ++index) {
    Block::Cursor cursor(*block);
    cursor.SkipTo(index);
    ASSERT_TRUE(cursor.Next());
    EXPECT_EQ(cursor.index(), index);
    EXPECT_EQ(Text(cursor.event()), Texts(*block)[index]);
    cursor.SkipTo(0);
    EXPECT_EQ(cursor.Next(), index + 1 < block->size());
  }
  Block::Cursor cursor(*block);
  cursor.SkipTo(99);
  EXPECT_FALSE(cursor.Next());
}

TEST(Block, ATailIsTheEventsFromThereOn) {
  const auto block = SomeBlock();
  const auto all = Texts(*block);
  for (uint32_t from = 0; from < block->size(); ++from) {
    const auto tail = Tail(*block, from);
    EXPECT_THAT(Texts(*tail), testing::ElementsAreArray(all.begin() + from, all.end()));
    EXPECT_EQ(tail->tables(), block->tables());
    EXPECT_EQ(tail->last(), block->last());
    ReadAll(*tail);
    EXPECT_TRUE(Block::Parse(tail->bytes()).ok());
  }
}

TEST(Block, ABuilderStartsAnewAfterEachBlock) {
  BlockBuilder builder;
  EXPECT_TRUE(builder.empty());
  EXPECT_EQ(builder.bytes(), 0u);
  const uint64_t generation = builder.generation();
  builder.AddTable({.schema = "a", .name = "b"});
  Add(builder, EventKind::kBegin, Event::kNoTable, At(9, 9), "one");
  const auto first = builder.Finish();
  EXPECT_NE(builder.generation(), generation);
  EXPECT_TRUE(builder.empty());
  Add(builder, EventKind::kBegin, Event::kNoTable, At(1, 1), "two");
  const auto second = builder.Finish();
  EXPECT_EQ(second->first(), At(1, 1));
  EXPECT_TRUE(second->tables().empty());
  EXPECT_THAT(Texts(*second), ElementsAre("two"));
}

TEST(Block, IsFullAtItsTargetAndTakesALargerEventAlone) {
  BlockBuilder builder;
  EXPECT_FALSE(builder.full(10 * Block::kTargetBytes));
  Add(builder, EventKind::kBegin, Event::kNoTable, At(1, 0), std::string(1'000, 'x'));
  const size_t bytes = builder.bytes();
  EXPECT_FALSE(builder.full(Block::kTargetBytes - bytes));
  EXPECT_TRUE(builder.full(Block::kTargetBytes - bytes + 1));
  EXPECT_EQ(builder.Finish()->bytes().size(), bytes);
  Add(builder, EventKind::kBegin, Event::kNoTable, At(2, 0),
      std::string(3 * Block::kTargetBytes, 'y'));
  EXPECT_TRUE(builder.full(1));
  EXPECT_EQ(builder.Finish()->size(), 1u);
}

TEST(Block, EveryTruncationAndEveryExtensionIsDataLoss) {
  const std::string bytes = SomeBlock()->bytes();
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(Block::Parse(bytes.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(Block::Parse(bytes + '\0').status()));
}

// An event's bytes are opaque here; all before them is checked or harmless.
TEST(Block, NoChangedByteMakesItReadBeyondItsEnd) {
  const std::string bytes = SomeBlock()->bytes();
  size_t refused = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(value);
      const auto block = Block::Parse(changed);
      if (block.ok()) {
        ReadAll(**block);
        if (testing::Test::HasFatalFailure()) FAIL() << "byte " << at << " made " << value;
      } else {
        EXPECT_TRUE(absl::IsDataLoss(block.status()));
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, kHeaderBytes * 200);
}

TEST(Block, AnotherVersionIsRefusedByNumber) {
  std::string bytes = SomeBlock()->bytes();
  bytes[4] = 2;
  const absl::Status status = Block::Parse(bytes).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("version 2, not 1"));
}

TEST(Block, ALongerHeaderOfALaterVersionIsPassedOver) {
  std::string bytes = SomeBlock()->bytes();
  bytes.insert(kHeaderBytes, "later!!!");
  bytes[6] = kHeaderBytes + 8;
  const auto block = Block::Parse(bytes);
  ASSERT_TRUE(block.ok()) << block.status();
  EXPECT_EQ(Texts(**block), Texts(*SomeBlock()));
}

}  // namespace
}  // namespace pgc
