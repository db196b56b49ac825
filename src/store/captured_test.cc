#include "store/captured.h"

#include <gtest/gtest.h>

#include <fstream>

#include "store/embedded_store.h"
#include "store/store_testing.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

TEST(ReadCaptured, ReadsAStoreThatIsInUseAndOneThatIsNot) {
  const TempDir folder;
  const std::filesystem::path dir = folder.path() / "data";
  const auto expect = [&dir](const char* topic, Lsn captured, const std::string& origin) {
    const auto read = ReadCaptured(dir, topic);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->captured, captured);
    EXPECT_EQ(read->origin, origin);
  };
  expect("topic", Lsn{}, "");
  EXPECT_FALSE(std::filesystem::exists(dir));
  {
    const auto store = OpenEmbeddedStore(dir, {});
    ASSERT_TRUE(store.ok()) << store.status();
    expect("topic", Lsn{}, "");
    TestWriter writer(**store);
    writer.AppendAndWait(
        {.blocks = {MakeBlock(40, 0, 1)}, .captured = Lsn{41}, .origin = "somewhere"});
    expect("topic", Lsn{41}, "somewhere");
    const auto read = ReadCaptured(dir, "topic");
    EXPECT_EQ(read->last.lsn, Lsn{40});
    writer.AppendAndWait({.blocks = {}, .captured = Lsn{50}, .origin = "somewhere"});
    expect("topic", Lsn{50}, "somewhere");
    expect("other", Lsn{}, "");
  }
  expect("topic", Lsn{50}, "somewhere");
}

TEST(ReadCaptured, NamesAFolderThatCannotBeRead) {
  const TempDir folder;
  std::ofstream(folder.path() / "CURRENT") << "not a database";
  const auto read = ReadCaptured(folder.path(), "topic");
  EXPECT_TRUE(absl::IsFailedPrecondition(read.status())) << read.status();
  EXPECT_NE(read.status().message().find(folder.path().string()), std::string::npos);
}

}  // namespace
}  // namespace pgc
