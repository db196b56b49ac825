#include "source/transaction_spool.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <random>

#include "testing/temp_dir.h"

namespace pgc {
namespace {

absl::Status Append(TransactionSpool& spool, uint32_t subxid, std::string_view message) {
  return spool.Append(subxid, static_cast<uint8_t>(message[0]),
                      {reinterpret_cast<const uint8_t*>(message.data()) + 1, message.size() - 1});
}

class Spool : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    spool_.reset();
    auto opened = TransactionSpool::Open(folder());
    ASSERT_TRUE(opened.ok()) << opened.status();
    spool_ = *std::move(opened);
  }
  std::filesystem::path folder() const { return temp_.path() / "spool"; }
  size_t files() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder())) {
      ++count;
    }
    return count;
  }

  // A stretch of `xid` with these messages, each `SUBXID:TEXT`.
  void Stretch(uint32_t xid, bool first, const std::vector<std::string>& messages) {
    ASSERT_TRUE(spool_->Start(xid, first).ok());
    for (const std::string& message : messages) {
      const size_t colon = message.find(':');
      const auto subxid = static_cast<uint32_t>(std::stoul(message.substr(0, colon)));
      ASSERT_TRUE(Append(*spool_, subxid, message).ok());
    }
    ASSERT_TRUE(spool_->Stop().ok());
  }
  std::vector<std::string> Committed(uint32_t xid) {
    std::vector<std::string> messages;
    auto transaction = spool_->Commit(xid);
    EXPECT_TRUE(transaction.ok()) << transaction.status();
    while (transaction.ok()) {
      const auto next = (*transaction)->Next();
      EXPECT_TRUE(next.ok()) << next.status();
      if (!next.ok() || !next->has_value()) break;
      messages.emplace_back(reinterpret_cast<const char*>((*next)->data()), (*next)->size());
    }
    return messages;
  }

  TempDir temp_;
  std::unique_ptr<TransactionSpool> spool_;
};

using Messages = std::vector<std::string>;

TEST_F(Spool, InterleavedTransactionsComeOutWholeAndInOrder) {
  Stretch(7, true, {"7:a", "7:b"});
  Stretch(8, true, {"8:x"});
  Stretch(7, false, {"7:c"});
  Stretch(8, false, {});
  EXPECT_EQ(Committed(8), (Messages{"8:x"}));
  EXPECT_EQ(Committed(7), (Messages{"7:a", "7:b", "7:c"}));
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(spool_->bytes(), 0u);
}

TEST_F(Spool, AnAbortedSubtransactionTakesItsChildrenAlong) {
  Stretch(7, true, {"7:a", "9:b", "10:c", "9:d"});
  ASSERT_TRUE(spool_->Abort(7, 9).ok());
  Stretch(7, false, {"7:e", "11:f"});
  ASSERT_TRUE(spool_->Abort(7, 99).ok()) << "one without a message";
  EXPECT_EQ(Committed(7), (Messages{"7:a", "7:e", "11:f"}));
}

TEST_F(Spool, AnAbortedTransactionLeavesNoFile) {
  Stretch(7, true, {"7:a"});
  ASSERT_TRUE(spool_->Abort(7, 7).ok());
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(spool_->transactions(), 0u);
  EXPECT_TRUE(absl::IsDataLoss(spool_->Commit(7).status()));
}

// The kind of a message is its first byte, so these have one of a logical message.
absl::Status AppendLogical(TransactionSpool& spool, uint32_t xid) {
  return Append(spool, xid, "M");
}

TEST_F(Spool, ALogicalMessageThatMayBeOfAnAbortedSubtransactionIsUnclear) {
  // 10: one of nothing but messages.
  for (const uint32_t subxid : {9, 10}) {
    ASSERT_TRUE(spool_->Start(7, true).ok());
    ASSERT_TRUE(Append(*spool_, 7, "7:a").ok());
    ASSERT_TRUE(AppendLogical(*spool_, 7).ok());
    ASSERT_TRUE(Append(*spool_, 9, "9:b").ok());
    ASSERT_TRUE(spool_->Stop().ok());
    ASSERT_TRUE(spool_->Abort(7, subxid).ok());
    EXPECT_TRUE(absl::IsAborted(spool_->Commit(7).status()));
    ASSERT_TRUE(spool_->Abort(7, 7).ok()) << "with the whole transaction it is void in any case";
  }
}

TEST_F(Spool, WhatWasUnclearAndIsRolledBackWithMoreIsClear) {
  ASSERT_TRUE(spool_->Start(7, true).ok());
  ASSERT_TRUE(Append(*spool_, 7, "7:a").ok());
  ASSERT_TRUE(Append(*spool_, 8, "8:b").ok());
  ASSERT_TRUE(AppendLogical(*spool_, 7).ok());
  ASSERT_TRUE(Append(*spool_, 9, "9:c").ok());
  ASSERT_TRUE(AppendLogical(*spool_, 7).ok());
  ASSERT_TRUE(Append(*spool_, 10, "10:d").ok());
  ASSERT_TRUE(spool_->Stop().ok());
  ASSERT_TRUE(spool_->Abort(7, 10).ok());
  ASSERT_TRUE(spool_->Abort(7, 9).ok());
  ASSERT_TRUE(spool_->Abort(7, 8).ok());
  EXPECT_EQ(Committed(7), Messages{"7:a"});
}

TEST_F(Spool, ALogicalMessageBeforeAChangeOfTheTransactionItselfStays) {
  ASSERT_TRUE(spool_->Start(7, true).ok());
  ASSERT_TRUE(AppendLogical(*spool_, 7).ok());
  ASSERT_TRUE(Append(*spool_, 7, "7:a").ok());
  ASSERT_TRUE(Append(*spool_, 9, "9:b").ok());
  ASSERT_TRUE(AppendLogical(*spool_, 7).ok());
  ASSERT_TRUE(spool_->Stop().ok());
  ASSERT_TRUE(spool_->Abort(7, 9).ok()) << "the second message came after its first change";
  ASSERT_TRUE(spool_->Abort(7, 10).ok());
  EXPECT_EQ(Committed(7), (Messages{"M", "7:a"}));
}

TEST_F(Spool, AnEarlierProcessLeavesNothing) {
  Stretch(7, true, {"7:a"});
  std::filesystem::copy(folder() / "7.spool", folder() / "8.spool");
  std::ofstream(folder() / "notes.txt") << "not ours";
  Reopen();
  EXPECT_EQ(files(), 1u);
  EXPECT_TRUE(std::filesystem::exists(folder() / "notes.txt"));
}

TEST_F(Spool, CallsOutOfPlaceAreDataLoss) {
  EXPECT_TRUE(absl::IsDataLoss(Append(*spool_, 7, "x")));
  EXPECT_TRUE(absl::IsDataLoss(spool_->Stop()));
  EXPECT_TRUE(absl::IsDataLoss(spool_->Start(7, false)));
  EXPECT_TRUE(absl::IsDataLoss(spool_->Start(0, true)));
  EXPECT_TRUE(absl::IsDataLoss(spool_->Abort(7, 7)));
  ASSERT_TRUE(spool_->Start(7, true).ok());
  EXPECT_TRUE(absl::IsDataLoss(spool_->Start(8, true)));
  EXPECT_TRUE(absl::IsDataLoss(spool_->Abort(7, 7)));
  EXPECT_TRUE(absl::IsDataLoss(spool_->Commit(7).status()));
  ASSERT_TRUE(spool_->Stop().ok());
  EXPECT_TRUE(absl::IsDataLoss(spool_->Start(7, true)));
}

TEST_F(Spool, MessagesLargerThanAnyBufferPass) {
  const std::string large = "7:" + std::string(3 << 20, 'x');
  Stretch(7, true, {"7:a", large, "7:b"});
  EXPECT_EQ(Committed(7), (Messages{"7:a", large, "7:b"}));
}

TEST_F(Spool, EveryDamagedByteIsFound) {
  Stretch(7, true, {"7:first", "7:second"});
  const std::filesystem::path path = folder() / "7.spool";
  const auto size = std::filesystem::file_size(path);
  for (uintmax_t at = 0; at < size; ++at) {
    Reopen();
    Stretch(7, true, {"7:first", "7:second"});
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ 0x40));
    file.close();
    auto transaction = spool_->Commit(7);
    ASSERT_TRUE(transaction.ok());
    absl::Status status;
    for (int i = 0; i < 3 && status.ok(); ++i) status = (*transaction)->Next().status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << "byte " << at << ": " << status;
  }
}

TEST_F(Spool, EveryTruncationIsFound) {
  const std::filesystem::path path = folder() / "7.spool";
  for (uintmax_t length = 0; length < 2 * 8 + 7 + 8; ++length) {
    Reopen();
    Stretch(7, true, {"7:first", "7:second"});
    std::filesystem::resize_file(path, length);
    auto transaction = spool_->Commit(7);
    ASSERT_TRUE(transaction.ok());
    absl::Status status;
    for (int i = 0; i < 3 && status.ok(); ++i) status = (*transaction)->Next().status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << "cut to " << length << ": " << status;
  }
}

TEST_F(Spool, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(temp_.path() / "file") << "x";
  const auto opened = TransactionSpool::Open(temp_.path() / "file/spool");
  EXPECT_TRUE(absl::IsFailedPrecondition(opened.status()));
  EXPECT_NE(opened.status().message().find("file/spool"), std::string::npos);
}

// What counts of a transaction, kept the slow way: each message with the chain of subtransactions
// that were open when it came.
TEST_F(Spool, RandomSavepointsEndAsTheyShould) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    uint32_t next_xid = 100;
    std::vector<uint32_t> open{7};
    std::map<uint32_t, std::vector<uint32_t>> released;  // into each open one
    std::vector<std::pair<std::vector<uint32_t>, std::string>> kept;
    bool first = true;
    for (int step = 0; step < 60; ++step) {
      ASSERT_TRUE(spool_->Start(7, std::exchange(first, false)).ok());
      for (uint32_t i = random() % 4; i > 0; --i) {
        const std::string text = fmt::format("{}:{}", open.back(), step * 10 + i);
        ASSERT_TRUE(Append(*spool_, open.back(), text).ok());
        kept.emplace_back(open, text);
      }
      ASSERT_TRUE(spool_->Stop().ok());
      switch (random() % 3) {
        case 0:
          open.push_back(next_xid++);
          break;
        case 1:
          if (open.size() > 1) {
            const uint32_t child = open.back();
            open.pop_back();
            auto& into = released[open.back()];
            into.insert(into.end(), released[child].begin(), released[child].end());
            into.push_back(child);
          }
          break;
        default:
          if (open.size() > 1) {
            const uint32_t aborted = open.back();
            open.pop_back();
            // The server names what was released into it first, in the order of the xids.
            std::vector<uint32_t> all = released[aborted];
            std::sort(all.begin(), all.end());
            all.push_back(aborted);
            for (const uint32_t subxid : all) ASSERT_TRUE(spool_->Abort(7, subxid).ok());
            std::erase_if(kept, [aborted](const auto& one) {
              return std::find(one.first.begin(), one.first.end(), aborted) != one.first.end();
            });
          }
      }
    }
    Messages expected;
    for (const auto& [chain, text] : kept) expected.push_back(text);
    ASSERT_EQ(Committed(7), expected);
  }
}

}  // namespace
}  // namespace pgc
