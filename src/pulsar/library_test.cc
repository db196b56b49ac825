#include "pulsar/library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgc::pulsar {
namespace {

TEST(PulsarLibrary, WhereThereIsNoneTheErrorNamesTheWaysToGetIt) {
  const auto library = OpenLibrary("/nowhere/libpulsar.so");
  ASSERT_TRUE(absl::IsFailedPrecondition(library.status())) << library.status();
  for (const char* const part : {"apache-pulsar-client", "pulsar-client", "--pulsar-library",
                                 "/nowhere/libpulsar.so: cannot open"}) {
    EXPECT_THAT(library.status().message(), testing::HasSubstr(part));
  }
}

TEST(PulsarLibrary, AnotherLibraryIsNotTakenForIt) {
  const auto library = OpenLibrary("libz.so.1");
  ASSERT_TRUE(absl::IsFailedPrecondition(library.status())) << library.status();
  EXPECT_THAT(library.status().message(), testing::HasSubstr("libz.so.1 has no pulsar_"));
}

}  // namespace
}  // namespace pgc::pulsar
