// What every EventStore promises to its writers and readers, and the errors that it gives.
#include "store/store_contract.h"

#include <gtest/gtest.h>

#include <thread>

namespace pgc {
namespace {

TEST_P(Contract, ATopicHasOneWriterAtATime) {
  auto writer = store_->OpenWriter("topic");
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->OpenWriter("topic").status()));
  EXPECT_TRUE(store_->OpenWriter("another").ok());
  writer->reset();
  EXPECT_TRUE(store_->OpenWriter("topic").ok());
}

TEST_P(Contract, DropsEventsThatAreNotAfterTheNewest) {
  TestWriter writer(*store_);
  writer.AppendAndWait(MakeBatch({MakeBlock(5, 0, 4)}, 1));
  // A block before it, one that overlaps it, and it again.
  writer.AppendAndWait(MakeBatch({MakeBlock(4, 0, 9), MakeBlock(5, 2, 4), MakeBlock(5, 0, 4)}, 2));
  writer.AppendAndWait(MakeBatch({MakeBlock(5, 5, 1), MakeBlock(6, 0, 1)}, 3));
  const auto reader = store_->OpenReader("topic", {.start = FromBeginning{}});
  ASSERT_TRUE(reader.ok());
  const auto seen = ReadCount(**reader, 7);
  EXPECT_EQ(Ordinals(seen), UpTo(0, 7));
  for (uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(seen[i].checkpoint, (Checkpoint{.lsn = Lsn{5}, .seq = i}));
  }
  EXPECT_EQ(seen[6].checkpoint, (Checkpoint{.lsn = Lsn{6}, .seq = 0}));
}

TEST_P(Contract, DropsAlsoWhatAnEarlierWriterStored) {
  TestWriter(*store_).AppendAndWait(MakeBatch({MakeBlock(5, 0, 4)}, 6));
  TestWriter writer(*store_);
  writer.AppendAndWait(MakeBatch({MakeBlock(5, 0, 6)}, 7));
  const auto reader = store_->OpenReader("topic", {.start = FromBeginning{}});
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(Ordinals(ReadCount(**reader, 6)), UpTo(0, 6));
}

TEST_P(Contract, AReaderStartsWhereItIsTold) {
  TestWriter writer(*store_);
  // lsn 10, 20, … 990, of three events each
  std::vector<std::shared_ptr<const Block>> blocks;
  for (uint64_t lsn = 10; lsn < 1000; lsn += 10) blocks.push_back(MakeBlock(lsn, 0, 3));
  writer.AppendAndWait(MakeBatch(blocks, 2000));
  const auto first = [&](const ReaderStart& start) {
    const auto reader = store_->OpenReader("topic", {.start = start});
    EXPECT_TRUE(reader.ok()) << reader.status();
    const auto seen = ReadCount(**reader, 1);
    return seen.empty() ? Checkpoint{} : seen.front().checkpoint;
  };
  const auto at = [](uint64_t lsn, uint32_t seq) {
    return Checkpoint{.lsn = Lsn{lsn}, .seq = seq};
  };
  EXPECT_EQ(first(FromBeginning{}), at(10, 0));
  EXPECT_EQ(first(FromAfter{}), at(10, 0));
  EXPECT_EQ(first(FromAfter{at(10, 0)}), at(10, 1));
  EXPECT_EQ(first(FromAfter{at(10, 2)}), at(20, 0));
  EXPECT_EQ(first(FromAfter{at(15, 0)}), at(20, 0));
  EXPECT_EQ(first(FromAfter{at(500, 7)}), at(510, 0));
  EXPECT_EQ(first(FromAfter{at(980, 2)}), at(990, 0));
  EXPECT_EQ(first(FromAfter{at(990, 1)}), at(990, 2));
  const auto after_all = store_->OpenReader("topic", {.start = FromAfter{at(990, 2)}});
  const auto end = store_->OpenReader("topic", {.start = FromEnd{}});
  writer.AppendAndWait(MakeBatch({MakeBlock(5000, 0, 1)}, 5001));
  EXPECT_EQ(ReadCount(**after_all, 1).front().checkpoint, at(5000, 0));
  EXPECT_EQ(ReadCount(**end, 1).front().checkpoint, at(5000, 0));
}

TEST_P(Contract, AReaderWaitsForEventsAndIsCancelled) {
  TestWriter writer(*store_);
  auto reader = store_->OpenReader("topic", {.start = FromEnd{}});
  ASSERT_TRUE(reader.ok());
  std::vector<Seen> seen;
  absl::Status end;
  std::stop_source stop;
  Signal got;
  std::jthread thread([&] {
    const auto slice = (*reader)->Next(stop.get_token());
    ASSERT_TRUE(slice.ok());
    AppendSeen(*slice, seen);
    got.Set();
    end = (*reader)->Next(stop.get_token()).status();
  });
  writer.Append({2});
  ASSERT_TRUE(got.Wait());
  stop.request_stop();
  thread.join();
  EXPECT_EQ(Ordinals(seen), UpTo(0, 2));
  EXPECT_TRUE(absl::IsCancelled(end)) << end;
}

TEST_P(Contract, AReaderLeavesNothingBehind) {
  TestWriter writer(*store_);
  writer.Append({2});
  for (int i = 0; i < 2; ++i) {
    const auto reader = store_->OpenReader("topic", {.start = FromBeginning{}});
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(Ordinals(ReadCount(**reader, 2)), UpTo(0, 2));
  }
}

INSTANTIATE_TEST_SUITE_P(Store, Contract, testing::ValuesIn(Backends()), BackendName());

}  // namespace
}  // namespace pgc
