// Damaged stores: a hole, a changed record, each file changed in each way. Nothing is passed over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <optional>
#include <random>

#include "store/ack_writer.h"
#include "store/embedded_testing.h"
#include "store/embedded_topic.h"
#include "store/records.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Keys and values as docs/store-format.md has them, changed behind the store's back.
class Raw {
 public:
  explicit Raw(const fs::path& dir) {
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const char* name : {"default", "blocks", "subscriptions", "floors"}) {
      families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    }
    rocksdb::DB* opened = nullptr;
    const auto status =
        rocksdb::DB::Open(rocksdb::DBOptions(), dir.string(), families, &families_, &opened);
    EXPECT_TRUE(status.ok()) << status.ToString();
    db_.reset(opened);
  }
  ~Raw() {
    for (auto* const family : families_) (void)db_->DestroyColumnFamilyHandle(family);
  }
  void DeleteBlock(uint64_t ordinal) {
    EXPECT_TRUE(db_->Delete({}, families_[1], BlockKey(0, ordinal)).ok());
  }
  void PutBlock(uint64_t ordinal, const std::string& value) {
    EXPECT_TRUE(db_->Put({}, families_[1], BlockKey(0, ordinal), value).ok());
  }
  std::string GetBlock(uint64_t ordinal) {
    std::string value;
    EXPECT_TRUE(db_->Get({}, families_[1], BlockKey(0, ordinal), &value).ok());
    return value;
  }
  void PutSubscription(const std::string& name, const std::string& value) {
    EXPECT_TRUE(db_->Put({}, families_[2], SubscriptionKey(0, name), value).ok());
  }
  void PutFloor(const std::string& value) {
    EXPECT_TRUE(db_->Put({}, families_[3], SubscriptionKey(0, ""), value).ok());
  }
  void PutTopic(const std::string& name, const std::string& value) {
    EXPECT_TRUE(db_->Put({}, families_[0], name, value).ok());
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
};

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    const auto store = Open(dir_);
    TestWriter writer(*store);
    auto consumer = OpenConsumer(*store);
    for (int i = 0; i < 5; ++i) writer.Append({10});  // events 0, 10, 20, 30, 40 begin blocks
    TakeAll(*consumer);
    EXPECT_TRUE(consumer->Ack(DataOf(0)).ok());
  }
  // What a reader and a consumer get at `ordinal`, after what is before it.
  void ExpectLossAt(uint64_t ordinal) {
    const auto store = Open(dir_);
    ASSERT_NE(store, nullptr);
    const auto reader = store->OpenReader("topic", {.start = FromBeginning{}});
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(ReadCount(**reader, ordinal).size(), ordinal);
    auto consumer = OpenConsumer(*store);
    for (uint64_t next = 1; next < ordinal;) {
      const auto slice = consumer->TryNext();
      ASSERT_TRUE(slice.ok() && *slice) << slice.status();
      next = (*slice)->ordinal + (*slice)->end - (*slice)->begin;
    }
    for (int again = 0; again < 2; ++again) {
      for (const absl::Status& status :
           {(*reader)->Next({}).status(), consumer->TryNext().status()}) {
        EXPECT_TRUE(absl::IsDataLoss(status)) << status;
        EXPECT_THAT(Message(status), HasSubstr(dir_.string()));
        EXPECT_THAT(Message(status),
                    HasSubstr("event " + std::to_string(ordinal) + " of topic topic"));
      }
    }
  }

  TempDir temp_;
  const fs::path dir_ = temp_.path() / "data";
};

TEST_F(Damage, AMissingBlockIsDataLossAndNotSkipped) {
  Raw(dir_).DeleteBlock(20);
  ExpectLossAt(20);
}

TEST_F(Damage, TheFirstBlockMissingIsDataLoss) {
  Raw(dir_).DeleteBlock(0);
  const auto store = Open(dir_);
  EXPECT_TRUE(absl::IsDataLoss(
      (*store->OpenReader("topic", {.start = FromBeginning{}}))->Next({}).status()));
}

TEST_F(Damage, AChangedBlockIsDataLoss) {
  {
    Raw raw(dir_);
    std::string block = raw.GetBlock(30);
    block.back() = static_cast<char>(block.back() ^ 1);
    raw.PutBlock(30, block);
  }
  ExpectLossAt(30);
}

TEST_F(Damage, ABlockInAnothersPlaceIsDataLoss) {
  {
    Raw raw(dir_);
    raw.PutBlock(30, raw.GetBlock(20));
  }
  ExpectLossAt(30);
}

TEST_F(Damage, ABlockThatIsNoneIsDataLoss) {
  Raw(dir_).PutBlock(10, "");
  ExpectLossAt(10);
}

TEST_F(Damage, ALastBlockThatIsNotTheTopicsIsFoundAtOpening) {
  {
    Raw raw(dir_);
    raw.PutBlock(50, raw.GetBlock(40));
  }
  EXPECT_TRUE(absl::IsDataLoss(OpenStatus(dir_)));
  Raw(dir_).DeleteBlock(50);
  EXPECT_TRUE(OpenStatus(dir_).ok());
  Raw(dir_).DeleteBlock(40);
  const absl::Status status = OpenStatus(dir_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr(dir_.string()));
}

TEST_F(Damage, AMalformedRecordIsDataLossThatNamesIt) {
  Raw(dir_).PutSubscription("s", "\1\xFF");
  absl::Status status = OpenStatus(dir_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("subscription s of topic topic"));
  Raw(dir_).PutTopic("topic", "\2");
  status = OpenStatus(dir_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("topic topic"));
}

TEST_F(Damage, AFloorWhoseBlocksAreStillThereHolds) {
  Raw(dir_).PutFloor(EncodeFloor({.ordinal = 30, .before = {.lsn = Lsn{3}, .seq = 9}}));
  const auto store = Open(dir_);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ((*store->OpenReader("topic", {.start = FromBeginning{}}))->Next({})->ordinal, 30u);
  const absl::Status status = store->OpenConsumer("topic", "s", {}).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  TestWriter(*store).Append({1});
}

TEST_F(Damage, AFloorThatIsNotInTheLogIsDataLoss) {
  for (const uint64_t ordinal : {uint64_t{50}, UINT64_MAX}) {
    Raw(dir_).PutFloor(EncodeFloor({.ordinal = ordinal, .before = {}}));
    EXPECT_TRUE(absl::IsDataLoss(OpenStatus(dir_)));
  }
  Raw(dir_).PutFloor("\1");
  EXPECT_TRUE(absl::IsDataLoss(OpenStatus(dir_)));
}

// What a folder says when it is opened and read from end to end: an error, or how much there was.
struct Found {
  uint64_t events = 0;
  Lsn captured;
  std::vector<uint64_t> unacknowledged;
};

absl::StatusOr<Found> ReadAll(const fs::path& dir) {
  auto store = OpenEmbeddedStore(dir, {});
  if (!store.ok()) return store.status();
  Found found;
  auto sink = (*store)->OpenWriter("topic");
  if (!sink.ok()) return sink.status();
  found.captured = (*sink)->Open(nullptr)->captured;
  auto consumer = (*store)->OpenConsumer("topic", "s", {});
  if (!consumer.ok()) return consumer.status();
  while (true) {
    const auto slice = (*consumer)->TryNext();
    if (!slice.ok()) return slice.status();
    if (!*slice) break;
    for (uint32_t i = 0; i < (*slice)->end - (*slice)->begin; ++i) {
      found.unacknowledged.push_back((*slice)->ordinal + i);
    }
  }
  const auto reader = (*store)->OpenReader("topic", {.start = FromBeginning{}});
  const auto info = (*store)->Describe("topic");
  if (!info.ok()) return info.status();
  while (found.events < info->events) {
    const auto slice = (*reader)->Next({});
    if (!slice.ok()) return slice.status();
    found.events += slice->end - slice->begin;
  }
  return found;
}

// Each file of a store, changed in each way: it opens with nothing lost, or it says so.
TEST_F(Damage, NoDamagedFileMakesItSilentlyLess) {
  {
    const auto store = Open(dir_);
    auto consumer = OpenConsumer(*store);
    TakeAll(*consumer);
    for (uint64_t i = 1; i < 10; ++i) EXPECT_TRUE(consumer->Ack(DataOf(i)).ok());
  }
  Raw(dir_).PutFloor(EncodeFloor({.ordinal = 10, .before = {.lsn = Lsn{1}, .seq = 9}}));
  {
    // A table of what was there before, and a write-ahead log of what comes now.
    const auto store = Open(dir_);
    TestWriter writer(*store);
    writer.Append({5});
    writer.Append({5});
    auto consumer = OpenConsumer(*store);
    TakeAll(*consumer);
    EXPECT_TRUE(consumer->Ack(DataOf(55)).ok());
  }
  const fs::path copy = temp_.path() / "copy";
  CopyFolder(dir_, copy);
  const auto whole = ReadAll(copy);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_EQ(whole->events, 50u);
  ASSERT_EQ(whole->unacknowledged.size(), 49u);

  const uint32_t seed = std::random_device()();
  std::mt19937 random(seed);
  int kinds = 0;
  int losses = 0;
  for (const auto& entry : fs::directory_iterator(dir_)) {
    const std::string name = entry.path().filename();
    const std::string bytes = ReadFile(entry.path());
    std::vector<std::optional<std::string>> damages{std::nullopt, ""};
    for (const size_t length :
         {bytes.size() / 2, bytes.size() - 1, random() % (bytes.size() + 1)}) {
      if (length < bytes.size()) damages.emplace_back(bytes.substr(0, length));
    }
    for (const size_t at : {size_t{0}, size_t{9}, bytes.size() / 2, bytes.size() - 1,
                            random() % (bytes.size() + 1), random() % (bytes.size() + 1)}) {
      if (at >= bytes.size()) continue;
      damages.emplace_back(bytes);
      damages.back()->at(at) = static_cast<char>(damages.back()->at(at) ^ 0x10);
    }
    ++kinds;
    for (size_t i = 0; i < damages.size(); ++i) {
      SCOPED_TRACE(name + " damage " + std::to_string(i) + " seed " + std::to_string(seed));
      CopyFolder(dir_, copy);
      fs::remove(copy / name);
      if (damages[i]) WriteFile(copy / name, *damages[i]);
      const auto found = ReadAll(copy);
      if (found.ok()) {
        // More there is when the floor got lost: what was removed and still lies there.
        EXPECT_GE(found->events, whole->events);
        EXPECT_EQ(found->captured, whole->captured);
        EXPECT_EQ(found->unacknowledged, whole->unacknowledged);
        continue;
      }
      ++losses;
      EXPECT_TRUE(absl::IsDataLoss(found.status()) ||
                  (name == "PGCAPTURE" && absl::IsFailedPrecondition(found.status())))
          << found.status();
      EXPECT_THAT(Message(found.status()), HasSubstr(copy.string()));
    }
  }
  EXPECT_GE(kinds, 8);
  EXPECT_GE(losses, 20);
}

}  // namespace
}  // namespace pgc
